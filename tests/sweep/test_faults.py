"""What goes wrong outside: other machines, other versions, clocks, full and read-only places, files
that someone else wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.case import Case
from benchsuite.grid.study_file import load_study
from benchsuite.measures.attempt import measure
from benchsuite.records import RecordFile, load_records, provenance, settle
from benchsuite.records.attempts import new_attempt
from benchsuite.records.home import StudyHome
from benchsuite.sweep import driver, plan

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def tiny():
    axes = {"model": ["lstm"], "seq_len": [4], "batch_size": [1], "hidden_size": [4]}
    study = load_study("quick").derive({**axes, "mode": ["infer"]}, measures=["parameters"])
    return study.with_device("cpu")


def test_a_machine_whose_processor_changed_is_not_mixed(tiny, tmp_path, make_record, monkeypatch):
    monkeypatch.setenv("BENCHSUITE_MACHINE", "image")
    place = StudyHome.of(tmp_path, tiny.name)
    place.records.append(make_record(machine="image", provenance={"cpu": "an older one"}))
    before = place.records.path.read_bytes()
    for fresh in (False, True):
        with pytest.raises(UsageError) as error:
            driver.run_study(tiny, tmp_path, fresh=fresh)
        assert "machine 'image' with the processor 'an older one', and this one is" in str(
            error.value
        )
        assert "BENCHSUITE_MACHINE" in str(error.value)
    assert place.records.path.read_bytes() == before


def test_records_of_two_machines_are_never_one_number(make_record, tmp_path, run_command):
    file = tmp_path / "records.jsonl"
    for machine, value in (("here", 1.0), ("there", 3.0)):
        RecordFile(file).append(make_record(machine=machine, value=value))
    assert sorted(load_records(file)["value"]) == [1.0, 3.0]
    for words in (
        ["report", str(file), "-o", str(tmp_path / "out")],
        ["compare", *[str(file)] * 2],
    ):
        code, _, err = run_command(*words)
        assert code == 2
        assert err.startswith("error: records of 2 machines")
        assert err.count("\n") == 1


def test_records_of_a_changed_tree_are_marked_and_replace_nothing(tmp_path, monkeypatch, tiny):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "model.py").write_text("width = 3\n")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "start"], check=True)
    monkeypatch.setenv(provenance.CHECKOUT, str(tmp_path))
    keys, dirty = [], []
    for text in ("width = 3\n", "width = 4\n", "width = 5\n"):
        (tmp_path / "model.py").write_text(text)
        provenance.checkout.cache_clear()
        provenance._work_tree.cache_clear()
        record = new_attempt(next(iter(tiny.cases())), *_latency(tiny))
        keys.append(record.key)
        dirty.append(record.provenance["dirty"])
    provenance.checkout.cache_clear()
    provenance._work_tree.cache_clear()
    assert dirty == [False, True, True]
    assert len(set(keys)) == 3


def _latency(study):
    from benchsuite.catalog.measures import MEASURES

    return MEASURES.get("latency"), study.budget


def test_records_of_other_versions_are_read_or_reported(make_record, tmp_path):
    file = tmp_path / "records.jsonl"
    row = make_record().to_row()
    older = {key: value for key, value in row.items() if key not in {"cpu", "torch", "run"}}
    newer = {**row, "uid": "b", "seq_len": 8, "a_new_column": [1, 2], "benchsuite": "9.9"}
    unknown = {**row, "uid": "c", "seq_len": 16, "measure": "absent", "model": "absent"}
    other = {**row, "uid": "d", "schema": 3}
    lines = [json.dumps(r) for r in (older, newer, unknown, other)]
    file.write_text("\n".join(lines) + "\n")
    frame = load_records(file)
    assert list(frame["seq_len"]) == [row["seq_len"], 8, 16]
    (problem,) = frame.attrs["problems"]
    assert "schema 3 is newer than 2; update benchsuite" in problem
    record = make_record()
    known = plan.outcomes(file, {record.key: (record.case, "latency")})
    assert len(known) == 1  # records of a model that no longer exists do not stop a run


READ_ONLY = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
cd "$2"
exec "$3" -m benchsuite run quick -a seq_len=4 --home "$1"
"""


def test_read_only_storage_is_an_error(tmp_path):
    """Permissions do not stop root; a read-only mount does."""
    place, work = tmp_path / "results", tmp_path / "work"
    place.mkdir()
    work.mkdir()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("no mount namespace may be made here")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(place), str(work), sys.executable],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: cannot write to {place}")
    assert "Read-only file system; choose another directory with --home" in done.stderr
    assert done.stderr.count("\n") == 1


