"""Shared fixtures: what a machine must have, and records made without measuring."""

from __future__ import annotations

import os
import shutil
import sys

import pytest
from shared_server import SharedServer

from benchsuite.catalog.measures import MEASURES
from benchsuite.cli import field, main, train
from benchsuite.grid.case import Case
from benchsuite.records import Record
from benchsuite.sweep import trace_study

#: Modules whose tests run compiled kernels, besides all tests with "native" in their name.
_COMPILED = {"test_linear", "test_kernels"}


def pytest_collection_modifyitems(items):
    import torch  # here, and not where xdist's controller would import it as well

    from benchsuite.models.kernels.compiler import unavailable
    from benchsuite.models.kernels.linear_scan import SOURCE

    torch.set_num_threads(1)
    no_gpu = pytest.mark.skip(reason="needs a CUDA device; this machine has none")
    no_browser = pytest.mark.skip(reason="needs Chromium (apt-get install chromium)")
    compiled = [i for i in items if "native" in i.name or i.path.stem in _COMPILED]
    if compiled and not os.environ.get("CI") and (problem := unavailable(SOURCE)):
        for item in compiled:
            item.add_marker(pytest.mark.skip(reason=problem))
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)
        if (
            item.get_closest_marker("browser")
            and not shutil.which("chromium")
            and not os.environ.get("CI")
        ):
            item.add_marker(no_browser)


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch):
    """No test sees the results, the study or the run of the shell it was started in."""
    for name in [n for n in os.environ if n.startswith(("BENCHSUITE_", "ASV"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _server():
    server = SharedServer()
    yield server
    server.stop()


@pytest.fixture
def in_child(_server):
    """Call a function in a process of its own, without starting Python and importing torch."""
    return _server.call


@pytest.fixture
def shared_server(_server, monkeypatch):
    """What runs models in child processes shares the server that forks them."""
    for module in (field, train, trace_study):
        monkeypatch.setattr(module, "Children", _server)


@pytest.fixture
def run_command(monkeypatch, capsys, shared_server):
    """(exit code, standard output, standard error) of a command, in this process."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["benchsuite", *words])
        monkeypatch.setattr(sys, "path", sys.path[:])
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


@pytest.fixture(scope="session")
def make_record():
    """Build a record without measuring: `make_record(value=0.1, seq_len=64, …)`."""

    def make(*, measure="latency", unit="s", status="ok", value=1.0, samples=(), **changes):
        own = {name: changes.pop(name) for name in list(changes) if name in Case.__slots__}
        case = Case(**{"model": "lstm", **own})
        provenance = {"cpu": "test processor", "torch": "2.0", **changes.pop("provenance", {})}
        return Record(
            case=case,
            measure=measure,
            unit=unit,
            version=changes.pop("version", MEASURES.get(measure).version),
            status=status,
            value=value if status == "ok" else None,
            samples=tuple(samples),
            study=changes.pop("study", "test"),
            machine=changes.pop("machine", "here"),
            started_at=changes.pop("started_at", 1_700_000_000.0),
            provenance=provenance,
            **changes,
        )

    return make
