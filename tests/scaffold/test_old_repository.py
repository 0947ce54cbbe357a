"""A repository that `benchsuite init` of version 0.1 has set up works with the present version.

`old_repository` has the files that it wrote, a model, and records of a run with that version
(schema 1).
"""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pytest
from asv.config import Config

from benchsuite.records import load_records
from benchsuite.sweep import suite

OLD = Path(__file__).with_name("old_repository")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    records = tmp_path / ".benchsuite" / "mine" / "records.jsonl"
    records.parent.mkdir(parents=True)
    (tmp_path / "records.jsonl").rename(records)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypkg"]:
        del sys.modules[name]


def test_its_records_are_read_and_reported(repository, run_command):
    frame = load_records(repository / ".benchsuite" / "mine")
    assert frame.attrs["problems"] == []
    assert set(frame["schema"]) == {2}
    assert frame["status"].eq("ok").all()
    code, out, err = run_command("report", "mine")
    assert (code, err) == (0, "")
    assert "mypkg.model:make" in Path(out.strip()).read_text()


def test_asv_finds_its_benchmarks_and_measures_them(repository, monkeypatch):
    """As asv does it: with the module's globals, a class per measure and a point of its parameters."""
    for variable in (suite.STUDY, suite.home.VARIABLE, suite.CHECKOUT):
        monkeypatch.setenv(variable, "")  # set by the benchmark module, and restored afterwards
    monkeypatch.setattr(suite.processes, "limit_memory", lambda: None)
    assert Config.load("asv.conf.json").benchmark_dir == "benchmarks"
    module = runpy.run_path("benchmarks/measures.py")
    classes = {name: made for name, made in module.items() if hasattr(made, "study")}
    assert set(classes) == {"Latency", "PeakMemory", "Parameters", "Flops"}
    assert classes["Latency"].study.name == "mine"
    point = [values[0] for values in classes["Flops"].params]
    assert classes["Flops"]().track_flops(*point) == 2 * 4 * 4 * 4
    frame = load_records(repository / ".benchsuite" / "mine")
    found = frame[(frame["model"] == "mypkg.model:make") & (frame["measure"] == "flops")]
    assert dict(zip(found["seq_len"], found["value"], strict=True)) == {4: 128, 8: 256}
