"""The report: right numbers, nothing left out, and a page that needs nothing from outside."""

from __future__ import annotations

import csv
import itertools
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchsuite import units
from benchsuite.analysis import laws, newest, verdict
from benchsuite.errors import UsageError
from benchsuite.grid.study_file import load_study
from benchsuite.records import RecordFile, load_records, to_frame
from benchsuite.report.figures.closed_loop import wave_figures
from benchsuite.report.figures.receptive_field import field_figures
from benchsuite.report.page import write_report


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    """The files of the study's report, written once; tests only read them."""
    return write_report(study, tmp_path_factory.mktemp("report") / "out")


@pytest.fixture(scope="module")
def page(written):
    """The text of the study's page."""
    return written["index"].read_text()


def test_scaling_finds_the_planted_exponents(study):
    found = laws(newest(study), "latency")
    assert len(found) == 3 * 2 * 2
    for model, exponent, factor in (("lstm", 1, 2e-6), ("tcn", 1, 1e-6), ("lstm_cell", 1.5, 1e-7)):
        mine = found[(found["model"] == model) & (found["batch_size"] == 1)]
        assert mine["exponent"].tolist() == pytest.approx([exponent] * 2)
        assert mine["factor"].tolist() == pytest.approx([factor] * 2)
        assert (mine["n"] == 4).all()


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


def test_numbers_of_another_version_are_not_those_of_today(make_record):
    """Before version 2 the peak counted only tensors."""
    old = make_record(measure="peak_memory", unit="B", version="1", value=1.0)
    new = make_record(measure="peak_memory", unit="B", value=2.0, started_at=1.0)
    assert newest(to_frame([old, new]))["value"].tolist() == [2.0]
    assert newest(to_frame([old])).empty


def test_what_is_written(study, written):
    directory = written["index"].parent
    names = {path.name for path in directory.iterdir()}
    assert {path.name for path in written.values()} == names
    assert {"index.html", "summary.md", "records.csv", "records.parquet"} <= names
    drawn = [name for name in names if name.endswith(".svg")]
    assert len(drawn) >= 4
    for name in drawn:
        assert len(pd.read_csv(directory / name.replace(".svg", ".csv"))), name
    assert len(pd.read_parquet(directory / "records.parquet")) == len(study)


def test_every_shape_of_the_verdict_is_in_a_file(study, written):
    cells = pd.read_csv(written["verdict"])
    found = verdict(newest(study)).cells
    assert cells["ratio"].tolist() == pytest.approx(found["ratio"].tolist())
    assert cells["winner"].fillna("").tolist() == found["winner"].tolist()


def test_a_report_to_publish_has_its_table_gzipped(make_record, tmp_path):
    written = write_report(to_frame([make_record()]), tmp_path, compress=True)
    assert written["csv"].name == "records.csv.gz"
    assert len(pd.read_csv(written["csv"])) == 1
    assert 'href="records.csv.gz"' in written["index"].read_text()


def test_no_cell_of_any_table_is_a_formula(study, tmp_path):
    renamed = {"lstm": "=evil:lstm", "tcn": "@evil:tcn", "lstm_cell": "+evil:cell"}
    hostile = study.assign(model=study["model"].map(renamed), machine="-cmd")
    hostile.attrs = study.attrs
    hostile = hostile[hostile["mode"] == "infer"]
    write_report(hostile, tmp_path)
    tables = sorted(tmp_path.glob("*.csv"))
    assert len(tables) >= 8
    defused = 0
    for path in tables:
        with path.open(newline="", encoding="utf-8") as file:
            for cell in itertools.chain.from_iterable(csv.reader(file)):
                defused += cell.startswith(("'=", "'@", "'+", "'-"))
                if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
                    float(cell)
    assert defused > 4 * len(hostile)


