"""Drives asv over a study and follows the record file.

What is done, what is left and what failed is read from the records, which the benchmark processes
append; asv's own output goes to a log. Nothing here imports torch.
"""

from __future__ import annotations

import json
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchsuite.catalog.measures import MEASURES
from benchsuite.catalog.models import MACHINE
from benchsuite.errors import BenchsuiteError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Study
from benchsuite.measures.interference import notes_on_interference
from benchsuite.records import CRASHED, INTERRUPTED, Key, Record, provenance, settle
from benchsuite.records.attempts import attempt_key, finished
from benchsuite.records.home import StudyHome
from benchsuite.sweep.guards import check_disk, check_identity, notes_on_checkout
from benchsuite.sweep.launchers import asv
from benchsuite.sweep.remaining import Remaining

_FINE = {"ok", "skipped", "remaining"}
_POLL_SECONDS = 0.1


@dataclass(slots=True)
class Progress:
    """Where a run stands, for whoever shows it.

    Attributes:
        total: Measurements of the study (cases × measures).
        reused: Of these, finished by an earlier run.
        done: Of these, ended in this run.
        failed: Of these, neither ok nor skipped.
        current: What is being measured.
        failure: What has just failed, reported once.
        eta: Seconds to go, estimated; None before anything has ended.
    """

    total: int
    reused: int = 0
    done: int = 0
    failed: int = 0
    current: str = ""
    failure: Record | None = None
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What a run came to.

    Attributes:
        study: Its name.
        cases: Grid points; the next three count these.
        ok: All that makes sense on this machine was measured.
        skipped: Nothing of it makes sense on this machine.
        failed: Something failed, ran out of memory or time, or left no record.
        remaining: Not measured yet, because the run was interrupted.
        measure_seconds: Inside measurements, this run.
        setup_seconds: Building workloads, this run.
        wall_seconds: On the clock, this run.
        records: The record file.
        reused: Measurements that an earlier run had finished.
        measured: Measurements that have ended in this run.
        interrupted: Whether the run was stopped before its end.
        failures: Status → number of measurements, over the whole study.
        notes: What else to tell.
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
        fresh: Measure finished ones again too; old records stay in the file.
        on_progress: Called whenever something began or ended.

    Raises:
        UsageError: if results cannot be written there, or are of another machine of this name.
        BenchsuiteError: if the study is being run already, or asv could not run at all.
    """
    began = time.monotonic()
    place = StudyHome.of(root, study.name)
    with place.held_for(study) as lock:
        run_id = uuid.uuid4().hex[:12]
        file = place.records.path
        offset = file.stat().st_size if file.exists() else 0
        wanted = _wanted(study)
        known = finished(file)
        check_identity(study, known.values())
        done = {} if fresh else {key: known[key] for key in wanted if key in known}
        watch = _Watch(
            Progress(total=len(wanted), reused=len(done)),
            Remaining({key: wanted[key] for key in wanted if key not in done}, study.budget),
            on_progress,
        )
        ended: dict[Key, Record] = {}
        interrupted, notes = False, notes_on_checkout()
        commit = provenance.checkout().get("commit")
        if len(done) < len(wanted) or (commit and not _has_asv_results(place, commit)):
            log = asv.log_of(place)
            with asv.running(study, place, root, run_id, fresh=fresh, lock=lock) as process:
                try:
                    _follow(process, _Tail(file, offset, run_id), watch)
                except KeyboardInterrupt:
                    interrupted = True
                    asv.stop(process)
                    _close_interrupted(place, _Tail(file, offset, run_id))
            ended = _settled(_Tail(file, offset, run_id))
            notes += notes_on_interference(ended.values())
            if not interrupted:
                check_disk(place)
            if not interrupted and process.returncode not in {0, 2}:
                raise BenchsuiteError(
                    f"asv ended with exit code {process.returncode}: {asv.last_words(log)};"
                    f" all of its output is in {log}"
                )
            lost = len([key for key in wanted if key not in done and key not in ended])
            if lost and not interrupted:
                words = asv.last_words(log)
                notes.append(f"{lost} measurements left no record: {words} (see {log})")
        return _balance(
            study,
            wanted,
            {**done, **ended},
            measured=list(ended.values()),
            wall=time.monotonic() - began,
            records=str(file),
            reused=len(done),
            interrupted=interrupted,
            notes=tuple(notes),
        )


def _wanted(study: Study) -> dict[Key, tuple[Case, str]]:
    """Case and measure of every measurement of the study by the key of its record."""
    return {
        attempt_key(case, MEASURES.get(name), study.budget): (case, name)
        for name in study.measures
        for case in study.cases(name)
    }


def _has_asv_results(place: StudyHome, commit: str) -> bool:
    return any((place.asv / "results").glob(f"*/{commit[:8]}-*.json"))


def _follow(process: subprocess.Popen[bytes], tail: _Tail, watch: _Watch) -> None:
    """Report what the benchmark processes append until asv ends."""
    watch.begin()
    while True:
        ended = process.poll() is not None
        for record in map(Record.from_row, tail.rows()):
            watch.take(record)
        if ended:
            return
        time.sleep(_POLL_SECONDS)


class _Watch:
    """Keeps a run's progress by the records of it, and reports each change.

    Args:
        progress: Where the run stands before it begins.
        remaining: The estimate of what it has still to do.
        report: Called with the progress.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        progress: Progress,
        remaining: Remaining,
        report: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress, self._remaining, self._report = progress, remaining, report
        self._clock = clock
        self._under_way: Record | None = None
        self._since = 0.0  # the end of the one before, or the start of the first

    def begin(self) -> None:
        """Report the run's start."""
        self._report(self._progress)

    def take(self, record: Record) -> None:
        """Take a record that was appended."""
        progress = self._progress
        progress.failure = None
        if record.status == "started":
            if self._under_way is not None:  # the one before was killed
                self._end(self._under_way.replace(status="crashed", reason=CRASHED))
            progress.current = f"{record.case.id} {record.measure}"
            self._since = self._since or self._clock()
            self._under_way = record
        else:
            self._end(record)
            self._under_way = None
        self._report(progress)

    def _end(self, record: Record) -> None:
        progress, now = self._progress, self._clock()
        self._remaining.ended(record.key, now - self._since)
        self._since = now
        progress.done += 1
        progress.eta = self._remaining.seconds()
        if record.status not in {"ok", "skipped"}:
            progress.failed += 1
            progress.failure = record


