"""TensorBoard's profiler and our own timeline draw in a browser that can reach nothing else."""

from __future__ import annotations

import http.client
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from benchsuite import Case
from benchsuite.errors import UsageError
from benchsuite.profiling.tensorboard import serve
from benchsuite.profiling.trace_case import trace_case

CASE = Case(model="lstm_cell", mode="train", seq_len=12, batch_size=2, hidden_size=8)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    root = tmp_path_factory.mktemp("traces")
    trace_case(CASE, root)
    return root


@pytest.fixture(scope="module")
def url(traces):
    """The page of a TensorBoard that runs as people start it."""
    command = [sys.executable, "-m", "benchsuite", "tensorboard", str(traces), "--port", "0"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **streams) as process:
        yield process.stdout.readline().strip()
        process.terminate()


class Page:
    """A page, what it asked for and what went wrong on it."""

    def __init__(self, browser):
        self.asked, self.errors = [], []
        self.page = browser.new_page(viewport={"width": 1300, "height": 900})
        self.page.set_default_timeout(10_000)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def outside(self, *allowed):
        return [url for url in self.asked if not url.startswith((*allowed, "data:", "blob:"))]

    def colours(self, locator):
        """How many colours cover more than a hundred pixels of an element."""
        pixels = np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("RGB"))
        _, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
        return int((counts > 100).sum())


@pytest.fixture
def browsed():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield Page(browser)
        browser.close()


@pytest.mark.browser
def test_every_view_draws(browsed, url):
    page = browsed.page

    def choose(view):
        page.locator(".MuiSelect-root").nth(1).click()
        page.get_by_role("option", name=view, exact=True).click()

    page.goto(url)
    page.get_by_text("Execution Summary").wait_for(timeout=40_000)
    page.locator("svg rect[height] title").first.wait_for(state="attached")
    assert page.locator("svg path title").count() >= 2  # the pie of the summary
    assert page.locator("svg rect title").count() >= 2  # the bars of the steps
    assert page.locator("table tr").count() >= 4

    choose("Operator")
    page.get_by_text("Operator View").wait_for()
    page.locator("svg path title").nth(10).wait_for(state="attached")
    assert "aten::" in page.locator("svg path title").first.text_content()
    page.get_by_text("aten::mm", exact=True).first.wait_for()
    # Stacks that carry a stack: the model's own file is in one.
    row = page.get_by_role("row").filter(has=page.get_by_text("aten::addmm", exact=True)).first
    row.get_by_text("View CallStack").click()
    page.get_by_text("View call frames").first.click()
    page.get_by_text("benchsuite/models/lstm.py").first.wait_for()

    choose("Memory")
    line = page.locator("svg polyline").first
    line.wait_for(state="attached")
    page.wait_for_function(
        "(document.querySelector('svg polyline')?.getAttribute('points') ?? '').length > 400"
    )
    heights = {point.split(",")[1] for point in line.get_attribute("points").split()}
    assert len(heights) > 20  # it goes up and down

    choose("Module")
    page.get_by_text("Module View").wait_for()
    page.locator("svg rect title").nth(20).wait_for(state="attached")
    assert page.get_by_text("SequenceModel_0").count() >= 1

    choose("Trace")
    frame = page.locator("iframe")
    frame.wait_for()
    for _ in range(20):
        page.wait_for_timeout(500)
        if browsed.colours(frame) > 12:
            break
    assert browsed.colours(frame) > 12  # ranges and operators, each in a colour of its name

    assert browsed.errors == []
    assert browsed.outside(url.partition("data/")[0]) == []


@pytest.mark.browser
def test_the_timeline_draws_from_its_file_alone(browsed, traces):
    page = browsed.page
    page.goto((traces / CASE.id / "timeline.html").as_uri())
    page.locator("canvas[data-drawn]").wait_for()
    whole = int(page.locator("canvas").get_attribute("data-drawn"))
    assert whole > 200
    assert browsed.colours(page.locator("canvas")) >= 5
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 24)
    assert "ProfilerStep" in page.locator("#details").text_content()
    for _ in range(12):
        page.mouse.wheel(0, -100)
    page.wait_for_timeout(200)
    assert 0 < int(page.locator("canvas").get_attribute("data-drawn")) < whole
    assert browsed.errors == []
    assert browsed.outside("file:") == []


def test_it_listens_on_loopback_only(url):
    port = int(url.split(":")[2].split("/")[0])
    lines = [
        f"{line}"
        for file in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]
    ]
    listening = [
        w[1] for w in map(str.split, lines) if w[3] == "0A" and w[1].endswith(f":{port:04X}")
    ]
    assert listening == [f"0100007F:{port:04X}"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("127.0.0.1", 200), ("localhost", 200), ("LOCALHOST:1", 200), ("[::1]:80", 200)),
        *(("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil", 403)),
        *(("127.0.0.1@evil", 403), ("", 403), ("192.168.0.1", 403), ("127.0.0.1:", 403)),
    ],
)
def test_only_loopback_names_are_answered(url, host, status):
    """A name of another machine that resolves to 127.0.0.1 is DNS rebinding."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    for path in ("/data/environment", where.path):
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        if status == 403:
            connection.close()
    connection.close()


def descendants(pid):
    """Processes that a process has started, directly or not."""
    found = []
    for line in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, line.read_text().split()):
            found += [child, *descendants(child)]
    return found


@pytest.mark.parametrize(
    ("sign", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGKILL", -signal.SIGKILL)]
)
def test_no_process_outlives_the_server(tmp_path, sign, code):
    """Neither those that read traces, nor multiprocessing's resource tracker."""
    # A pipe as a trace: the process that reads it waits for as long as nobody writes.
    run = tmp_path / "run"
    run.mkdir()
    os.mkfifo(run / "host_1.1700000000000.pt.trace.json")
    command = [sys.executable, "-m", "benchsuite", "tensorboard", str(tmp_path), "--port", "0"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, **streams) as process:
        address = process.stdout.readline().strip()
        assert address
        urlopen(address.rpartition("/")[0] + "/runs", timeout=30).read()
        end = time.monotonic() + 60
        while len(started := descendants(process.pid)) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        assert len(started) >= 3  # the tracker, the plugin's manager and a reader of the trace
        process.send_signal(getattr(signal, sign))
        assert process.wait(60) == code
    while any(Path(f"/proc/{pid}").exists() for pid in started) and time.monotonic() < end:
        time.sleep(0.1)
    assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def test_a_port_in_use_is_an_error(traces):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} .*in use.*--port"):
            serve(traces, port)


@pytest.mark.parametrize("missing", ["tensorboard.program", "torch_tb_profiler.plugin"])
def test_a_missing_tensorboard_is_an_error(traces, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"pip install 'benchsuite\[trace\]'"):
        serve(traces, 0)


def test_a_directory_without_traces_is_an_error(tmp_path):
    with pytest.raises(UsageError, match=r"no trace for TensorBoard in .*benchsuite trace"):
        serve(tmp_path, 0)


def test_no_vendored_page_names_another_machine():
    """What is ours or vendored loads nothing: the licence's addresses are in comments."""
    static = Path(sys.modules["benchsuite.profiling.tensorboard"].__file__).parent / "static"
    assert "http" not in (static / "charts.js").read_text().replace(
        "http://www.w3.org/2000/svg", ""
    )
    assert (static / "webcomponents.LICENSE.txt").exists()
