"""Progress of a run, followed through the records that its processes append."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from benchsuite.records import CRASHED, Key, Record
from benchsuite.sweep import plan
from benchsuite.sweep.remaining import Remaining


@dataclass(slots=True)
class Progress:
    """Progress of a run, for display.

    Attributes:
        total: Measurements of the study (cases × measures).
        reused: Number of these that an earlier run has finished.
        done: Number of these that have ended in this run.
        failed: Number of ended ones that are neither ok nor skipped.
        current: Case and measure that are being measured.
        failure: The record of the measurement that has just failed, reported once.
        again: Number of measurements that are about to be repeated, reported once.
        eta: Estimated seconds to the end; None before any measurement has ended.
    """

    total: int
    reused: int = 0
    done: int = 0
    failed: int = 0
    current: str = ""
    failure: Record | None = None
    again: int = 0
    eta: float | None = None


class Watch:
    """Updates a run's progress from its records, and reports each change.

    Args:
        progress: Progress before the run begins.
        remaining: Estimate of the time of the remaining measurements.
        wanted: Case and measure of every measurement of the study.
        report: Called with the progress.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        progress: Progress,
        remaining: Remaining,
        wanted: plan.Wanted,
        report: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progress, self._remaining, self._report = progress, remaining, report
        self._wanted, self._clock = wanted, clock
        self._under_way: Record | None = None
        self._since = 0.0  # the end of the last measurement, or the start of the first

    def start(self) -> None:
        """Report the run's start."""
        self._report(self._progress)

    def repeat(self, keys: Collection[Key]) -> None:
        """Report that measurements are about to be taken again, in addition to the others."""
        progress = self._progress
        self._remaining.add({key: self._wanted[key] for key in keys})
        progress.total += len(keys)
        progress.again, progress.failure = len(keys), None
        self._report(progress)
        progress.again = 0

    def take(self, record: Record) -> None:
        """Update the progress with a record that was appended."""
        progress = self._progress
        progress.failure = None
        if record.status == "started":
            if self._under_way is not None:  # its process was killed
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
