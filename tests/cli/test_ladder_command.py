"""`benchsuite ladder` and the report's section, from records that exist."""

from __future__ import annotations

import json

import pytest

from benchsuite.records import RecordFile, load_records
from benchsuite.report.page import write_report


@pytest.fixture
def records(tmp_path, make_record):
    file = RecordFile(tmp_path / "own" / "records.jsonl")
    rungs = {
        ("lstm", "eager"): 2e-3,
        ("lstm_fused", "eager"): 8e-3,
        ("lstm", "onnxruntime"): 1e-3,
        ("lstm", "openvino"): 3e-3,
    }
    for number, ((model, engine), value) in enumerate(rungs.items()):
        for seq_len in (64, 128):
            file.append(
                make_record(
                    uid=f"{number}-{seq_len}",
                    model=model,
                    engine=engine,
                    seq_len=seq_len,
                    value=value * seq_len / 128,
                    samples=[value * seq_len / 128 * (1 + i / 500) for i in range(-5, 6)],
                    provenance={} if engine == "eager" else {"preparation": 0.5},
                )
            )
    reason = "engine compile is not available on this machine: torch.compile needs a C++ compiler"
    for model in ("lstm", "lstm_fused"):
        file.append(
            make_record(
                uid=f"s-{model}",
                model=model,
                engine="compile",
                seq_len=128,
                status="skipped",
                reason=reason,
            )
        )
    return file.path


def test_the_table_fits_into_80_columns_and_names_the_baseline(records, run_command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run_command("ladder", "lstm", "--study", str(records), "-a", "T=128")
    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "lstm, infer, T=128, B=1, H=64" in out
    words = {line.split("  ")[0]: " ".join(line.split()) for line in out.splitlines()}
    assert "1 ms 0.50 0.50 to 0.50" in words["lstm (onnxruntime)"]
    assert "500 ms 500 calls" in words["lstm (onnxruntime)"]
    assert words["lstm (openvino)"].endswith("never")
    assert "baseline" in words["lstm"]
    assert "Ratio: latency divided by that of lstm." in out
    joined = " ".join(out.split())
    assert (
        "skipped: lstm (compile), lstm_fused (compile): engine compile is not available" in joined
    )


def test_the_json_document(records, run_command):
    code, out, _ = run_command("ladder", "lstm", "--study", str(records), "-a", "T=128", "--json")
    assert code == 0
    document = json.loads(out)
    assert (document["mathematics"], document["baseline"]) == ("lstm", "lstm")
    rows = {(row["model"], row["engine"]): row for row in document["rows"]}
    own = rows["lstm", "onnxruntime"]
    assert own["ratio"]["value"] == pytest.approx(0.5)
    assert own["ratio"]["low"] <= 0.5 <= own["ratio"]["high"]
    assert own["break_even_calls"] == 500
    assert own["seq_len"] == 128
    assert rows["lstm", "openvino"]["break_even_calls"] is None
    assert rows["lstm", "compile"]["status"] == "skipped"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lstm_cell",), "is a model; its mathematics is 'lstm'"),
        (("lstn",), "unknown mathematics 'lstn'"),
        (("lstm", "--baseline", "gru"), "unknown rung of this ladder 'gru'"),
        (("tcn",), "unknown mathematics of these records 'tcn'"),
        (("lstm", "-a", "engine=onnx"), "did you mean 'onnxruntime'"),
    ],
)
def test_bad_words_are_one_line(records, run_command, words, message):
    code, _, err = run_command("ladder", *words, "--study", str(records))
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_the_report_has_a_ladder_where_two_engines_were_measured(records, tmp_path):
    frame = load_records(records)
    written = write_report(frame, tmp_path / "with")
    page = written["index"].read_text("utf-8")
    assert 'id="ladder"' in page
    assert "lstm, infer: the fastest rung is lstm (onnxruntime) at 2 of 2 shapes" in page
    figure = (tmp_path / "with" / "ladder-lstm-infer.svg").read_text("utf-8")
    assert "lstm (onnxruntime)" in figure
    assert "lstm (compile)" not in figure  # without a value anywhere, it is named in the caption
    assert "Without a value at any shape: lstm (compile), lstm_fused (compile)." in page
    write_report(frame[frame["engine"] == "eager"], tmp_path / "without")
    assert 'id="ladder"' not in (tmp_path / "without" / "index.html").read_text("utf-8")
