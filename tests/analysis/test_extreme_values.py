"""Values that the schema allows and no machine measures end no command in a traceback."""

from __future__ import annotations

import pytest

from benchsuite.analysis import prediction
from benchsuite.analysis.prediction import Predictor
from benchsuite.records import RecordFile, load_records

LENGTHS = (16, 64, 256, 1024)


@pytest.fixture
def records(tmp_path, make_record):
    """A function: a file of two models' latencies, the first of which has the given value."""

    def make(value):
        file = RecordFile(tmp_path / "records.jsonl")
        for model in ("lstm", "conv"):
            for length in LENGTHS:
                odd = (model, length) == ("lstm", 16)
                file.append(
                    make_record(model=model, seq_len=length, value=value if odd else 1e-6 * length)
                )
        return file.path

    return make


@pytest.mark.parametrize("value", [5e-324, 1e-320, 1e-100, 1e100])
def test_advice_beside_an_extreme_value(records, run_command, value):
    words = ["advise", "--study", str(records(value)), "--need-field", "0"]
    code, out, err = run_command(*words, "-a", "T=100", "-a", "B=1", "-a", "H=64")
    assert code == 0, err
    assert "conv" in out


@pytest.mark.parametrize("value", [5e-324, 1e100])
def test_a_report_of_an_extreme_value(records, run_command, tmp_path, value):
    code, _, err = run_command("report", str(records(value)), "-o", str(tmp_path / "out"))
    assert code == 0, err


def test_an_interval_wider_than_a_float_is_cut(records, monkeypatch):
    monkeypatch.setattr(prediction, "conformal", lambda scores: 1e6)
    predicted = Predictor(load_records(records(1.0)), "latency", ["lstm"])(
        "lstm", (100.0, 1.0, 64.0)
    )
    assert predicted["low"] == 0.0
    assert 1e300 < predicted["high"] < float("inf")