def test_the_page_shows_every_case_and_every_failure(page):
    assert "128 µs" in page  # lstm, T=64, B=1: 2e-6 · 64
    assert "refused: &lt;b&gt;too large&lt;/b&gt;" in page  # shown, not rendered
    assert "<b>too large" not in page
    assert "no such device" in page
    assert page.count("<tr>") > 2 * (16 + 16)
    assert "match=width" in page
    # 1e-6 T against the better of 2e-6 T and 1e-7 T^1.5, which is the lower one below T = 100.
    assert "infer, at equal width: convolution (tcn) is faster in 6 of 8 shapes" in page
    assert "recurrence (lstm_cell) is faster in 2: 1.25 times as fast in the median" in page


def test_an_unbounded_field_is_an_answer_and_no_failure(make_record, tmp_path):
    own = {"measure": "receptive_field", "unit": "step"}
    bounded = make_record(model="tcn", value=61.0, **own)
    endless = make_record(
        status="skipped", reason="unbounded: the whole past", provenance={"unbounded": True}, **own
    )
    page = write_report(to_frame([bounded, endless]), tmp_path)["index"].read_text()
    assert "61 step" in page
    assert ">unbounded<" in page
    assert "No case was skipped or failed." in page
    assert "(1 ok, 1 unbounded receptive field)" in page
    assert "1 skipped" not in page


def test_the_summary_names_exponents(written):
    summary = written["summary"].read_text()
    assert "| lstm_cell | infer | 1.50 |" in summary


def test_the_page_takes_nothing_from_outside(written, page):
    linked = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', page))
    assert linked <= {"data:,"} | {path.name for path in written["index"].parent.iterdir()}
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|<link[^>]+stylesheet|<script src", page)
    assert "@import" not in page
    assert len(page) < 5_000_000


def test_the_same_records_give_the_same_page(study, tmp_path):
    part = study[(study["mode"] == "infer") & (study["batch_size"] == 1)]
    once, again = (write_report(part, tmp_path / name)["index"].read_text() for name in "ab")
    assert once == again


def test_one_case_is_a_report_too(make_record, tmp_path):
    page = write_report(to_frame([make_record()]), tmp_path)["index"].read_text()
    assert "fewer than two sequence lengths" in page


def test_only_failures_are_a_report_too(make_record, tmp_path):
    frame = to_frame([make_record(status="failed", reason="because", seq_len=t) for t in (1, 2)])
    page = write_report(frame, tmp_path)["index"].read_text()
    assert "because" in page


def test_a_directory_that_cannot_be_written_is_reported(study):
    with pytest.raises(UsageError, match=r"cannot write the report to /dev/null/x: .*choose"):
        write_report(study, Path("/dev/null/x"))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_the_page_in_a_browser(written, width, scheme):
    """Draws its figures, sends no request, and does not scroll sideways on a phone."""
    from playwright.sync_api import sync_playwright

    index = written["index"]
    asked, messages = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(index.as_uri())
        assert page.locator("figure svg").count() >= 4
        box = page.locator("figure svg").first.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert ink == ("rgb(31, 35, 40)" if scheme == "light" else "rgb(230, 237, 243)")
        for figure in page.locator("figure").all():
            assert "match=" in figure.locator("svg").first.get_attribute("aria-label")
            links = [a.get_attribute("href") for a in figure.locator("figcaption a").all()]
            assert all((index.parent / link).exists() for link in links)
            assert {Path(link).suffix for link in links} == {".svg", ".csv"}
        browser.close()
    assert messages == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.browser
