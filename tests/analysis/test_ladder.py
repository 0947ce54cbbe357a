"""Ladders: ratios to a baseline, break-even calls, and what has no value."""

from __future__ import annotations

import math

import pytest

from benchsuite.analysis.ladder import ladder_sentences, ladders, require_mathematics, rung
from benchsuite.errors import UsageError
from benchsuite.records import RecordFile, load_records


@pytest.fixture
def frame_of(tmp_path, make_record):
    def make(*rows, every_attempt=False):
        file = RecordFile(tmp_path / "records.jsonl")
        for number, row in enumerate(rows):
            file.append(make_record(uid=f"u{number}", started_at=1.7e9 + number, **row))
        return load_records(file.path, every_attempt=every_attempt)

    return make


def timed(model, engine, value, preparation=None, **more):
    facts = {} if preparation is None else {"preparation": preparation}
    samples = tuple(value * (1 + step / 1000) for step in range(-10, 11))
    return {
        **{"model": model, "engine": engine, "value": value, "samples": samples},
        **{"seq_len": 128, "provenance": facts},
        **more,
    }


def by_rung(table):
    return {row.rung: row for row in table.itertuples()}


def test_ratios_are_to_the_librarys_layer_and_intervals_hold_them(frame_of):
    table = ladders(
        frame_of(
            timed("lstm_fused", "eager", 4.0),
            timed("lstm", "eager", 2.0),
            timed("lstm", "onnxruntime", 1.0, preparation=10.0),
            timed("lstm_fused", "compile", 3.0, preparation=30.0),
            timed("lstm", "openvino", 2.5, preparation=1.0),
        )
    )
    rows = by_rung(table)
    assert set(table["baseline"]) == {"lstm"}
    assert rows["lstm (onnxruntime)"].ratio == pytest.approx(0.5)
    assert rows["lstm (onnxruntime)"].low < 0.5 < rows["lstm (onnxruntime)"].high
    assert rows["lstm (onnxruntime)"].separable
    assert (rows["lstm"].ratio, rows["lstm"].low, rows["lstm"].high) == (1, 1, 1)
    # Break-even: preparation over what a call saves against the same model in eager PyTorch.
    assert rows["lstm (onnxruntime)"].break_even == 10
    assert rows["lstm_fused (compile)"].break_even == 30
    assert rows["lstm (openvino)"].break_even == math.inf
    assert math.isnan(rows["lstm"].break_even)
    assert ladder_sentences(table) == [
        "lstm, infer: the fastest rung is lstm (onnxruntime) at 1 of 1 shapes (0.5 times the"
        " latency of lstm)."
    ]


def test_a_named_baseline_and_an_unknown_one(frame_of):
    frame = frame_of(timed("lstm", "eager", 2.0), timed("lstm", "onnxruntime", 1.0, 1.0))
    rows = by_rung(ladders(frame, "lstm", "lstm (onnxruntime)"))
    assert rows["lstm"].ratio == pytest.approx(2.0)
    with pytest.raises(UsageError, match=r"rung of this ladder 'gru'.*lstm \(onnxruntime\)"):
        ladders(frame, "lstm", "gru")
    with pytest.raises(UsageError, match=r"mathematics of these records 'tcn'.*allowed: lstm"):
        ladders(frame, "tcn")


def test_a_rung_without_a_value_stays_with_its_reason(frame_of):
    rows = by_rung(
        ladders(
            frame_of(
                timed("lstm", "eager", 2.0),
                timed("lstm", "compile", 0, status="timeout", reason="gave up after 120 s"),
                timed("lstm", "openvino", 0, status="skipped", reason="it is not installed"),
            )
        )
    )
    assert rows["lstm (compile)"].status == "timeout"
    assert rows["lstm (compile)"].reason == "gave up after 120 s"
    assert math.isnan(rows["lstm (openvino)"].ratio)


def test_errors_stand_beside_the_latency(frame_of):
    rows = by_rung(
        ladders(
            frame_of(
                timed("tcn", "eager", 2.0),
                timed("tcn", "onnxruntime", 1.0, 1.0),
                timed("tcn", "onnxruntime", 3.0, measure="numeric_error", unit="ulp"),
                timed("tcn", "onnxruntime", 9.0, measure="first_call"),
            )
        )
    )
    assert rows["tcn (onnxruntime)"].numeric_error == 3
    assert rows["tcn (onnxruntime)"].first_call == 9
    assert math.isnan(rows["tcn"].numeric_error)


def test_several_processes_widen_the_interval(frame_of):
    rows = [
        timed("lstm", engine, value)
        for engine, values in {
            "eager": (2.0, 2.4, 1.6, 2.0),
            "onnxruntime": (1.0, 1.3, 0.8, 1.0),
        }.items()
        for value in values
    ]
    several = by_rung(ladders(frame_of(*rows, every_attempt=True)))["lstm (onnxruntime)"]
    assert several.processes == 4
    assert several.ratio == pytest.approx(0.5)
    assert several.high / several.low > 1.2  # one process alone: about 1 %


def test_models_of_one_engine_are_no_ladder_of_a_report(frame_of):
    frame = frame_of(timed("lstm", "eager", 2.0), timed("lstm_fused", "eager", 4.0))
    assert not len(ladders(frame))
    assert len(ladders(frame, "lstm")) == 2


def test_an_empty_frame_has_no_ladder(frame_of):
    frame = frame_of(timed("lstm", "eager", 2.0))
    assert not len(ladders(frame[frame["measure"] == "none"]))


def test_a_mathematics_has_its_models_in_order():
    assert require_mathematics("gru") == ["gru_cell", "gru_native", "gru_newton", "gru"]
    assert require_mathematics("torch.nn:GRU") == ["torch.nn:GRU"]
    with pytest.raises(UsageError, match="'lstm_cell' is a model; its mathematics is 'lstm'"):
        require_mathematics("lstm_cell")
    with pytest.raises(UsageError, match="unknown mathematics 'lstn': did you mean 'lstm'"):
        require_mathematics("lstn")


def test_a_rung_is_named_by_model_and_engine():
    assert rung("lstm", "eager") == "lstm"
    assert rung("lstm", "compile") == "lstm (compile)"
