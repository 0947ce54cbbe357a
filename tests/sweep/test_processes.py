"""The plan, locks, clocks and the watchdog of a run, without running asv."""

from __future__ import annotations

import errno
import fcntl
import json
import os

import pytest

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.study_file import load_study, shipped
from benchsuite.measures.watchdog import Watchdog
from benchsuite.records import RecordFile
from benchsuite.records.home import StudyHome, remove_links, replace_text
from benchsuite.records.lock import locked
from benchsuite.sweep import plan, processes
from benchsuite.sweep.tail import Tail


@pytest.mark.parametrize("name", shipped())
def test_the_plan_has_the_cases_and_keys_of_the_study(name):
    from benchsuite.catalog.measures import MEASURES
    from benchsuite.records.attempts import attempt_key

    study = load_study(name).with_device("cpu")
    wanted = plan.wanted(study)
    for measure in study.measures:
        cases = study.cases(measure)
        assert list(plan._cases(study, measure)) == [(case.id, case) for case in cases]
        assert plan.points(study, measure)[-1] == attempt_key(
            cases[-1], MEASURES.get(measure), study.budget
        )
        assert wanted[plan.points(study, measure)[0]] == (cases[0], measure)


@pytest.mark.parametrize(
    "axes",
    [
        {"seq_len": [4, 8]},
        {"input_size": [1, 8], "hidden_size": [8, 16]},
        {"match": ["params"], "num_threads": [2], "seed": [0, 1], "bidirectional": [False, True]},
        {"device": ["cpu"], "dtype": ["float64"], "allocator": ["held", "default"]},
    ],
)
def test_the_plan_makes_cases_and_keys_without_checking_each(axes):
    from benchsuite.catalog.measures import MEASURES
    from benchsuite.records.attempts import attempt_key

    study = load_study("quick").derive(axes, measures=["latency", "matmul_rate"])
    study = study.with_device("cpu")
    expected = {
        attempt_key(case, MEASURES.get(name), study.budget): (case, name)
        for name in study.measures
        for case in study.cases(name)
    }
    assert list(plan.wanted(study).items()) == list(expected.items())


def test_a_value_that_an_axis_does_not_allow_is_refused_by_the_plan():
    study = load_study("quick").with_device("cpu").derive({"seq_len": [4, "five"]})
    with pytest.raises(UsageError, match="'five' is not allowed"):
        plan.wanted(study)


def outcomes_of(file, *records, **options):
    """The plan's outcomes of these records by sequence length."""
    wanted = {record.key: (record.case, record.measure) for record in records}
    found = plan.outcomes(file.path, wanted, **options)
    return {wanted[key][0].seq_len: row for key, row in found.items()}


def test_the_last_attempt_counts_and_an_interrupted_one_does_not(make_record, tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    record = make_record(value=1.0, min_run_time=0.1, provenance={"tree": "t", "source": "s"})
    file.append(record)
    file.append(record.replace(uid="b", value=2.0))
    file.append(record.replace(uid="c", status="failed", value=None, reason="interrupted"))
    processors = set()
    (row,) = outcomes_of(file, record, row_type=plan.Numbers, processors=processors).values()
    assert row.value == 2.0
    assert processors == {("here", "test processor")}


def test_outcomes_of_a_missing_file_are_none(make_record, tmp_path):
    assert outcomes_of(RecordFile(tmp_path / "absent"), make_record()) == {}


def test_outcomes_are_those_of_the_wanted_measurements(make_record, tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    records = [
        make_record(seq_len=4),
        make_record(seq_len=8, status="failed", reason="why"),
        make_record(seq_len=16, min_run_time=0.5, provenance={"tree": "t", "source": "s"}),
        make_record(seq_len=4, status="failed", reason="interrupted"),
        make_record(seq_len=32, status="timeout", reason="why"),
        make_record(seq_len=32, status="crashed", reason="why"),
        make_record(seq_len=64, status="started"),
        make_record(seq_len=128, commit="another"),
    ]
    for record in records:
        file.append(record)
    statuses = {T: row.status for T, row in outcomes_of(file, *records[:-1]).items()}
    assert statuses == {4: "ok", 8: "failed", 16: "ok", 32: "crashed", 64: "crashed"}


def test_what_is_not_a_row_of_the_run_is_passed_over(tmp_path, make_record):
    file = tmp_path / "records.jsonl"
    rows = [json.dumps(make_record(run=run).to_row()) for run in "ab"]
    file.write_text("\n".join(["[]", "3", "[" * 100_000, *rows, '{"run"']))
    assert [row["run"] for row in Tail(file, 0, "a").rows()] == ["a"]


@pytest.mark.parametrize("fault", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS, 0])
def test_a_lock_where_flock_fails_or_grants_all(tmp_path, monkeypatch, fault):
    def flock(*_):
        if fault:
            raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(fcntl, "flock", flock)
    running = pytest.raises(BenchsuiteError, match="being run by process")
    with locked(tmp_path), running, locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
    assert not (tmp_path / ".running").exists()


def test_a_lock_of_a_process_that_ended_is_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with locked(tmp_path):
        owner = json.loads((tmp_path / ".running").read_text())
    (tmp_path / ".running").write_text(json.dumps({**owner, "began": "1"}))
    with locked(tmp_path):
        pass
    for other in ({**owner, "host": "another"}, {**owner, "namespace": "another"}, []):
        (tmp_path / ".running").write_text(json.dumps(other))
        with pytest.raises(BenchsuiteError, match="if it has ended, remove"), locked(tmp_path):
            pass


def test_a_clock_of_time_that_a_process_could_run():
    times = iter([0.0, 0.5, 20.5, 20.6])
    clock = processes.RunningClock(1.0, lambda: next(times))
    assert [clock() for _ in range(3)] == pytest.approx([0.5, 1.5, 1.6])


def test_the_watchdog_counts_time_that_the_process_could_run():
    now, used = [0.0], [0.0]
    dog = Watchdog(10.0, lambda: None, lambda: now[0], lambda: used[0])
    now[0] += 1.1  # an ordinary look
    assert not dog.look()
    now[0] += 20.0  # stopped
    assert not dog.look()
    now[0] += 8.0  # one call of C that did not give the thread its turn
    used[0] += 7.9
    assert not dog.look()
    now[0] += 1.0
    assert dog.look()
    assert dog.stop() == pytest.approx(20.0)


def test_a_temporary_directory_has_a_short_path(tmp_path, monkeypatch):
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    made = processes.private_directory()
    assert len(str(made)) < 80
    made.rmdir()


def test_links_among_results_are_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    place = StudyHome.of(tmp_path, "quick")
    place.path.mkdir()
    for name in ("study.toml", ".lock", "records.jsonl", ".gitignore"):
        link = place.path / name
        link.symlink_to(target)
        with pytest.raises(UsageError, match="is a symbolic link"), place.held_for(_quick()):
            pass
        link.unlink()
    (place.path / "report").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is a symbolic link"):
        _ = place.report
    (tmp_path / "page.html").symlink_to(target)
    remove_links(tmp_path, (".html",))
    (tmp_path / "text").symlink_to(target)
    replace_text(tmp_path / "text", "new")
    assert not (tmp_path / "page.html").is_symlink()
    assert target.read_text() == "mine"


def _quick():
    return load_study("quick").with_device("cpu")
