"""Runs asv over a study and follows the record file.

Progress, failures and the rest are read from the records, which the benchmark processes append;
asv's output goes to a log. This module imports no torch.
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchsuite.catalog.models import MACHINE
from benchsuite.errors import BenchsuiteError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Study
from benchsuite.measures.interference import disturbed, notes_on_interference
from benchsuite.records import FINAL, INTERRUPTED, Key, Record, provenance, settle
from benchsuite.records.home import StudyHome
from benchsuite.records.schema import SUSPENDED
from benchsuite.sweep import plan
from benchsuite.sweep.guards import (
    RUN_INODES,
    check_identity,
    check_storage,
    notes_on_checkout,
)
from benchsuite.sweep.launchers import asv
from benchsuite.sweep.remaining import Remaining
from benchsuite.sweep.tail import Tail
from benchsuite.sweep.watch import Progress, Watch

_NO_FAILURE = {"ok", "skipped", "remaining"}
_POLL_SECONDS = 0.1
#: Exit codes of an asv that came to its end: all measured, or some failed.
_ASV_CODES = {0, 2}
#: How often asv is started again in vain, and for what was suspended.
_RESTARTS = 2
#: Largest share of disturbed timings that are measured again; above it the whole machine is busy.
_DISTURBED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Balance:
    """Outcome of a run.

    Attributes:
        study: Name of the study.
        cases: Number of cases, each of which counts in one of the next four.
        ok: Cases of which every measure that this machine supports was measured.
        skipped: Cases of which this machine supports no measure.
        failed: Cases of which a measure failed, ran out of memory or time, or left no record.
        remaining: Cases not measured yet, because the run was interrupted.
        measure_seconds: Seconds of this run inside measurements.
        setup_seconds: Seconds of this run spent on building workloads.
        wall_seconds: Seconds of this run on the clock.
        records: Path of the record file.
        reused: Measurements that an earlier run had finished.
        measured: Measurements that have ended in this run.
        interrupted: Whether the run was stopped before its end.
        failures: Status → number of measurements, over the whole study.
        notes: Other remarks on the run, a sentence each.
    """

    study: str
    cases: int
    ok: int
    skipped: int
    failed: int
    remaining: int
    measure_seconds: float
    setup_seconds: float
    wall_seconds: float
    records: str
    reused: int = 0
    measured: int = 0
    interrupted: bool = False
    failures: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def run_study(
    study: Study,
    root: Path,
    *,
    fresh: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Balance:
    """Measure all cases of a study that are not finished yet.

    Args:
        study: With its device resolved.
        root: The root of all results.
        fresh: Measure finished cases again too; old records stay in the file.
        on_progress: Called whenever a measurement has begun or ended.

    Raises:
        UsageError: if results cannot be written there, or are of another machine of this name.
        BenchsuiteError: if the study is being run already, or asv could not run.
    """
    began = time.monotonic()
    place = StudyHome.of(root, study.name)
    with place.held_for(study) as lock:
        run = _Run(study, place, root, lock)
        wanted = plan.wanted(study)
        processors: set[tuple[str, str]] = set()
        known = plan.outcomes(run.file, wanted, processors=processors)
        check_identity(study, processors)
        done = {} if fresh else {key: row for key, row in known.items() if row.status in FINAL}
        del known
        remaining = Remaining(study.budget)
        remaining.add({key: wanted[key] for key in wanted if key not in done})
        progress = Progress(total=len(wanted), reused=len(done))
        watch = Watch(progress, remaining, wanted, on_progress)
        notes = notes_on_checkout()
        commit = provenance.checkout().get("commit")
        if len(done) < len(wanted) or (commit and not _has_asv_results(place, commit)):
            check_storage(place, inodes=RUN_INODES)
            run.measure(_left(wanted, done), watch)
            notes += run.notes
            notes += notes_on_interference(run.ended.values())
        return _balance(
            study,
            wanted,
            {**done, **run.ended},
            measured=list(run.ended.values()),
            wall=time.monotonic() - began,
            records=str(run.file),
            reused=len(done),
            interrupted=run.interrupted,
            notes=tuple(notes),
        )


#: Keys to measure: measure → asv's index of the point → key.
_Left = dict[str, dict[int, Key]]


def _left(wanted: plan.Wanted, done: Container[Key]) -> _Left:
    """Measurements that are not done, by asv's indices; `wanted` is in their order."""
    left: _Left = {}
    counts: Counter[str] = Counter()
    for key, (_, name) in wanted.items():
        if key not in done:
            left.setdefault(name, {})[counts[name]] = key
        counts[name] += 1
    return left


def _narrowed(left: _Left, keep: Callable[[Key], bool]) -> _Left:
    """The part of it whose keys are to be kept."""
    kept = {name: {i: key for i, key in of.items() if keep(key)} for name, of in left.items()}
    return {name: of for name, of in kept.items() if of}


