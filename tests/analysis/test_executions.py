"""Executions of one mathematics: ratios, crossings on planted data, sentences, and the section."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from benchsuite.analysis import (
    Noise,
    crossovers,
    executed,
    execution_crossings,
    execution_words,
    executions,
    fastest_executions,
)
from benchsuite.catalog.models import MODELS
from benchsuite.records import to_frame
from benchsuite.report.executions import crossing_table, ratio_table
from benchsuite.report.figures.executions import execution_figures, look_of
from benchsuite.report.figures.figure import INK
from benchsuite.report.page import write_report

QUIET = Noise(0.0, 0.0, "none")
LENGTHS = (256, 1024, 4096, 16384)
#: Seconds at T: the loop and the FFT cross at T = 1,000; the library's LSTM is twice the kernel.
TIMES = {
    "lru_loop": lambda t: 4e-6 * t,
    "lru_fft": lambda t: 2e-3 + 2e-6 * t,
    "lru_native": lambda t: 1e-6 * t,
    "lstm": lambda t: 2e-6 * t,
    "tcn": lambda t: 9e-6 * t,
}


@pytest.fixture
def timed(make_record):
    """A frame of these models at two batch sizes, which change nothing."""

    def build(models=tuple(TIMES), *, batches=(1, 8), errors=False):
        rows = []
        for model in models:
            for t in LENGTHS:
                for b in batches:
                    own = {"model": model, "seq_len": t, "batch_size": b, "hidden_size": 64}
                    rows.append(make_record(**own, value=TIMES[model](t)))
                    if errors and model.startswith("lru") and b == 1:
                        error = 300.0 if model == "lru_fft" else 2.0
                        rows.append(
                            make_record(**own, measure="numeric_error", unit="ulp", value=error)
                        )
        return to_frame(rows)

    return build


def test_names_show_the_execution():
    names = [
        "lru_native",
        "lru_loop",
        "lru_fft",
        "lstm_fused",
        "lstm",
        "longconv",
        "my.module:lstm",
    ]
    assert [executed(name) for name in names] == [
        *("lru_native", "lru_loop", "lru_fft", "lstm_fused"),
        *("lstm (library)", "longconv (FFT)", "my.module:lstm"),
    ]


def test_ratios_to_a_named_baseline_and_to_the_library(timed):
    table = executions(timed(errors=True), noise=QUIET)
    assert set(table["model"]) == {"lru_loop", "lru_fft", "lru_native"}
    assert set(table["baseline"]) == {"lru_loop"}
    assert set(table["reference"]) == {"lstm"}
    at = table[table["batch_size"] == 1].set_index(["model", "seq_len"])
    native = at.loc[("lru_native", 1024)]
    assert (native["ratio"], native["reference_ratio"]) == (pytest.approx(4), pytest.approx(2))
    assert native["execution"] == "native"
    assert at.loc[("lru_fft", 16384), "numeric_error"] == 300
    assert table[table["batch_size"] == 8]["numeric_error"].isna().all()
    noisy = executions(timed(), noise=Noise(0.1, 50, "repeats"))
    row = noisy[(noisy["model"] == "lru_native") & (noisy["seq_len"] == 256)].iloc[0]
    assert row["low"] <= row["ratio"] <= row["high"]


def test_the_baseline_is_the_library_where_there_is_one(make_record):
    frame = to_frame([make_record(model=m) for m in ("lstm_fused", "lstm_cell", "lstm")])
    assert set(executions(frame, noise=QUIET)["baseline"]) == {"lstm"}
    frame = to_frame([make_record(model=m) for m in ("s4d_native", "s4d_fft")])
    table = executions(frame, noise=QUIET)
    assert set(table["baseline"]) == {"s4d_fft"}
    assert set(table["reference"]) == {""}
    assert table["reference_ratio"].isna().all()


def test_planted_crossings_between_executions(timed):
    """The loop and the FFT cross at T = 1,000 in each of two lines; the kernel is always lower."""
    frame = timed()
    crossed = execution_crossings(crossovers(frame, "latency", noise=QUIET))
    assert set(crossed["mathematics"]) == {"lru"}
    assert len(crossed) == 3 * 2
    found = crossed[crossed["verdict"] == "crosses"]
    assert found[["a", "b"]].to_numpy().tolist() == [["lru_loop", "lru_fft"]] * 2
    assert ((found["low"] <= 1000) & (found["high"] >= 1000)).all()
    words = execution_words(frame, executions(frame, noise=QUIET), crossed, noise=QUIET)
    assert words[0] == (
        "lru: lru_native is fastest in 8 of 8 shapes: in the median 4.0 times as fast as lru_loop"
        " and 2.0 times as fast as lstm (library)."
    )
    assert words[1].startswith(
        "Executions of one mathematics cross in 2 of 6 comparisons over T: infer, B=1: lru_loop is"
        " lower up to T = "
    )
    table = crossing_table(crossed)
    assert table.heads == ["executions", "B", "T*", "from", "to", "lower"]
    texts = [[cell.text for cell in row] for row in table.rows]
    assert [(row[0], row[5]) for row in texts[:2]] == [
        ("lru_loop, lru_fft", "lru_loop, then lru_fft")
    ] * 2
    assert [row[5] for row in texts[2:]] == ["lru_native"] * 4


def test_a_baseline_that_is_also_the_reference_is_named_once(make_record):
    frame = to_frame(
        [make_record(model=m, value=v) for m, v in (("lstm_native", 1.0), ("lstm", 3.0))]
    )
    none = crossovers(frame, "latency").head(0)
    (words,) = execution_words(frame, executions(frame, noise=QUIET), none, noise=QUIET)
    assert (
        words
        == "lstm: lstm_native is fastest in 1 of 1 shapes: 3.0 times as fast as lstm (library)."
    )


def test_equal_executions_cannot_be_distinguished(make_record):
    frame = to_frame([make_record(model=m) for m in ("minlstm_scan", "minlstm_native")])
    (words,) = execution_words(
        frame, executions(frame, noise=QUIET), crossovers(frame, "latency").head(0), noise=QUIET
    )
    assert words == "minlstm: in 1 of 1 the fastest two cannot be distinguished."


def test_the_table_has_a_row_for_each_line(timed):
    table = ratio_table(executions(timed(errors=True), noise=QUIET))
    rows = {(row[0].text, row[1].text): [cell.text for cell in row[2:]] for row in table.rows}
    assert table.heads == [
        *("model", "B", "baseline"),
        *(f"T={t}" for t in LENGTHS),
        *("lstm (library)", "error, ulp"),
    ]
    assert rows[("lru_native", "1")] == ["lru_loop", *["4.0 (4.0–4.0)"] * 4, "2.0 (2.0–2.0)", "2"]
    assert rows[("lru_loop", "8")][1:5] == ["1"] * 4
    assert rows[("lru_fft", "8")][-1] == "–"


def test_figures_of_time_and_of_rounding_errors(timed):
    frame = timed(errors=True)
    figures = list(execution_figures(frame, executions(frame)))
    assert [figure.name.rpartition("-infer")[0] for figure in figures] == [
        "executions-latency",
        "executions-numeric-error",
    ]
    assert not any(figure.wide for figure in figures)  # as wide as a phone
    assert "lru, B=8, H=64" in figures[0].svg
    assert "lstm (library)" in figures[0].svg
    assert "Python loop" in figures[0].svg
    assert "lru: Python loop 1.02 ms to 65.5 ms" in figures[0].alt


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
def test_executions_can_be_seen_on_light_and_dark_pages(page):
    """WCAG 2.2 asks for a contrast of 3 for graphics; the library's ink is the text's."""

    def luminance(colour):
        channels = np.array(to_rgb(colour))
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ (0.2126, 0.7152, 0.0722))

    known = {spec.execution for spec in MODELS if spec.execution} | {"another"}
    looks = [look_of(execution) for execution in known]
    assert len(set(looks)) == len(looks)
    assert len({marker for _, marker, _ in looks}) == len(looks)
    for colour in {colour for colour, _, _ in looks} - {INK}:
        low, high = sorted([luminance(colour), luminance(page)])
        assert (high + 0.05) / (low + 0.05) >= 3


def test_each_mathematics_is_represented_by_its_fastest_execution(timed, make_record):
    frame = timed()
    assert fastest_executions(frame) == ["lru_native", "lstm", "tcn"]
    lost = to_frame([make_record(model="gru", status="oom", reason="x"), make_record(model="my:x")])
    assert fastest_executions(lost) == ["gru", "my:x"]


def test_the_section_needs_two_executions(timed, tmp_path):
    written = write_report(timed(errors=True), tmp_path / "several")
    page = written["index"].read_text("utf-8")
    assert '<section id="executions">' in page
    assert 'href="#executions"' in page
    assert "lru_native is fastest in 8 of 8 shapes" in page
    assert "- lru: lru_native is fastest" in written["summary"].read_text("utf-8")
    written = write_report(timed(("lru_native", "lstm", "tcn")), tmp_path / "one")
    assert "One mathematics" not in written["index"].read_text("utf-8")
