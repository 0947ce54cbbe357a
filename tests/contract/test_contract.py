"""The contract finds what is wrong with a model, and the adapters fix it."""

from __future__ import annotations

import functools
import inspect
import json
import re

import pytest
import torch
from foreign import convolutions, rnn
from torch import nn

from benchsuite.adapt import channels_first, first_output, time_major, with_state
from benchsuite.contract import check_model, sizes_for
from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.attempt import measure
from benchsuite.runtime.build import Sizes, build

SIZES = Sizes(4, 8, 1, bidirectional=False, seq_len=16)


@functools.cache
def findings(model):
    return {finding.check: finding for finding in check_model(f"foreign:{model}")}


@pytest.mark.parametrize(
    ("model", "check", "observed", "fix"),
    [
        ("Flattens", "shape", r"Flattens returned \(3, 96\)", "see benchsuite.adapt"),
        ("listed", "shape", "returned list", r"first_output\(factory\)"),
        ("convolutions", "shape", "fails on an input", r"channels_first\(factory\)"),
        ("needs_state", "shape", "missing 1 required", "needs 'h' too.*with_state"),
        ("NotFinite", "shape", "NaN or infinite", ""),
        ("SinglePrecision", "dtype", "expected m1 and m2 to have the same dtype", "new_zeros"),
        ("Remembers", "repetition", "a second call gives another", "keep no state"),
        ("OverwritesInput", "repetition", "writes into its input", "copy the input"),
        ("MixesRows", "rows", "rows of a batch mix", "from row to row"),
        ("rnn", "rows", "rows of a batch mix", r"time_major\(factory\)"),
        ("time_major_transformer", "rows", "rows of a batch mix", r"time_major\(factory\)"),
        ("OneLength", "lengths", r"fails at \(batch, time\) of \(1, 1\)", "take any length"),
        ("OwnRandomness", "seed", "gives two outputs", "global generator"),
        ("FailsInTraining", "modes", "ZeroDivisionError: planted", ""),
        ("UnusedLayer", "gradient", "no gradient reaches spare.weight, spare.bias", "leave them"),
        ("Detached", "gradient", "output has no gradient", "remove detach"),
        ("Blind", "causality", "no change of the input", "use the input"),
        ("attention", "state", "it is not a state", r"first_output\(factory\)"),
        ("GrowingState", "state", "leaves 768 B more in memory", "a state of one size"),
        ("KeepsAll", "state", "what it keeps grows with the stream", "no tensors of earlier calls"),
        ("NestedState", "state", "neither a tensor nor a tuple of tensors", "flat state"),
        ("Branches", "counts", "fails on the meta device", "branch on no value"),
    ],
)
def test_a_broken_clause_is_reported_with_its_fix(model, check, observed, fix):
    found = findings(model)
    assert found[check].status == "fail"
    assert next(f.check for f in found.values() if f.status == "fail") == check
    assert re.search(observed, found[check].observed)
    assert re.search(fix, found[check].fix)


def test_clauses_that_require_a_broken_one_are_skipped():
    assert {f.status for f in list(findings("Flattens").values())[1:]} == {"skipped"}
    found = findings("OneLength")
    skipped = [f.check for f in found.values() if f.status == "skipped"]
    assert skipped == ["receptive_field", "state", "counts"]
    assert found["state"].observed == "not checked: requires lengths to pass"


def test_a_gate_that_starts_at_zero_breaks_nothing():
    assert {f.status for f in findings("Ungated").values()} == {"pass"}


def test_work_in_blocks_is_noted_where_operations_are_counted():
    found = findings("Blocks")["counts"]
    assert found.status == "note"
    assert "65,536 floating-point operations at 1,024 timesteps" in found.observed
    assert "predict 4,096, as of work in blocks" in found.observed
    assert (
        "at 1,024 timesteps, not proportional" in findings("adapted_transformer")["counts"].observed
    )


def test_a_model_that_begins_with_a_normalisation_is_causal():
    assert {f.status for f in findings("NormedFirst").values()} == {"pass"}


