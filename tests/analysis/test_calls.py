"""Calls of streams: tails, advice and the report's section."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchsuite.analysis import advise
from benchsuite.analysis.streaming import call_words, calls
from benchsuite.errors import UsageError
from benchsuite.records import RecordFile, to_frame
from benchsuite.report.figures.streaming import stream_figures
from benchsuite.report.page import write_report
from benchsuite.report.streaming import stream_table

AXES = {"mode": "stream", "batch_size": 1, "hidden_size": 64}


def stream_rows(make_record, fields=(64, 512)):
    """lstm: 100 µs, one call of 200 takes 5 ms; tcn: 200 µs, all alike; conv sees 9 timesteps."""
    for seq_len in fields:
        at = {**AXES, "seq_len": seq_len}
        for model, median, longest in (
            ("lstm", 1e-4, 5e-3),
            ("tcn", 2e-4, 2e-4),
            ("conv", 5e-5, 6e-5),
        ):
            samples = [median] * 196 + [longest] * 4
            yield make_record(
                measure="step_latency", model=model, value=median, samples=samples, **at
            )
        for model, field in (("tcn", 2 * seq_len), ("conv", 9)):
            yield make_record(
                measure="receptive_field", model=model, unit="step", value=field, samples=(), **at
            )
        yield make_record(measure="state_size", model="tcn", unit="B", value=4096, samples=(), **at)


def test_a_row_per_stream_with_its_tail(make_record):
    frame = to_frame(stream_rows(make_record))
    table = calls(frame, deadline=1e-3).set_index(["model", "seq_len"])
    lstm = table.loc[("lstm", 64)]
    assert (lstm["value"], lstm["p99"], lstm["worst"]) == (1e-4, 5e-3, 5e-3)
    assert lstm["over"] == 4 / 200
    assert math.isnan(lstm["p999"])  # of 200 calls
    assert (table.loc[("tcn", 64), "state"], lstm["field"]) == (4096, math.inf)
    assert math.isnan(lstm["state"])


def test_the_report_separates_median_and_tail(make_record):
    table = calls(to_frame(stream_rows(make_record)))
    assert call_words(table) == [
        "field 512, B=1, H=64: lstm has the lowest median, 100 µs; the lowest 99 % quantile is that"
        " of tcn, 200 µs."
    ]
    (figure,) = stream_figures(table)
    assert "lstm: median 100 µs to 100 µs, 99 % quantile up to 5 ms" in figure.alt
    shown = stream_table(table)
    texts = [[cell.text for cell in row] for row in shown.rows]
    head = [str(name) for name in shown.heads]
    tcn = dict(zip(head, next(row for row in texts if row[0] == "tcn"), strict=True))
    assert (tcn["field asked for"], tcn["p99"], tcn["field"]) == ("64", "200 µs", "128")
    assert tcn["p99.9"] == "–"
    assert texts[-1][head.index("field")] == "1024"


def test_a_page_has_the_section(make_record, tmp_path):
    page = write_report(to_frame(stream_rows(make_record)), tmp_path)["index"].read_text("utf-8")
    assert '<section id="streaming">' in page
    assert "lowest 99 % quantile is that of tcn" in page


def test_advice_ranks_calls_by_their_median(make_record):
    frame = to_frame(stream_rows(make_record))
    point = {**AXES, "seq_len": 64, "chunk": 1}
    found = advise(frame, point, deadline=1e-3)
    assert [entry["model"] for entry in found.ranking] == ["lstm", "tcn"]
    assert found.excluded == [{"model": "conv", "reason": "field too short: 9 steps of 64"}]
    lstm, tcn = found.ranking
    assert (lstm["p99"], lstm["over_deadline"]) == (5e-3, 0.02)
    assert (tcn["p99"], tcn["over_deadline"]) == (2e-4, 0.0)
    assert "a call" in found.answer.text


def test_a_deadline_without_a_stream_is_refused(make_record):
    frame = to_frame(stream_rows(make_record))
    with pytest.raises(UsageError, match="a deadline applies to the calls of a stream"):
        advise(frame, {**AXES, "mode": "infer", "seq_len": 64}, deadline=1e-3)


def test_advise_shows_tails_and_missed_deadlines(make_record, run_command):
    file = RecordFile(Path.cwd() / ".benchsuite" / "calls" / "records.jsonl")
    for record in stream_rows(make_record):
        file.append(record)
    words = ("advise", "--study", "calls", "-a", "T=512", "-a", "B=1", "-a", "H=64")
    code, out, err = run_command(*words, "--mode", "stream", "--deadline", "1ms")
    assert (code, err) == (0, "")
    assert ["lstm", "5", "ms", "5", "ms", "2", "%"] in [line.split() for line in out.splitlines()]
    code, out, err = run_command(*words, "--deadline", "1ms")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--mode stream" in err