def test_storage_that_becomes_read_only_during_a_run_is_reported(
    make_record, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(BenchsuiteError, match=r"cannot write to .*: Read-only file system"):
        RecordFile(tmp_path / "records.jsonl").append(make_record())


def test_when_the_clock_jumps_back_the_order_of_writing_counts(make_record, tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    file.append(make_record(value=1.0, started_at=5000.0))
    file.append(make_record(value=2.0, started_at=1000.0))
    assert list(load_records(file.path)["value"]) == [2.0]
    record = make_record()
    known = plan.outcomes(file.path, {record.key: (record.case, "latency")}, plan.Numbers)
    assert known[record.key].value == 2.0


def test_a_killed_attempt_before_a_jump_back_is_a_crash(make_record):
    dead = make_record(status="started", seq_len=8, timeout=10.0, started_at=5000.0)
    after = make_record(seq_len=16, timeout=10.0, started_at=1000.0)
    assert settle([dead.to_row(), after.to_row()])[0]["status"] == "crashed"


def test_durations_do_not_follow_the_clock(monkeypatch):
    clock = iter(range(10_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    record = measure(Case(model="lstm", seq_len=4, hidden_size=4), "parameters")
    assert record.status == "ok"
    assert 0 <= record.duration < 10
    assert 0 <= record.setup_duration < 10


class _Elements(HTMLParser):
    """Scripts and handlers that a page has."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [name for name, _ in attrs if name.startswith("on")]
        if tag in {"script", "iframe", "object", "embed"}:
            self.found.append(tag)


def test_a_report_shows_markup_in_records_as_text(make_record, tmp_path):
    from benchsuite.report.page import write_report

    rows = [make_record(seq_len=64 << k, value=1.0 + k).to_row() for k in range(3)]
    for k, row in enumerate(rows):
        row.update(uid=str(k), model=f"../../{EVIL}", case=EVIL, study="../../../out", cpu=EVIL)
    rows.append({**rows[0], "uid": "f", "status": "failed", "reason": EVIL, "seq_len": 4})
    rows.append({**rows[0], "uid": "w", "seq_len": 8, "warning": EVIL, "kernel": EVIL})
    file = tmp_path / "in" / "records.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    before = set(tmp_path.rglob("*"))
    written = write_report(load_records(file), tmp_path / "in" / "report")
    made = set(tmp_path.rglob("*")) - before
    assert made
    assert all(path.is_relative_to(tmp_path / "in" / "report") for path in made)
    page = written["index"].read_text()
    assert "&lt;script&gt;alert" in page
    elements = _Elements()
    elements.feed(page)
    assert elements.found == ["script"]  # our own, which sorts tables
    assert page.index("<script>") > page.index("</main>")
    for figure in written["index"].parent.glob("*.svg"):
        assert "<script" not in figure.read_text()


def test_what_a_file_names_is_not_run(make_record, tmp_path):
    """A model in a record is text; nothing is imported to read it."""
    sentinel = tmp_path / "ran"
    module = tmp_path / "planted.py"
    module.write_text(f"import pathlib\npathlib.Path({str(sentinel)!r}).touch()\nmake = None\n")
    file = tmp_path / "records.jsonl"
    RecordFile(file).append(make_record(model="planted:make"))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "from benchsuite import load_records; from benchsuite.sweep import plan;"
        "from pathlib import Path; load_records(sys.argv[2]); plan.outcomes(Path(sys.argv[2]), {})"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(file)], check=True)
    assert not sentinel.exists()


class _Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_nothing(tmp_path):
    import torch

    from benchsuite.learning import checkpoint

    file, sentinel = tmp_path / "checkpoint.pt", tmp_path / "ran"
    torch.save({"format": 1, "identity": {}, "state": _Runs(sentinel)}, file)
    with pytest.raises(UsageError, match="is not a readable checkpoint"):
        checkpoint.load(file, {})
    assert not sentinel.exists()


@pytest.mark.parametrize("name", ["../out", "/tmp/out", "a/b", "..", ".hidden", ""])
def test_a_study_cannot_leave_the_results(name, tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(f"name = {json.dumps(name)}\n[axes]\nmodel = 'lstm'\n")
    with pytest.raises(UsageError, match="study name"):
        load_study(str(file))