def test_what_a_model_keeps_of_each_call_is_noted():
    found = findings("KeepsState")
    assert {f.check for f in found.values() if f.status != "pass"} == {"repetition"}
    assert found["repetition"].status == "note"
    assert "it keeps 2,304 B of tensors from each call" in found["repetition"].observed  # 3·12·8·8
    assert ": last;" in found["repetition"].observed
    assert findings("KeepsMask")["repetition"].status == "pass"


def test_running_out_of_memory_is_a_finding_or_one_line(run_command):
    found = findings("TooLarge")["lengths"]
    assert (found.status, found.observed) == ("fail", "MemoryError: planted")
    code, out, err = run_command("check", "foreign:does_not_fit")
    assert (code, out) == (2, "")
    assert "foreign:does_not_fit does not fit in memory at Sizes(input_size=" in err
    assert err.count("\n") == 1


def test_a_refusal_to_be_copied_is_noted():
    found = findings("Uncopyable")
    assert {f.check for f in found.values() if f.status != "pass"} == {"receptive_field"}
    assert (
        "on a copy: planted; measures of the field will fail" in found["receptive_field"].observed
    )


@pytest.mark.parametrize("layer", ["GRU", "LSTM", "RNN"])
def test_a_class_that_passes_its_arguments_on_takes_those_of_its_bases(layer):
    """torch.nn.GRU has the signature (*args, **kwargs)."""
    found = {finding.check: finding for finding in check_model(f"torch.nn:{layer}")}
    assert "takes input_size, hidden_size, num_layers, bidirectional" in found["shape"].observed
    assert found["rows"].status == "fail"
    assert "benchsuite.adapt.time_major(factory)" in found["rows"].fix


def test_a_model_that_cannot_be_copied_has_no_field_and_is_sound_otherwise():
    found = findings("Normed")
    noted = {f.check for f in found.values() if f.status != "pass"}
    assert noted == {"receptive_field", "repetition"}
    assert {found[check].status for check in noted} == {"note"}
    assert "layer.weight" in found["repetition"].observed  # made again by each call
    assert "use torch.nn.utils.parametrizations.weight_norm" in found["receptive_field"].observed


def test_looking_ahead_is_a_note():
    found = findings("transformer")
    assert found["causality"].status == "note"
    assert "11 timesteps ahead" in found["causality"].observed
    assert "the tasks sine, sine_mix" in found["causality"].observed
    assert not [f for f in found.values() if f.status == "fail"]
    assert "another output than eval mode" in found["modes"].observed  # dropout


@pytest.mark.parametrize(
    ("model", "noted"),
    [
        ("adapted_rnn", set()),
        ("adapted_convolutions", set()),
        ("adapted_needs_state", set()),
        ("adapted_listed", set()),
        ("adapted_attention", {"causality", "receptive_field"}),
        ("adapted_transformer", {"causality", "receptive_field"}),
    ],
)
def test_adapted_models_keep_to_the_contract(model, noted):
    found = findings(model)
    assert {f.check for f in found.values() if f.status != "pass"} == noted
    assert all(found[check].status == "note" for check in noted)


@pytest.mark.parametrize(
    ("model", "field", "state", "looped"),
    [
        ("adapted_rnn", None, 2 * 8 * 4, False),
        ("adapted_convolutions", 7, 2 * (2 * 4 + 4 * 8) * 4, False),
        ("adapted_needs_state", None, 2 * 8 * 4, True),
    ],
)
def test_the_suite_measures_through_adapters(model, field, state, looped):
    case = Case(
        model=f"foreign:{model}",
        **{"seq_len": 16, "batch_size": 2, "hidden_size": 8, "input_size": 4, "mode": "train"},
    )
    budget = Budget(min_run_time=0.001, max_run_time=0.01)
    names = ("latency", "peak_memory", "saved_activations", "state_size", "flops", "erf95")
    records = {name: measure(case, name, budget=budget) for name in (*names, "receptive_field")}
    assert {r.status for n, r in records.items() if n != "receptive_field"} == {"ok"}
    assert records["state_size"].value == state
    assert records["latency"].provenance["looped"] is looped
    found = records["receptive_field"]
    assert (found.value, found.status) == (field, "ok" if field else "skipped")


