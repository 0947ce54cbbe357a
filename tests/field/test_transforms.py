"""Fields of modules with Fourier transforms: causal if padded, whatever rounding leaks."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from benchsuite import measure
from benchsuite.contract import check_model
from benchsuite.errors import Unsupported, UsageError
from benchsuite.field.derive import traced_field
from benchsuite.field.effective import effective_field
from benchsuite.field.formula import UNBOUNDED, Field
from benchsuite.field.perturb import perturb
from benchsuite.field.policy import find_field
from benchsuite.field.probe import Transformed, probe
from benchsuite.field.subject import noise
from benchsuite.field.summary import field_of
from benchsuite.grid.case import Case
from benchsuite.models.longconv import longconv, receptive_field

C = 4


class ByFFT(nn.Module):
    """A depthwise convolution of the taps a^l, transformed at size(T) points in a dtype."""

    def __init__(self, a, size, dtype=torch.float64, taps=None):
        super().__init__()
        self.a, self.size, self.dtype, self.taps = a, size, dtype, taps

    def forward(self, x):
        steps = x.shape[1]
        kernel = self.a ** torch.arange(self.taps or steps, dtype=self.dtype, device=x.device)
        n = self.size(steps)
        spectrum = torch.fft.rfft(x.to(self.dtype), n, 1) * torch.fft.rfft(kernel, n)[:, None]
        return torch.fft.irfft(spectrum, n, 1)[:, :steps].to(x.dtype)


def padded(steps):
    return 2 * steps - 1


def circular(steps):
    return steps


def one_short(steps):
    return 2 * steps - 2


def circular_factory():
    return ByFFT(0.9, circular)


def padded_factory():
    return ByFFT(0.9, padded)


@pytest.mark.parametrize("seq_len", [1, 2, 3, 40, 300])
def test_a_long_convolution_sees_its_kernels(seq_len):
    """Also where that is longer than the sequence, and the sequence long."""
    torch.manual_seed(0)
    known = find_field(longconv(C, 6, seq_len), C, seq_len)
    assert known.field == Field(0, receptive_field(seq_len, 2) - 1)
    assert (known.found_by, known.causal, known.theory) == ("probe", True, None)
    assert known.notes[-1].startswith("perturbation decides: lags 0 to ")


def test_a_short_sequence_shows_as_much_of_a_kernel_as_it_has_steps():
    torch.manual_seed(0)
    assert perturb(longconv(C, 6, 40), C, 12).probe.lags == tuple(range(12))


def test_neither_formula_nor_nan_follows_a_transform():
    module = longconv(C, 6, 12)
    with pytest.raises(
        Unsupported, match=r"through aten\._fft_r2c.*kept apart by sums that cancel"
    ):
        traced_field(module, C)
    with pytest.raises(Transformed, match="mixes all timesteps"):
        probe(module, C, 12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize(
    ("size", "causal"), [(padded, True), (circular, False), (one_short, False)]
)
@pytest.mark.parametrize("seq_len", [12, 70])
def test_a_convolution_by_fft_is_causal_if_it_is_padded(seq_len, size, causal, dtype):
    """One point short, the last input reaches the first output through the last tap."""
    known = find_field(ByFFT(0.9, size, dtype), C, seq_len)
    assert known.causal is causal
    assert known.field == Field(0 if causal else UNBOUNDED, UNBOUNDED)


def test_transforms_in_a_lower_precision_leak_more_and_still_nothing_of_the_future():
    """float32 rounding, about 1e-7, is a thousand million times that of float64."""
    module = ByFFT(0.99, padded, torch.float32)
    x = noise(1, 200, C)
    other = x.clone()
    other[:, -1] += 1
    assert (module(other) - module(x))[:, :-1].abs().max() > 1e-8
    assert perturb(module, C, 200).probe.lags[0] == 0


def test_a_kernel_that_ends_has_a_finite_field():
    """In sequences of more than its taps; the last tap is 1e-11, which fades if nothing ends it."""
    found = perturb(ByFFT(0.1, padded, taps=11), C, 40)
    assert found.probe.lags == tuple(range(11))
    assert found.fades == (False, False)
    assert perturb(ByFFT(0.1, padded), C, 40).fades == (False, True)


def test_gradients_outside_the_field_are_rounding():
    torch.manual_seed(0)
    module = longconv(C, 6, 20)
    found = field_of(module, input_size=C, seq_len=60)
    assert (found.effective.support, found.receptive_field) == (39, 39)
    assert found.as_dict()["causal"] is True
    raw = effective_field(module, noise(2, 60, C), at=59, horizon=60)
    assert raw.support > 39
    kept = raw.norm[:39]
    within = effective_field(module, noise(2, 60, C), at=59, horizon=60, within=Field(0, 38))
    assert within.norm[:39].tolist() == kept.tolist()
    assert not within.norm[39:].any()


def test_the_effective_field_of_a_decaying_kernel_is_its_closed_form():
    found = field_of(ByFFT(0.9, padded), input_size=1, seq_len=100).effective
    assert found.norm[:60] == pytest.approx(0.9 ** torch.arange(60).numpy(), rel=1e-9)
    assert (found.quantile(0.95), found.quantile(0.95, squared=True)) == (29, 15)


def test_the_measure_and_the_command(run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = measure(Case(model="longconv", seq_len=16, hidden_size=6), "receptive_field")
    assert (record.status, record.value) == ("ok", 31)
    assert record.warning.startswith("probed: the field cannot be derived through aten._fft_r2c")
    sizes = ("-a", "seq_len=16", "-a", "hidden_size=6")
    code, out, _ = run_command("field", "longconv", *sizes, "--json", "--causal")
    row = json.loads(out)
    assert (code, row["receptive_field"], row["causal"], row["support"]) == (0, 31, True, 16)


def test_a_circular_convolution_is_refused_where_a_causal_one_is_asked_for():
    with pytest.raises(UsageError, match="ByFFT is not causal: its outputs depend on later inputs"):
        field_of(circular_factory(), input_size=C, seq_len=16, causal=True)


def test_the_contract_notes_a_circular_convolution():
    found = {f.check: f for f in check_model(f"{__name__}:circular_factory")}
    assert found["causality"].status == "note"
    assert "sees inputs up to 11 timesteps ahead (of 12)" in found["causality"].observed
    found = {f.check: f for f in check_model(f"{__name__}:padded_factory")}
    assert found["causality"].observed == "no output depends on a later input"
    assert "computes it again in every call" in found["state"].observed
