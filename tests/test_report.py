"""The report: right numbers, nothing left out, and a page that needs nothing from outside."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchsuite import units
from benchsuite.analysis import fit_power, newest, scaling
from benchsuite.errors import UsageError
from benchsuite.records import to_frame
from benchsuite.report import write_report


@pytest.fixture
def study(make_record):
    """A study of three models whose latencies grow as T, T and T^1.5; some cases fail."""

    def rows():
        for mode in ("infer", "train"):
            for batch in (1, 8):
                for t in (64, 128, 256, 512):
                    for model, c, p in (
                        ("lstm", 2e-6, 1),
                        ("tcn", 1e-6, 1),
                        ("lstm_cell", 1e-7, 1.5),
                    ):
                        own = {"model": model, "seq_len": t, "batch_size": batch, "mode": mode}
                        value = c * batch * t**p
                        spread = value * np.linspace(0.98, 1.02, 9)
                        yield make_record(**own, value=value, samples=spread.tolist())
                        yield make_record(
                            **own, measure="peak_memory", unit="B", value=float(4096 * t * batch)
                        )
        bad = {"seq_len": 1024, "measure": "latency"}
        yield make_record(model="lstm", status="oom", reason="refused: <b>too large</b>", **bad)
        yield make_record(model="tcn", status="skipped", reason="no such device", **bad)

    return to_frame(rows())


def test_scaling_finds_the_planted_exponents(study):
    found = scaling(newest(study), "latency")
    assert len(found) == 3 * 2 * 2
    for model, exponent, factor in (("lstm", 1, 2e-6), ("tcn", 1, 1e-6), ("lstm_cell", 1.5, 1e-7)):
        mine = found[(found["model"] == model) & (found["batch_size"] == 1)]
        assert mine["exponent"].tolist() == pytest.approx([exponent] * 2)
        assert mine["factor"].tolist() == pytest.approx([factor] * 2)
        assert (mine["n"] == 4).all()


def test_the_interval_of_an_exponent_covers():
    rng = np.random.default_rng(0)
    t = np.array([64.0, 128, 256, 512, 1024])
    inside = 0
    for _ in range(1000):
        fit = fit_power(t, 3e-6 * t * rng.lognormal(0, 0.1, t.size))
        inside += fit.low <= 1 <= fit.high
    assert 0.93 <= inside / 1000 <= 0.97


def test_a_line_needs_two_lengths():
    assert fit_power(np.array([64.0]), np.array([1.0])) is None
    assert fit_power(np.array([64.0, 64.0]), np.array([1.0, 1.1])) is None
    assert fit_power(np.array([64.0, 128.0]), np.array([0.0, 1.0])) is None
    two = fit_power(np.array([64.0, 128.0]), np.array([1.0, 2.0]))
    assert two.exponent == pytest.approx(1)
    assert np.isnan(two.low)


def test_machines_are_never_mixed(make_record):
    frame = to_frame([make_record(machine="a"), make_record(machine="b", value=2.0)])
    with pytest.raises(UsageError, match="records of 2 machines: a, b; choose one with --machine"):
        newest(frame)
    assert newest(frame, machine="b")["value"].tolist() == [2.0]
    with pytest.raises(UsageError, match="no records of machine 'c'; there are: a, b"):
        newest(frame, machine="c")


def test_the_newest_commit_is_shown(make_record):
    old = make_record(commit="a", value=1.0, started_at=1.0)
    new = make_record(commit="b", value=2.0, started_at=2.0)
    assert newest(to_frame([new, old]))["value"].tolist() == [2.0]


def test_what_is_written(study, tmp_path):
    written = write_report(study, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {path.name for path in written.values()} == names
    assert {"index.html", "summary.md", "records.csv", "records.parquet"} <= names
    assert sum(name.endswith(".svg") for name in names) == 4
    assert len(pd.read_parquet(tmp_path / "out" / "records.parquet")) == len(study)


def test_the_page_shows_every_case_and_every_failure(study, tmp_path):
    page = write_report(study, tmp_path)["index"].read_text()
    assert "128 µs" in page  # lstm, T=64, B=1: 2e-6 · 64
    assert "refused: &lt;b&gt;too large&lt;/b&gt;" in page  # shown, not rendered
    assert "<b>too large" not in page
    assert "no such device" in page
    assert page.count("<tr>") > 2 * (16 + 16)
    assert "match=width" in page
    assert "infer, lowest latency: " in page


def test_an_unbounded_field_is_an_answer_and_no_failure(make_record, tmp_path):
    own = {"measure": "receptive_field", "unit": "step"}
    bounded = make_record(model="tcn", value=61.0, **own)
    endless = make_record(status="skipped", reason="unbounded: the whole past", **own)
    page = write_report(to_frame([bounded, endless]), tmp_path)["index"].read_text()
    assert "61 step" in page
    assert ">unbounded<" in page
    assert "No case was skipped and none failed." in page


def test_the_summary_names_exponents(study, tmp_path):
    summary = write_report(study, tmp_path)["summary"].read_text()
    assert "| lstm_cell | infer | 1.50 |" in summary


def test_the_page_takes_nothing_from_outside(study, tmp_path):
    page = write_report(study, tmp_path)["index"].read_text()
    linked = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', page))
    local = {"data:,", "records.csv", "records.parquet", "crossovers.csv"} | {
        p.name for p in tmp_path.glob("*.svg")
    }
    assert linked <= local
    assert "<script" not in page
    assert "@import" not in page
    assert len(page) < 5_000_000


def test_the_same_records_give_the_same_page(study, tmp_path):
    first, second = (write_report(study, tmp_path / n)["index"].read_text() for n in "ab")
    assert first == second


def test_one_case_is_a_report_too(make_record, tmp_path):
    page = write_report(to_frame([make_record()]), tmp_path)["index"].read_text()
    assert "no two sequence lengths" in page


def test_only_failures_are_a_report_too(make_record, tmp_path):
    frame = to_frame([make_record(status="failed", reason="because", seq_len=t) for t in (1, 2)])
    page = write_report(frame, tmp_path)["index"].read_text()
    assert "because" in page


def test_a_directory_that_cannot_be_written_is_told(study):
    with pytest.raises(UsageError, match=r"cannot write the report to /dev/null/x: .*choose"):
        write_report(study, Path("/dev/null/x"))


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_in_a_browser(study, tmp_path, width, scheme):
    """Draws its figures, asks nobody for anything, and does not scroll sideways on a phone."""
    from playwright.sync_api import sync_playwright

    index = write_report(study, tmp_path)["index"]
    asked, said = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(index.as_uri())
        assert page.locator("figure svg").count() == 4
        box = page.locator("figure svg").first.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert ink == ("rgb(31, 35, 40)" if scheme == "light" else "rgb(230, 237, 243)")
        label = page.locator("figure svg").first.get_attribute("aria-label")
        assert "match=width" in label
        browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_ci_has_a_browser():
    """In CI the browser tests must not be skipped."""
    assert shutil.which("chromium") or not os.environ.get("CI")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "s", "1.23 ms"),
        (2.5e-7, "s", "250 ns"),
        (75.0, "s", "75 s"),
        (0, "s", "0 s"),
        (512, "B", "512 B"),
        (10_358_336, "B", "9.88 MiB"),
        (201_326_592, "FLOP", "201 MFLOP"),
        (33024, "1", "33,024"),
        (127, "step", "127 step"),
        (None, "s", "–"),
        (float("nan"), "B", "–"),
    ],
)
def test_values_for_people(value, unit, text):
    assert units.show(value, unit) == text