class _Tail:
    """Complete rows of a run that were appended to a record file since it was last asked."""

    def __init__(self, path: Path, offset: int, run: str) -> None:
        self._path, self._offset, self._run = path, offset, run

    def rows(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # being written
                self._offset += len(line)
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # a line that an earlier run left torn; loading reports it
                if row.get("run") == self._run:
                    yield row


def _close_interrupted(place: StudyHome, tail: _Tail) -> None:
    """Give the attempt that was under way its end, if it was killed before it could."""
    rows = list(tail.rows())
    if rows and rows[-1]["status"] == "started":
        record = Record.from_row(rows[-1])
        place.records.append(record.replace(status="failed", reason=INTERRUPTED))


def _settled(tail: _Tail) -> dict[Key, Record]:
    """Records of this run, dead attempts included, by key."""
    return {record.key: record for record in map(Record.from_row, settle(tail.rows()))}


def _balance(
    study: Study,
    wanted: Mapping[Key, tuple[Case, str]],
    outcomes: Mapping[Key, Record],
    *,
    measured: list[Record],
    interrupted: bool,
    **rest: Any,
) -> Balance:
    verdicts: dict[Case, set[str]] = {}
    statuses: Counter[str] = Counter()
    for key, (case, _) in wanted.items():
        record = outcomes.get(key)
        status: str = record.status if record else "missing"
        if interrupted and (record is None or record.reason == INTERRUPTED):
            status = "remaining"
        statuses[status] += 1
        if case.model != MACHINE:
            verdicts.setdefault(case, set()).add(status)
    remaining = sum("remaining" in found for found in verdicts.values())
    skipped = sum(found == {"skipped"} for found in verdicts.values())
    ok = sum(found <= {"ok", "skipped"} for found in verdicts.values()) - skipped
    return Balance(
        study=study.name,
        cases=len(verdicts),
        ok=ok,
        skipped=skipped,
        failed=len(verdicts) - ok - skipped - remaining,
        remaining=remaining,
        measure_seconds=sum(record.duration or 0.0 for record in measured),
        setup_seconds=sum(record.setup_duration or 0.0 for record in measured),
        wall_seconds=rest.pop("wall"),
        measured=len(measured),
        failures={s: n for s, n in sorted(statuses.items()) if s not in _FINE},
        interrupted=interrupted,
        **rest,
    )