class _Run:
    """Runs asv over what is left, again where its processes were killed.

    A start of asv that was killed is followed by another for the measurements not yet tried, as
    long as each start ends at least one attempt. What the system suspended is measured again, and,
    once, what was timed while the machine was slower or busier than in the rest of the run.

    Attributes:
        file: The record file.
        ended: Records of this run with an outcome, by key.
        interrupted: Whether the user stopped the run.
        notes: What to report besides.
    """

    def __init__(self, study: Study, place: StudyHome, root: Path, lock: int) -> None:
        self._study, self._place, self._root, self._lock = study, place, root, lock
        self._id = uuid.uuid4().hex[:12]
        self.file = place.records.path
        self._offset = self.file.stat().st_size if self.file.exists() else 0
        self.ended: dict[Key, Record] = {}
        self.interrupted = False
        self.notes: list[str] = []

    def measure(self, wanted: _Left, watch: Watch) -> None:
        """Measure what is wanted.

        Raises:
            BenchsuiteError: if asv could not run, or results cannot be written.
        """
        tail, log = self._tail(), asv.log_of(self._place)
        left, fruitless, repeats = wanted, 0, 0
        while True:
            before = len(self.ended)
            code = self._start(left, tail, watch)
            self.ended = _settled(self._tail())
            if self.interrupted:
                return
            check_storage(self._place)
            left = _narrowed(wanted, lambda key: key not in self.ended)
            fruitless = 0 if len(self.ended) > before else fruitless + 1
            if code in _ASV_CODES:
                if lost := sum(map(len, left.values())):
                    words = asv.last_words(log)
                    self.notes.append(f"{lost} measurements left no record: {words} (see {log})")
                again = self._suspended() if repeats < _RESTARTS else set()
                again |= set() if repeats else self._disturbed()
                left = _narrowed(wanted, again.__contains__)
                repeats += 1
                if not left:
                    return
                watch.repeat(again)
            elif fruitless > (_RESTARTS if code < 0 else 0):
                raise BenchsuiteError(
                    f"asv ended with exit code {code}: {asv.last_words(log)};"
                    f" all of its output is in {log}"
                )

    def _suspended(self) -> set[Key]:
        return {key for key, record in self.ended.items() if record.reason.startswith(SUSPENDED)}

    def _disturbed(self) -> set[Key]:
        """Keys of disturbed timings; none if they are so many that a repetition would be too."""
        keys = {record.key for record in disturbed(self.ended.values())}
        timed = sum("calibration" in record.provenance for record in self.ended.values())
        return keys if len(keys) <= _DISTURBED_SHARE * timed else set()

    def _start(self, left: _Left, tail: Tail, watch: Watch) -> int:
        """Run asv once; its exit code."""
        indices = {name: list(points) for name, points in left.items()}
        with asv.running(
            self._study, self._place, self._root, self._id, left=indices, lock=self._lock
        ) as process:
            try:
                _follow(process, tail, watch)
            except KeyboardInterrupt:
                self.interrupted = True
                asv.stop(process)
                _close_interrupted(self._place, self._tail())
        return process.returncode

    def _tail(self) -> Tail:
        return Tail(self.file, self._offset, self._id)


def _has_asv_results(place: StudyHome, commit: str) -> bool:
    return any((place.asv / "results").glob(f"*/{commit[:8]}-*.json"))


def _follow(process: subprocess.Popen[bytes], tail: Tail, watch: Watch) -> None:
    """Report what the benchmark processes append until asv ends."""
    watch.start()
    while True:
        ended = process.poll() is not None
        for record in map(Record.from_row, tail.rows()):
            watch.take(record)
        if ended:
            return
        time.sleep(_POLL_SECONDS)


def _close_interrupted(place: StudyHome, tail: Tail) -> None:
    """Give the attempt that was under way its end, if it was killed before it could."""
    rows = list(tail.rows())
    if rows and rows[-1]["status"] == "started":
        record = Record.from_row(rows[-1])
        place.records.append(record.replace(status="failed", reason=INTERRUPTED))


def _settled(tail: Tail) -> dict[Key, Record]:
    """The last record of each measurement of this run, by key; dead attempts are included.

    An interrupted repetition does not replace what was measured before it.
    """
    last: dict[Key, Record] = {}
    for record in map(Record.from_row, settle(tail.rows())):
        if record.key not in last or record.reason != INTERRUPTED:
            last[record.key] = record
    return last


def _balance(
    study: Study,
    wanted: Mapping[Key, tuple[Case, str]],
    outcomes: Mapping[Key, plan.Outcome | Record],
    *,
    measured: list[Record],
    interrupted: bool,
    **rest: Any,
) -> Balance:
    statuses_of: dict[Case, set[str]] = {}
    statuses: Counter[str] = Counter()
    for key, (case, _) in wanted.items():
        record = outcomes.get(key)
        status: str = record.status if record else "missing"
        if interrupted and (record is None or record.reason == INTERRUPTED):
            status = "remaining"
        statuses[status] += 1
        if case.model != MACHINE:
            statuses_of.setdefault(case, set()).add(status)
    remaining = sum("remaining" in found for found in statuses_of.values())
    skipped = sum(found == {"skipped"} for found in statuses_of.values())
    ok = sum(found <= {"ok", "skipped"} for found in statuses_of.values()) - skipped
    return Balance(
        study=study.name,
        cases=len(statuses_of),
        ok=ok,
        skipped=skipped,
        failed=len(statuses_of) - ok - skipped - remaining,
        remaining=remaining,
        measure_seconds=sum(record.duration or 0.0 for record in measured),
        setup_seconds=sum(record.setup_duration or 0.0 for record in measured),
        wall_seconds=rest.pop("wall"),
        measured=len(measured),
        failures={s: n for s, n in sorted(statuses.items()) if s not in _NO_FAILURE},
        interrupted=interrupted,
        **rest,
    )