def test_adapters_give_what_the_model_gives():
    x = torch.randn(3, 16, 4)
    torch.manual_seed(0)
    adapted = time_major(rnn)(4, 8)
    expected, last = adapted.module(x.transpose(0, 1))
    output, state = adapted(x)
    torch.testing.assert_close(output, expected.transpose(0, 1), rtol=0, atol=0)
    torch.testing.assert_close(state, last, rtol=0, atol=0)
    adapted = channels_first(convolutions)(4, 8)
    torch.testing.assert_close(
        adapted(x), adapted.module(x.transpose(1, 2)).transpose(1, 2), rtol=0, atol=0
    )


def test_an_outer_adapter_meets_the_suites_layout():
    """A state is made from the input as the module gets it."""
    shapes = []

    def begin(module, x):
        shapes.append(tuple(x.shape))
        return x.new_zeros(1, x.shape[1], module.hidden_size)

    module = time_major(with_state(rnn, begin))(4, 8)
    assert module(torch.zeros(3, 16, 4))[0].shape == (3, 16, 8)
    assert shapes == [(16, 3, 4)]


def test_wrapped_factories_keep_their_signature():
    @first_output
    @time_major
    def factory(hidden_size, seq_len=3):
        """What it is."""
        return nn.Identity()

    assert list(inspect.signature(factory).parameters) == ["hidden_size", "seq_len"]
    assert factory.__doc__ == "What it is."
    of_class = time_major(nn.Bilinear)
    assert list(inspect.signature(of_class).parameters)[:2] == ["in1_features", "in2_features"]
    assert not hasattr(of_class, "forward")


def test_a_wrapped_factory_without_a_module_is_reported():
    with pytest.raises(UsageError, match="returned a int, not an"):
        time_major(lambda: 3)()


def test_features_of_the_input_differ_from_the_width_where_they_may():
    assert sizes_for("foreign:rnn").input_size != sizes_for("foreign:rnn").hidden_size
    assert sizes_for("foreign:transformer", hidden_size=6).input_size == 6
    assert build("foreign:transformer", SIZES) is not None


def test_the_command(run_command):
    code, out, _ = run_command("check", "foreign:rnn")
    assert code == 1
    assert "→ if it takes (time, batch, features)" in out
    assert "foreign:rnn: 3 passed, 1 failed, 8 skipped" in out
    code, out, _ = run_command("check", "foreign:adapted_rnn", "-a", "hidden_size=6", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["passed"]
    assert document["sizes"]["hidden_size"] == 6
    assert [f["status"] for f in document["findings"]] == ["pass"] * 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no_such_module:make"], "cannot import 'no_such_module'"),
        (["foreign:absent"], "module 'foreign' has no 'absent'"),
        (["foreign:np"], "'foreign:np' is a module, not a callable"),
        (["foreign:fails"], "foreign:fails(hidden_size=8) raised ZeroDivisionError: planted over"),
        (["foreign:zeros"], "foreign:zeros() raised TypeError: zeros() missing 2"),
        (["torch.nn:Linear"], "with those of input_size, hidden_size, num_layers, bidirectional,"),
        (["torch.nn:Linear"], "`def make(input_size, hidden_size): return Linear(…)`"),
        (["lstn"], "did you mean 'lstm'?"),
        (["lstm", "-a", "batch_size=3"], "unknown axis of a factory 'batch_size'"),
        (["lstm", "-a", "seq_len=3,4"], "check takes one of each axis"),
        (["tcn", "-a", "num_layers=2"], "tcn has no num_layers"),
    ],
)
def test_wrong_usage_is_one_line(run_command, words, message):
    code, out, err = run_command("check", *words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_module_that_breaks_while_it_is_imported_is_reported(run_command, tmp_path, monkeypatch):
    (tmp_path / "half_written.py").write_text("def make(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = run_command("check", "half_written:make")
    assert code == 2
    assert "cannot import 'half_written' of 'half_written:make': SyntaxError" in err
