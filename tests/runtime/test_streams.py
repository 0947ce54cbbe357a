"""Which stream each model gets, and that it computes what the whole sequence gives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchsuite.catalog.models import MODELS
from benchsuite.errors import Unsupported
from benchsuite.models.conv import CausalConv1d
from benchsuite.runtime.build import SequenceModel, Sizes, build
from benchsuite.runtime.streams import Buffered, Carried, Recomputed, Ring, stream_of

BUILT_IN = [spec.name for spec in MODELS if spec.family != "outside"]
KINDS = {"convolutional": Buffered, "recurrent": Carried, "linear": Carried}


def made(name, seq_len=20):
    torch.manual_seed(0)
    return build(name, Sizes(3, 6, 1, bidirectional=False, seq_len=seq_len)).double().eval()


def whole(parts):
    return torch.cat(list(parts), 1)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", BUILT_IN)
@torch.no_grad()
def test_every_stream_gives_the_outputs_of_the_whole_sequence(name, batch):
    model = made(name)
    x_BTF = torch.randn(batch, 45, 3, dtype=torch.float64)
    expected = model(x_BTF)
    for chunk in (1, 3, 7):
        stream = stream_of(model, x_BTF[:, :10])
        assert type(stream) is (
            Recomputed if name == "longconv" else KINDS[MODELS.get(name).family]
        )
        torch.testing.assert_close(whole(map(stream.feed, x_BTF.split(chunk, 1))), expected)


@pytest.mark.parametrize("name", ["lstm", "tcn", "tcn_separable", "wavenet", "longconv"])
@torch.no_grad()
def test_pieces_of_any_length_continue_each_other(name):
    model, x_BTF = made(name), torch.randn(2, 90, 3, dtype=torch.float64)
    stream = stream_of(model, x_BTF[:, :10])
    pieces = x_BTF.split([1, 1, 7, 20, 21, 2, 1, 1, 30, 6], 1)
    torch.testing.assert_close(whole(map(stream.feed, pieces)), model(x_BTF))


@pytest.mark.parametrize("name", ["lstm_cell", "lstm_native", "gru_native", "lstm"])
@torch.no_grad()
def test_layers_of_a_recurrence_carry_their_states(name):
    torch.manual_seed(0)
    model = build(name, Sizes(3, 6, 3, bidirectional=False, seq_len=20)).double().eval()
    x_BTF = torch.randn(2, 20, 3, dtype=torch.float64)
    stream = stream_of(model, x_BTF)
    torch.testing.assert_close(whole(map(stream.feed, x_BTF.split(1, 1))), model(x_BTF))


@torch.no_grad()
def test_both_directions_cannot_be_streamed():
    for name in ("lstm_cell", "lstm"):
        model = build(name, Sizes(3, 6, 1, bidirectional=True, seq_len=20)).eval()
        with pytest.raises(Unsupported, match="depends on later inputs"):
            stream_of(model, torch.randn(1, 20, 3))


@torch.no_grad()
def test_streams_of_one_model_do_not_share_their_past():
    model, x_BTF = made("tcn"), torch.randn(1, 30, 3, dtype=torch.float64)
    first, second = stream_of(model, x_BTF), stream_of(model, x_BTF)
    first.feed(x_BTF)
    torch.testing.assert_close(second.feed(x_BTF), model(x_BTF))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_convolutions_in_groups(groups, bias):
    class Convolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = CausalConv1d(6, 6, 4, dilation=3, groups=groups, bias=bias)

        def forward(self, x):
            return self.conv(x.transpose(1, 2)).transpose(1, 2)

    model, x_BTF = SequenceModel(Convolution().double()), torch.randn(2, 40, 6).double()
    for chunk in (1, 4):
        stream = stream_of(model, x_BTF[:, :25])
        assert type(stream) is Buffered
        torch.testing.assert_close(whole(map(stream.feed, x_BTF.split(chunk, 1))), model(x_BTF))


@torch.no_grad()
def test_normalised_weights_are_those_of_the_model():
    torch.manual_seed(0)
    from benchsuite.models.conv import TCN

    model = SequenceModel(TCN(3, 6, 3, weight_norm=True).double().eval())
    x_BTF = torch.randn(2, 40, 3, dtype=torch.float64)
    stream = stream_of(model, x_BTF)
    assert type(stream) is Buffered
    torch.testing.assert_close(whole(map(stream.feed, x_BTF.split(1, 1))), model(x_BTF))


class Moving(nn.Module):
    """The mean of the last five inputs, without state or convolution layers."""

    def forward(self, x):
        padded = torch.nn.functional.pad(x, (0, 0, 4, 0))
        return padded.unfold(1, 5, 1).mean(-1)


@torch.no_grad()
def test_a_known_field_bounds_what_is_computed_again():
    lengths = []

    class Counting(Moving):
        def forward(self, x):
            lengths.append(x.shape[1])
            return super().forward(x)

    model, x_BTF = SequenceModel(Counting()), torch.randn(2, 40, 3, dtype=torch.float64)
    stream = stream_of(model, x_BTF, lambda: 5)
    assert stream.method == "recomputed from 5 timesteps"
    lengths.clear()
    outputs = whole(map(stream.feed, x_BTF.split(2, 1)))
    assert lengths[:4] == [2, 4, 6, 6]
    assert set(lengths[2:]) == {6}
    torch.testing.assert_close(outputs, model(x_BTF))


@torch.no_grad()
def test_a_field_that_is_too_short_is_not_believed():
    model, x_BTF = SequenceModel(Moving()), torch.randn(1, 40, 3, dtype=torch.float64)
    assert stream_of(model, x_BTF, lambda: 4).method == "recomputed from the whole input"


@torch.no_grad()
def test_a_model_that_looks_ahead_is_refused():
    class Ahead(nn.Module):
        def forward(self, x):
            return x.flip(1)

    with pytest.raises(Unsupported, match="depends on later inputs"):
        stream_of(SequenceModel(Ahead()), torch.randn(1, 8, 3))


def test_a_ring_keeps_its_buffer():
    """Every push returns the last rows, and only a longer piece makes another buffer."""
    x_BTC = torch.randn(2, 60, 3)
    padded = torch.cat([torch.zeros(2, 5, 3), x_BTC], 1)
    ring, position, storages = Ring(5), 0, set()
    for steps in [4, 4, 1, 3, 4, 2, 4, 4, 1, 1, 4, 9, 4, 4, 9]:
        held = ring.push(x_BTC[:, position : position + steps])
        position += steps
        torch.testing.assert_close(held, padded[:, position - steps : position + 5])
        storages.add((held.untyped_storage().data_ptr(), held.untyped_storage().nbytes()))
    assert len({size for _, size in storages}) == 2
