"""What else the machine did during a measurement: other processes, preemption, and its clock rate.

A neighbour that keeps another core busy slows a step by several per cent, uniformly, so that the
spread of the samples does not show it. The kernel's counters do: the time that the cores were busy,
less that of this process.

Calibrations (loops of fixed length, the best time of a few) before and after show a clock rate that
has changed. A core of a virtual machine may be half as fast for some hundredths of a second, or a
tenth faster for some seconds, while this machine is idle. So a change counts only if each
calibration before differs from each one after, which are repeated for as long as they do.
"""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchsuite.catalog.measures import MeasureSpec
from benchsuite.records import Record

#: Taken before a model is imported, which may replace those in `time`.
_clock, _sleep = time.perf_counter, time.sleep
#: Base units of measures that a disturbance changes.
_TIMED = ("s", "FLOP/s", "B/s")
#: Turns of the calibration loop (about 0.15 ms), and how often it is run: its best time counts.
_TURNS, _REPEATS = 10_000, 20
#: Most calibrations after a measurement, and seconds between two.
_LOOKS, _LOOK_SECONDS = 6, 0.04
#: Changes of the clock rate above this are reported …
CLOCK_CHANGE = 0.08
#: … if they are also this many standard deviations of the usual variation …
_UNUSUAL = 3.0
#: … which takes this many timings to be known. A run of fewer reports changes above the second.
_FEWEST, _CHANGE_OF_FEW = 6, 0.25
#: Standard deviation of normal numbers over the median of their distances from their median, and
#: over that of their differences.
_FROM_MEDIAN, _FROM_DIFFERENCES = 1.4826, 1.0484
#: Standard error of the difference of two medians, over the deviation and times the root of n.
_OF_MEDIANS = 1.2533 * math.sqrt(2)
#: Other processes are reported if they use at least this many cores …
OTHER_CORES = 0.5
#: … and this share of all cores is in use, with the threads of the measurement.
_SHARE_IN_USE = 0.5


class Interference:
    """Observes the machine: created before a workload is built, started before it is measured.

    Building separates the two calibrations before the measurement, without costing time.
    """

    def __init__(self) -> None:
        self._before = [calibrate()]

    def start(self) -> None:
        """Begin to count."""
        self._before.append(calibrate())
        self._began, self._busy = _clock(), _busy_seconds()
        self._own, self._switches = time.process_time(), _involuntary_switches()

    def columns(self) -> dict[str, float]:
        """What was observed since the start, as columns of `records.SCHEMA`."""
        seconds = _clock() - self._began
        own = time.process_time() - self._own
        switches = _involuntary_switches() - self._switches
        known = {
            "calibration": min(self._before),
            "preemptions": switches / seconds,
        }
        busy = _busy_seconds()
        if busy is not None and self._busy is not None:
            known["other_cores"] = max(0.0, (busy - self._busy - own) / seconds)
        return {**known, "clock_change": self._clock_change()}

    def _clock_change(self) -> float:
        """The least change that any calibration before shows to any one after."""
        after: list[float] = []
        change = 1.0
        while len(after) < _LOOKS and abs(change) > CLOCK_CHANGE:
            if after:
                _sleep(_LOOK_SECONDS)
            after.append(calibrate())
            change = least_change(self._before, after)
        return change


def least_change(before: Sequence[float], after: Sequence[float]) -> float:
    """Change of the clock rate that times before and after have in common; 0 if they overlap."""
    changes = min(before) / max(after) - 1, max(before) / min(after) - 1
    return 0.0 if changes[0] <= 0 <= changes[1] else min(changes, key=abs)


def is_timed(spec: MeasureSpec) -> bool:
    """Whether the values of a measure depend on what else the machine does."""
    return spec.unit in _TIMED


def calibrate() -> float:
    """Best time of a loop of fixed length, in seconds; short, so that some runs are undisturbed."""
    return min(_loop() for _ in range(_REPEATS))


def _loop() -> float:
    start = _clock()
    for _ in range(_TURNS):
        pass
    return _clock() - start


def _involuntary_switches() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _busy_seconds() -> float | None:
    """Time that the cores of this process were busy since the start; None where it is unknown.

    Fields of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, in clock ticks.
    """
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    ticks = 0
    for name, *fields in map(str.split, lines):
        if name in cores:
            counts = [int(field) for field in fields[:8]]
            ticks += sum(counts) - sum(counts[3:5])
    return ticks / os.sysconf("SC_CLK_TCK")


def disturbed(records: Iterable[Record]) -> list[Record]:
    """The timings of a run that were disturbed while they were taken, in the order of time."""
    return [timing.record for timing in _timings(records) if timing.crowded or timing.departure]