def test_tables_sort_and_filter(written):
    """By keyboard too; numbers by value and not by their text, rows without one last."""
    from playwright.sync_api import sync_playwright

    index = written["index"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page()
        page.goto(index.as_uri())
        box = page.locator("#tables [data-table]").first
        rows = box.locator("tbody tr")
        total = rows.count()
        head = box.locator("thead th", has_text="lstm_cell")
        column = box.locator("thead th").all_inner_texts().index("lstm_cell")

        def values():
            cells = [row.locator("th, td").nth(column) for row in rows.all()]
            return [float(cell.get_attribute("data-v") or "nan") for cell in cells]

        before = values()
        head.locator("button").press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        known = [value for value in values() if value == value]
        assert known == sorted(known)
        assert np.isnan(values()[-1]) == any(value != value for value in before)
        head.locator("button").press("Enter")
        assert [value for value in values() if value == value] == known[::-1]
        head.locator("button").press("Enter")
        assert str(values()) == str(before)

        box.locator("input").fill("train 512")
        shown = [row for row in rows.all() if row.is_visible()]
        assert 0 < len(shown) < total
        assert all({"train", "512"} <= set(row.inner_text().split()) for row in shown)
        assert box.locator("output").inner_text() == f"{len(shown)} of {total} rows"
        box.locator("input").fill("")
        assert all(row.is_visible() for row in rows.all())
        page.emulate_media(media="print")
        assert not box.locator("input").is_visible()
        browser.close()


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


def test_the_verdict_finds_the_planted_winners(make_record):
    """Convolution wins at short lengths, loses at long ones, and ties where values are equal."""
    rng = np.random.default_rng(0)

    def rows():
        for t in (64, 128, 256, 512, 1024):
            for model, value in (("lstm", 1e-5 * t), ("tcn", 1e-5 * t * (t / 256) ** 0.7)):
                samples = value * rng.normal(1, 0.01, 12)
                yield make_record(
                    model=model,
                    seq_len=t,
                    value=float(np.median(samples)),
                    samples=samples.tolist(),
                )

    found = verdict(newest(to_frame(rows())))
    winners = found.cells.set_index("seq_len")["winner"]
    assert winners[[64, 128]].eq("convolutional").all()
    assert winners[[512, 1024]].eq("recurrent").all()
    assert winners[256] == ""
    assert found.cells.set_index("seq_len")["ratio"][512] == pytest.approx(2**0.7, rel=0.05)
    (sentence, *_) = found.sentences()
    assert "(at T = 64 and 128)" in sentence
    assert "(at T = 512 and 1024)" in sentence
    assert "in 1 of 5 the difference is within noise" in sentence


def test_a_model_that_sees_too_little_does_not_compete(make_record):
    own = {"seq_len": 512}
    records = [
        make_record(model="lstm", value=1.0, **own),
        make_record(model="tcn", value=3.0, **own),
        make_record(model="conv", value=0.1, **own),
        make_record(model="conv", measure="receptive_field", unit="step", value=9.0, **own),
        make_record(model="tcn", measure="receptive_field", unit="step", value=1021.0, **own),
    ]
    found = verdict(newest(to_frame(records)))
    assert found.cells["convolutional"].tolist() == ["tcn"]
    assert found.blind == {"conv": 9}
    assert any("conv (9 steps)" in sentence for sentence in found.limits())


def test_the_sine_picture_shows_the_recorded_outputs(make_record):
    wave = np.sin(np.arange(80) / 5)
    own = {"measure": "sine_error", "unit": "1", "seq_len": 40, "mode": "train"}
    good = make_record(
        model="lstm",
        value=1e-5,
        provenance={"predicted": wave.tolist(), "expected": wave.tolist()},
        **own,
    )
    lost = make_record(
        model="tcn",
        value=1e-3,
        provenance={"predicted": [*wave[:40], *[0.0] * 40], "expected": wave.tolist()},
        **own,
    )
    (figure,) = wave_figures(newest(to_frame([good, lost])))
    assert len(figure.data) == 160
    assert figure.data.query("model == 'lstm'")["predicted"].tolist() == pytest.approx(
        wave.tolist()
    )
    assert "lstm: error 1e-05, within half the amplitude for all 40 continued steps." in figure.alt
    assert "tcn: error 0.001, off by half the amplitude after 1 continued steps." in figure.alt


def test_the_field_figure_needs_two_lengths(make_record):
    own = {"measure": "receptive_field", "unit": "step", "model": "tcn"}
    records = [make_record(seq_len=t, value=2.0 * t, **own) for t in (64, 128)]
    endless = make_record(
        model="lstm",
        measure="receptive_field",
        status="skipped",
        reason="unbounded: the whole past",
        provenance={"unbounded": True},
    )
    (figure,) = field_figures(newest(to_frame([*records, endless])))
    assert figure.data["value"].tolist() == [128.0, 256.0]
    assert "Unbounded: lstm." in figure.alt
    assert not list(field_figures(newest(to_frame(records[:1]))))


def test_the_page_of_many_records_stays_small(make_record, tmp_path):
    """Tables and figures are capped; what is left out is stated, and is in the files."""
    records = [
        make_record(model=model, seq_len=t, batch_size=b, hidden_size=h, seed=s, value=1e-5 * t)
        for model in ("lstm", "tcn")
        for t in (64, 128)
        for b in (1, 2, 3, 4, 5)
        for h in (32, 64, 96, 128, 160)
        for s in range(5)
    ]
    page = write_report(to_frame(records), tmp_path)["index"].read_text()
    assert len(page) < 2_000_000
    assert "more rows are in the file" in page
    assert "of which are in the data file only" in page
    assert page.count("<figure") <= 20


def test_the_verdict_lists_what_it_does_not_judge(make_record):
    own = [
        make_record(model=m, seq_len=t, value=v)
        for m, v in (("lstm", 1.0), ("tcn", 2.0))
        for t in (8, 16)
    ]
    lost = make_record(model="tcn", seq_len=32, status="oom", reason="too large")
    found = verdict(newest(to_frame([*own, lost, make_record(model="lstm", seq_len=32)])))
    assert len(found.cells) == 2
    limits = " ".join(found.limits())
    assert "Not judged: 1 shapes" in limits
    assert "Field not measured, taken to cover the whole sequence: tcn." in limits
    assert "could not be estimated" in limits


def test_a_page_of_two_commits_has_a_note(make_record, tmp_path):
    records = [
        make_record(seq_len=t, commit=c, started_at=t) for t, c in ((8, "a" * 40), (16, "b" * 40))
    ]
    page = write_report(to_frame(records), tmp_path)["index"].read_text()
    assert "This page combines commits aaaaaaaaaaaa, bbbbbbbbbbbb" in page


def test_ids_of_a_page_differ(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("command", ["report", "advise"])
def test_the_study_of_a_file_is_found(make_record, monkeypatch, tmp_path, run_command, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    file = tmp_path / "benchmarks" / "study.toml"
    file.write_text('name = "mine"\n[axes]\nmodel = ["lstm"]\n')
    at = ["-a", "seq_len=256", "-a", "batch_size=1", "-a", "hidden_size=64", "--study"]
    words = [command, *(at if command == "advise" else []), "benchmarks/study.toml"]
    code, _, err = run_command(*words)
    assert code == 2
    assert "study 'mine' of benchmarks/study.toml was not measured yet" in err
    assert "`benchsuite run benchmarks/study.toml`" in err
    RecordFile(tmp_path / ".benchsuite" / "mine" / "records.jsonl").append(make_record())
    code, out, err = run_command(*words)
    assert (code, err) == (0, "")
    assert str(Path("mine", "report", "index.html")) in out or out.startswith("Use lstm: ")


@pytest.mark.parametrize("name", ["quick", "default"])
def test_shipped_studies_compare_at_equal_parameters_too(name):
    study = load_study(name).with_device("cpu")
    for measure in ("latency", "parameters"):
        assert study.params_of(measure)["match"] == ("width", "params")
    assert min(study.axes["seq_len"]) > 1
    one = study.derive({"match": ["width"]})
    assert len(one.cases("peak_memory")) == one.size  # an axis in [only] that no longer varies


def test_the_published_report_can_be_written_again(tmp_path):
    """Records of schema 1 and explanations of earlier versions, as they are in the repository."""
    published = Path(__file__).parents[2] / "reports/default"
    frame = load_records(published / "records.parquet")
    part = frame[(frame["hidden_size"] == 32) & (frame["batch_size"] == 1)]
    part = part[part["mode"] == "train"]
    write_report(part, tmp_path, traces=published / "traces")
    summary = (tmp_path / "summary.md").read_text("utf-8")
    assert "at equal width, where the convolution has" in summary
    page = (tmp_path / "index.html").read_text("utf-8")
    assert "overhead" in page
    assert "launch-bound" not in page
