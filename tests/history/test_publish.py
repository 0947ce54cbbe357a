"""The published history works in a browser without network, also for malformed results."""

from __future__ import annotations

import http.server
import json
import math
import shutil
import threading
from functools import partial
from pathlib import Path

import pytest
from perf import history
from perf.history import benchmark_name

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.study_file import load_study
from benchsuite.history import publish as publishing
from benchsuite.history.publish import publish

COMMITS = 12
LATENCY = benchmark_name("latency")


def slower_halfway(measure, point, commit):
    """All values but counted ones grow by half at the sixth commit, and vary by one per cent."""
    wobble = 1 + 0.01 * math.sin(commit * 2.7 + point["seq_len"])
    exact = history.plausible(measure, point, commit)
    return exact if measure == "parameters" else exact * wobble * (1.5 if commit >= 6 else 1.0)


@pytest.fixture(scope="module")
def configuration(tmp_path_factory):
    return history.make(tmp_path_factory.mktemp("history") / "project", COMMITS, slower_halfway)


@pytest.fixture(scope="module")
def site(configuration):
    return publish(configuration, configuration.parent.parent / "site")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def url(site):
    handler = partial(Quiet, directory=str(site.index.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def page(url):
    """A browser page; fails afterwards if it sent a request elsewhere or had an error."""
    from playwright.sync_api import sync_playwright

    asked, errors = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.set_default_timeout(10_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("response", lambda r: errors.append(r.url) if r.status >= 400 else None)
        yield page
        browser.close()
    assert asked
    assert [request for request in asked if not request.startswith(url)] == []
    assert errors == []


#: Counts the pixels of a canvas that are not transparent.
INKED = """canvas => {
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let inked = 0;
    for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
    return inked;
}"""


@pytest.mark.browser
def test_the_grid_shows_a_plot_of_every_measure(page, url):
    page.goto(url)
    page.locator(".benchmark-plot canvas.flot-base").nth(8).wait_for()
    names = page.locator(".benchmark-text").all_text_contents()
    assert len(names) == 9
    assert "latency" in names
    plots = page.locator(".benchmark-plot canvas.flot-base")
    assert all(plots.nth(k).evaluate(INKED) > 500 for k in range(8))


@pytest.mark.browser
def test_a_graph_over_commits_and_over_sequence_length(page, url):
    page.goto(f"{url}#{LATENCY}")
    canvas = page.locator("#main-graph canvas.flot-base")
    canvas.wait_for()
    assert canvas.evaluate(INKED) > 3000
    legend = page.locator("#main-graph .legendLabel").all_text_contents()
    assert len(legend) == 8
    assert "model-tcn; seq_len-256" in legend[-1]
    page.get_by_text("By sequence length").click()
    page.locator(".dropdown-menu").get_by_text("latency", exact=True).click()
    page.wait_for_function("document.querySelectorAll('#main-graph .legendLabel').length == 4")
    assert canvas.evaluate(INKED) > 3000
    assert "seq_len" not in page.locator("#main-graph .legendLabel").first.text_content()


@pytest.mark.browser
def test_the_list_and_the_regressions(page, url):
    page.goto(f"{url}#summarylist")
    page.get_by_text("(lstm, 256, 16, train)").first.wait_for()
    assert page.locator("#summarylist-body tbody tr").count() == 7 * 32 + 2
    assert page.get_by_text("(machine)").count() == 2
    page.locator("#nav").get_by_text("Regressions").click()
    page.locator("#regressions-body tbody tr").first.wait_for()
    names = page.locator("#regressions-body tbody tr td:first-child").all_text_contents()
    assert any("Latency" in name for name in names)
    assert not any("Parameters" in name or "Rate" in name for name in names)


def test_the_pages_need_nothing_from_the_network(site):
    assert site.commits == COMMITS
    assert site.notes == ()
    for file in site.index.parent.glob("*.html"):
        assert "integrity=" not in file.read_text()
        assert publishing._TAG.search(file.read_text()) is None
    names = {file.name for file in site.index.parent.iterdir()}
    assert set(publishing._SHIPPED.values()) <= names
    assert "bootstrap.LICENSE.txt" in names


def test_values_that_asv_cannot_publish_are_left_out(tmp_path):
    def odd(measure, point, commit):
        if measure == "latency" and commit == 1:
            shape = point["seq_len"], point["batch_size"]
            return {(64, 1): math.inf, (64, 16): {"a": 1}, (256, 1): "fast"}.get(shape, 1.0)
        return history.plausible(measure, point, commit)

    configuration = history.make(tmp_path / "project", 3, odd)
    results = configuration.parent / "results" / "synthetic"
    torn = results / "00000000-torn.json"
    torn.write_text('{"commit_hash": "')
    before = {file.name: file.read_bytes() for file in results.iterdir()}
    site = publish(configuration)
    notes = "\n".join(site.notes)
    assert f"left out 48 values of {LATENCY}" in notes
    assert f"left out {torn}: not a result file" in notes
    assert (site.commits, len(site.notes)) == (3, 2)
    assert {file.name: file.read_bytes() for file in results.iterdir()} == before
    (graph,) = site.index.parent.glob(f"graphs/arch*/**/{LATENCY}.json")
    rows = json.loads(graph.read_text(), parse_constant=pytest.fail)
    assert sum(value is None for value in rows[1][1]) == 48


def test_malformed_rows_and_files_are_left_out(tmp_path):
    configuration = history.make(tmp_path / "project", 4)
    results = configuration.parent / "results"
    names = sorted(n for n in json.loads((results / "benchmarks.json").read_text()) if "." in n)
    first, second, third, _ = sorted((results / "synthetic").glob("*existing*.json"))

    def change(file, edit):
        data = json.loads(file.read_text())
        edit(data)
        file.write_text(json.dumps(data))

    change(first, lambda data: data["results"][names[0]][0].__setitem__(0, 10**400))
    change(second, lambda data: data["results"][names[0]].__setitem__(1, [[1, 2], [{}]]))
    change(third, lambda data: data["result_columns"].append({"a": 1}))
    change(results / "benchmarks.json", lambda data: data[names[1]].update(params=[[1]]))
    notes = "\n".join(publish(configuration).notes)
    assert f"left out 1 value of {names[0]} in {first}: not finite" in notes
    assert f"left out 1 value of {names[0]} in {second}" in notes
    assert f"left out {third}: not a result file" in notes
    assert f"left out 1 malformed benchmark: {names[1]!r}" in notes


def test_markup_in_results_is_shown_as_text(tmp_path):
    configuration = history.make(tmp_path / "project", 2)
    evil = "<script>alert(1)</script>"
    results = configuration.parent / "results"
    machine = results / "synthetic" / "machine.json"
    machine.write_text(machine.read_text().replace("a processor", evil))
    index = results / "benchmarks.json"
    known = json.loads(index.read_text())
    known[LATENCY]["pretty_name"] = known[LATENCY]["unit"] = evil
    known[evil] = {**known[LATENCY], "name": evil}
    known["../../escape"] = {**known[LATENCY], "name": "../../escape"}
    index.write_text(json.dumps(known))
    site = publish(configuration)
    (note,) = site.notes
    assert note.startswith("left out 2 malformed benchmarks")
    for file in site.index.parent.rglob("*.json"):
        assert "<script" not in file.read_text(), file
    assert not (tmp_path / "escape.json").exists()


def test_a_kernel_update_keeps_a_line_and_another_processor_starts_one(tmp_path):
    configuration = history.make(tmp_path / "project", 3)
    files = sorted((configuration.parent / "results" / "synthetic").glob("*existing*.json"))
    older = files[0].read_text().replace("Linux 6.1", "Linux 5.9")
    files[0].write_text(older.replace('"python"', '"wheel": "0.4", "python"', 1))
    site = publish(configuration)
    assert site.notes == ()
    assert len(list(site.index.parent.glob(f"graphs/arch*/**/{LATENCY}.json"))) == 1
    files[0].write_text(files[0].read_text().replace("a processor", "another processor"))
    site = publish(configuration)
    (note,) = site.notes
    assert (
        "machine 'synthetic' has results of several machines (another processor, x86_64, 2; a proc"
        in note
    )
    assert len(list(site.index.parent.glob(f"graphs/arch*/**/{LATENCY}.json"))) == 2


def test_benchmarks_without_results_are_not_shown(tmp_path):
    """asv lists all benchmarks, but has no graph of one without results."""
    configuration = history.make(tmp_path / "project", 2)
    for file in (configuration.parent / "results" / "synthetic").glob("*existing*.json"):
        data = json.loads(file.read_text())
        data["results"] = {LATENCY: data["results"][LATENCY]}
        file.write_text(json.dumps(data))
    index = json.loads((publish(configuration).index.parent / "index.json").read_text())
    assert list(index["benchmarks"]) == [LATENCY]


def test_commits_that_are_on_no_branch_are_reported(tmp_path):
    import subprocess

    configuration = history.make(tmp_path / "project", 3)
    subprocess.run(["git", "-C", configuration.parent, "reset", "-q", "HEAD~1"], check=True)
    (note,) = publish(configuration).notes
    assert note.startswith("not shown: 1 commit that is not on any branch: ")


def test_publishing_reports_bad_input_and_output(tmp_path, configuration, monkeypatch):
    with pytest.raises(UsageError, match="cannot read asv's configuration"):
        publish(tmp_path / "asv.conf.json")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").touch()
    with pytest.raises(UsageError, match="holds other files than published pages"):
        publish(configuration, mine)
    assert (mine / "thesis.txt").exists()
    bare = tmp_path / "asv.conf.json"
    bare.write_text('{"version": 1, "repo": "."}')
    with pytest.raises(UsageError, match=r"measure first with `asv run`"):
        publish(bare)
    monkeypatch.setattr(publishing, "_SHIPPED", {})
    with pytest.raises(BenchsuiteError, match=r"asv's page requests .*jquery.*asv 0\.6\.6"):
        publish(configuration, tmp_path / "site")


def test_on_the_command_line(tmp_path, configuration, run_command, monkeypatch):
    monkeypatch.chdir(configuration.parent)
    code, out, err = run_command("publish", "-o", str(tmp_path / "site"), "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document == {
        "index": str(tmp_path / "site" / "index.html"),
        "commits": COMMITS,
        "notes": [],
    }
    monkeypatch.chdir(tmp_path)
    code, _, err = run_command("publish", "nothing")
    assert code == 2
    assert err.startswith("error: 'nothing' is neither asv's configuration nor a measured study")


def test_the_tracked_grid_has_two_sequence_lengths_or_more():
    """Without them the menu by sequence length is empty."""
    assert len(load_study("tracked").axes["seq_len"]) > 1


def test_the_scripts_are_in_the_package():
    shipped = {file.name for file in (Path(publishing.__file__).parent / "www").iterdir()}
    assert set(publishing._SHIPPED.values()) <= shipped