@dataclass(frozen=True, slots=True)
class _Timing:
    """A timing, and what disturbed it.

    Attributes:
        record: The timing.
        crowded: Whether it had to share the cores with other processes.
        departure: The unusual change of the clock rate during it or, if there is none, an unusual
            difference from the run's median rate; 0 if there is none either.
    """

    record: Record
    crowded: bool
    departure: float


def _timings(records: Iterable[Record]) -> list[_Timing]:
    """The timings of a run in the order of time, each judged by all."""
    timed = [
        record
        for record in sorted(records, key=lambda record: record.started_at)
        if record.status == "ok" and record.provenance.get("calibration") is not None
    ]
    calibrations = [float(record.provenance["calibration"]) for record in timed]
    limits = change_limit(calibrations), level_limit(calibrations)
    typical = statistics.median(calibrations) if timed else 0.0
    timings = []
    for record, calibration in zip(timed, calibrations, strict=True):
        change = float(record.provenance.get("clock_change") or 0.0)
        level = typical / calibration - 1
        departures = [d for d, most in zip((change, level), limits, strict=True) if abs(d) > most]
        timings.append(_Timing(record, crowded(record.provenance), next(iter(departures), 0.0)))
    return timings


def notes_on_interference(records: Iterable[Record]) -> list[str]:
    """A line if timings were disturbed while they were taken, and one if the clock rate shifted."""
    timings = _timings(records)
    shift = lasting_change([float(t.record.provenance["calibration"]) for t in timings])
    notes = [_shifted(shift)] if shift else []
    number = sum(timing.crowded or timing.departure != 0 for timing in timings)
    if not number:
        return notes
    busy = [timing.record.provenance for timing in timings if timing.crowded]
    changes = [100 * timing.departure for timing in timings if timing.departure]
    words = []
    if busy:
        others = _range([float(known["other_cores"]) for known in busy], ".1f")
        cores = int(busy[0]["cores"])
        words.append(f"other processes kept {others} of {cores} cores busy in {len(busy)}")
    if changes:
        words.append(f"the clock rate was off by {_range(changes, '+.0f')} % in {len(changes)}")
    disturbance = (
        f"{number} of {len(timings)} timings were disturbed: {' and '.join(words)}; measure again"
        " with --fresh while the machine does nothing else"
    )
    return [disturbance, *notes]


def _shifted(shift: float) -> str:
    than = "lower" if shift < 0 else "higher"
    return (
        f"the clock rate was {abs(shift):.0%} {than} in the last third of the run than in the"
        " first; timings of the two do not compare"
    )


def crowded(known: Mapping[str, Any]) -> bool:
    """Whether other processes used so many cores that the measurement had to share."""
    others, cores = known.get("other_cores"), known.get("cores")
    if others is None or not cores or others < OTHER_CORES:
        return False
    return bool(others + (known.get("threads") or 1) >= _SHARE_IN_USE * cores)


def change_limit(calibrations: Sequence[float]) -> float:
    """The change of the clock rate above which a timing of a run counts as disturbed.

    Args:
        calibrations: Those of the run's timings, in the order of time. The median difference of
            neighbours shows how much the rate varies without a change that lasts.
    """
    if len(calibrations) < _FEWEST:
        return _CHANGE_OF_FEW
    differences = [abs(math.log(after / before)) for before, after in pairwise(calibrations)]
    return max(CLOCK_CHANGE, _UNUSUAL * _FROM_DIFFERENCES * statistics.median(differences))


def level_limit(calibrations: Sequence[float]) -> float:
    """The difference from the run's median clock rate above which a timing was disturbed.

    Args:
        calibrations: As in `change_limit`.
    """
    if len(calibrations) < _FEWEST:
        return _CHANGE_OF_FEW
    middle = math.log(statistics.median(calibrations))
    distances = [abs(math.log(calibration) - middle) for calibration in calibrations]
    usual = _FROM_MEDIAN * statistics.median(distances)
    return max(change_limit(calibrations), _UNUSUAL * usual)


def lasting_change(calibrations: Sequence[float]) -> float:
    """Change of the clock rate from the first third of a run's timings to the last.

    Medians are compared; 0 if they differ by less than `CLOCK_CHANGE`, or by what the variation
    within both explains.
    """
    number = len(calibrations) // 3
    if number < _FEWEST:
        return 0.0
    thirds = [
        [-math.log(c) for c in part] for part in (calibrations[:number], calibrations[-number:])
    ]
    first, last = map(statistics.median, thirds)
    distances = [abs(x - m) for part, m in zip(thirds, (first, last), strict=True) for x in part]
    error = _OF_MEDIANS * _FROM_MEDIAN * statistics.median(distances) / math.sqrt(number)
    change = math.exp(last - first) - 1
    return change if abs(change) > max(CLOCK_CHANGE, _UNUSUAL * error) else 0.0


def _range(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
