"""Every registered model keeps to the contract, and what is particular to them."""

from __future__ import annotations

import pytest
import torch

from benchsuite.catalog.models import MODELS
from benchsuite.contract import check_model
from benchsuite.errors import Unsupported, UsageError
from benchsuite.grid.case import Case
from benchsuite.models import conv
from benchsuite.runtime import count
from benchsuite.runtime.build import Sizes, build
from benchsuite.runtime.workload import Workload

NAMES = [spec.name for spec in MODELS if spec.family != "outside" and spec.execution != "Triton"]
T, B, H, F = 12, 3, 8, 5


@pytest.mark.parametrize("name", NAMES)
def test_keeps_to_the_contract(name, monkeypatch):
    monkeypatch.setattr(count, "AFFORDABLE", 1000)  # longer counts: tests/measures
    found = {finding.check: (finding.status, finding.observed) for finding in check_model(name)}
    if MODELS.get(name).execution == "FFT":  # mixes all timesteps: perturbation shows the field
        status, seen = found.pop("receptive_field")
        assert status == "note"
        assert "as probed in sequences of 64: the field cannot be derived through aten._fft" in seen
    assert {status for status, _ in found.values()} == {"pass"}, found


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_result(name):
    case = Case(model=name, seq_len=T, batch_size=B, hidden_size=H)
    first, again, other = (Workload(c) for c in (case, case, case.replace(seed=1)))
    torch.testing.assert_close(first.x_BTF, again.x_BTF, rtol=0, atol=0)
    torch.testing.assert_close(first.step(), again.step(), rtol=0, atol=0)
    assert not torch.allclose(first.step(), other.step())


@pytest.mark.parametrize(
    ("name", "reach"),
    [("conv", 9), ("tcn_fixed", 61), ("tcn", 125), ("tcn_separable", 125), ("wavenet", 128)],
    ids=str,
)
def test_convolutions_see_as_far_as_stated(name, reach):
    """The formula against the model itself: inputs that reach the last output."""
    model = build(name, Sizes(1, 4, 1, bidirectional=False, seq_len=100)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.1)  # positive throughout: no ReLU hides a path
    x = torch.ones(1, 150, 1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x)[0, -1].sum(), x)
    assert int(gradient.count_nonzero()) == reach


@pytest.mark.parametrize("seq_len", [1, 2, 5, 6, 13, 14, 29, 30, 64, 1000, 4096])
def test_tcn_is_just_deep_enough(seq_len):
    levels = conv.levels_to_cover(seq_len, conv.KERNEL_SIZE)
    assert conv.receptive_field(conv.KERNEL_SIZE, levels) >= seq_len
    assert levels == 1 or conv.receptive_field(conv.KERNEL_SIZE, levels - 1) < seq_len


@pytest.mark.parametrize(
    ("kernel", "levels", "field"),
    [(6, 7, 1271), (7, 7, 1525), (8, 8, 3571), (7, 8, 3061), (3, 6, 253)],
)
def test_receptive_field_of_published_networks(kernel, levels, field):
    """Bai, Kolter & Koltun 2018, table 2, and keras-tcn's default."""
    assert conv.receptive_field(kernel, levels) == field


@pytest.mark.parametrize("name", [n for n in NAMES if MODELS.get(n).family == "recurrent"])
def test_recurrent_models_take_layers_and_directions(name):
    model = build(name, Sizes(F, H, 2, bidirectional=True, seq_len=T))
    assert model(torch.randn(B, T, F)).shape == (B, T, 2 * H)


@pytest.mark.parametrize("name", [n for n in NAMES if MODELS.get(n).family == "convolutional"])
@pytest.mark.parametrize(("option", "value"), [("num_layers", 2), ("bidirectional", True)])
def test_convolutions_refuse_options_that_do_not_apply(name, option, value):
    sizes = {"num_layers": 1, "bidirectional": False, option: value}
    with pytest.raises(Unsupported, match=f"{name} has no {option}"):
        build(name, Sizes(F, H, **sizes, seq_len=T))


def plain_factory():
    return torch.nn.Linear(5, 2)


def wrong_factory(hidden_size):
    return hidden_size


def flat_factory():
    return torch.nn.Flatten()


def test_a_factory_from_outside_may_name_none_of_the_sizes():
    model = build(f"{__name__}:plain_factory", Sizes(F, H, 1, bidirectional=False, seq_len=T))
    assert model(torch.randn(B, T, F)).shape == (B, T, 2)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (f"{__name__}:wrong_factory", "returned a int, not an nn.Module"),
        (f"{__name__}:absent", "has no 'absent'"),
        ("no_such_module:model", "cannot import 'no_such_module'"),
        (f"{__name__}:T", "is a int, not a callable"),
    ],
)
def test_a_bad_factory_is_an_error(target, words):
    with pytest.raises(UsageError, match=words):
        build(target, Sizes(F, H, 1, bidirectional=False, seq_len=T))


def test_an_output_of_another_shape_is_an_error():
    model = build(f"{__name__}:flat_factory", Sizes(F, H, 1, bidirectional=False, seq_len=T))
    with pytest.raises(UsageError, match=r"Flatten returned \(3, 60\)"):
        model(torch.randn(B, T, F))


def test_an_entry_point_gives_a_model_its_name(tmp_path, monkeypatch, run_command):
    about = tmp_path / "other-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[benchsuite.models]\nplain = {__name__}:plain_factory\nlstm = no.such:shadow\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert MODELS.get("plain").target == f"{__name__}:plain_factory"
    assert MODELS.get("lstm").family == "recurrent"  # a built-in name stays
    assert Case(model="plain").model == "plain"
    code, out, _ = run_command("check", "plain", "-a", "input_size=5")
    assert code == 0
    assert "the factory takes none of the sizes" in " ".join(out.split())
