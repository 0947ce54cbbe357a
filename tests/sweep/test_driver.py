"""Which measurements of a run are taken again, and what its progress counts then."""

from __future__ import annotations

import pytest

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.study_file import load_study
from benchsuite.records import INTERRUPTED, load_records
from benchsuite.records.attempts import new_attempt
from benchsuite.records.home import StudyHome
from benchsuite.sweep import driver, plan
from benchsuite.sweep.remaining import Remaining
from benchsuite.sweep.watch import Progress, Watch

LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
CALM = {"calibration": 1e-4, "clock_change": 0.0, "other_cores": 0.0, "cores": 2, "threads": 1}
BUSY = {**CALM, "clock_change": 0.5}


@pytest.fixture
def run_with(tmp_path, monkeypatch):
    """Run a study whose asv is replaced: `outcome(start, seq_len)` is what a measurement ends with.

    Returns the run, the lengths that each start of asv was asked for, and the progress.
    """
    study = load_study("quick").derive(
        {"model": ["lstm"], "seq_len": list(LENGTHS), "batch_size": [1], "hidden_size": [8]}
        | {"mode": ["infer"], "match": ["width"], "device": ["cpu"]},
        measures=["latency"],
        name="study",
    )
    wanted = plan.wanted(study)
    monkeypatch.setattr(driver, "check_storage", lambda *_, **__: None)

    def run(outcome):
        asked = []

        def start(self, left, tail, watch):
            cases = [wanted[key][0] for key in left["latency"].values()]
            asked.append([case.seq_len for case in cases])
            for case in cases:
                begun = new_attempt(
                    case, MEASURES.get("latency"), study.budget, study="study", run=self._id
                )
                changes = outcome(len(asked), case.seq_len)
                known = begun.provenance | changes.pop("provenance", {})
                ended = begun.replace(provenance=known, **{"status": "ok", **changes})
                for record in (begun, ended):
                    self._place.records.append(record)
                    watch.take(record)
                self.interrupted = ended.reason == INTERRUPTED
                if self.interrupted:
                    break
            return 0

        monkeypatch.setattr(driver._Run, "_start", start)
        place = StudyHome.of(tmp_path, study.name)
        state = driver._Run(study, place, tmp_path, lock=-1)
        remaining = Remaining(study.budget)
        remaining.add(wanted)
        progress = Progress(total=len(wanted))
        watch = Watch(progress, remaining, wanted, lambda _: None)
        with place.held_for(study):
            state.measure(driver._left(wanted, ()), watch)
        return state, asked, progress

    return run


def timed(value, surroundings):
    return {"value": value, "provenance": surroundings}


def test_a_disturbed_timing_is_taken_again_once(run_with):
    state, asked, progress = run_with(
        lambda start, length: timed(1.0 / start, BUSY if length == 64 else CALM)
    )
    assert asked == [list(LENGTHS), [64]]
    assert {r.case.seq_len: r.value for r in state.ended.values()} == {
        length: 0.5 if length == 64 else 1.0 for length in LENGTHS
    }
    assert (progress.done, progress.total) == (9, 9)
    frame = load_records(state.file)
    assert len(frame) == len(LENGTHS)
    assert len(load_records(state.file, every_attempt=True)) == len(LENGTHS)


def test_nothing_is_repeated_where_the_whole_machine_is_busy(run_with):
    _, asked, _ = run_with(lambda start, length: timed(1.0, BUSY if length > 100 else CALM))
    assert asked == [list(LENGTHS)]


def test_an_interrupted_repetition_keeps_what_was_measured(run_with):
    def outcome(start, length):
        if start == 2:
            return {"status": "failed", "reason": INTERRUPTED, "value": None}
        return timed(1.0, BUSY if length == 64 else CALM)

    state, asked, _ = run_with(outcome)
    assert asked == [list(LENGTHS), [64]]
    assert state.interrupted
    assert [record.status for record in state.ended.values()] == ["ok"] * len(LENGTHS)
    assert set(load_records(state.file)["status"]) == {"ok"}
