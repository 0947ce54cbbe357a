"""What else the machine did during a measurement: other processes, preemption, and its clock rate.

A neighbour that keeps another core busy slows a step by several per cent, uniformly, so that the
spread of the samples does not show it. The kernel's counters do: the time that the cores were busy,
less that of this process. A calibration (a loop of fixed length, its best time) before and after
shows a clock rate that has changed.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchsuite.catalog.measures import MeasureSpec
from benchsuite.records import Record

#: Taken before a model is imported, which may replace the one in `time`.
_clock = time.perf_counter
#: Base units of measures that a disturbance changes.
_TIMED = ("s", "FLOP/s", "B/s")
#: Turns of the calibration loop (about 0.15 ms), and how often it is run: its best time counts.
_TURNS, _REPEATS = 10_000, 40
#: Changes of the clock rate above this are reported; the calibration repeats within about 4 %.
CLOCK_CHANGE = 0.08
#: Other processes are reported if they use at least this many cores …
OTHER_CORES = 0.5
#: … and this share of all cores is in use, with the threads of the measurement.
_SHARE_IN_USE = 0.5


class Interference:
    """Observes the machine from its creation on."""

    def __init__(self) -> None:
        self._calibration = calibrate()
        self._began, self._busy = _clock(), _busy_seconds()
        self._own, self._switches = time.process_time(), _involuntary_switches()

    def columns(self) -> dict[str, float]:
        """What was observed until now, as columns of `records.SCHEMA`."""
        seconds = _clock() - self._began
        own = time.process_time() - self._own
        switches = _involuntary_switches() - self._switches
        known = {
            "calibration": self._calibration,
            "preemptions": switches / seconds,
        }
        busy = _busy_seconds()
        if busy is not None and self._busy is not None:
            known["other_cores"] = max(0.0, (busy - self._busy - own) / seconds)
        return {**known, "clock_change": self._calibration / calibrate() - 1}


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
    """The timed records whose timing was disturbed."""
    return [
        record
        for record in records
        if record.status == "ok"
        and record.provenance.get("calibration") is not None
        and (crowded(record.provenance) or clock_changed(record.provenance))
    ]


def notes_on_interference(records: Iterable[Record]) -> list[str]:
    """One line if timings were disturbed while they were taken; none otherwise."""
    timed = disturbed = 0
    others: list[float] = []
    changes: list[float] = []
    cores = 0
    for record in records:
        known = record.provenance
        if record.status != "ok" or known.get("calibration") is None:
            continue
        timed += 1
        busy, changed = crowded(known), clock_changed(known)
        disturbed += busy or changed
        cores = int(known.get("cores") or 0)
        others += [float(known["other_cores"])] if busy else []
        changes += [float(known["clock_change"])] if changed else []
    if not disturbed:
        return []
    words = []
    if others:
        words.append(
            f"other processes kept {_range(others, '.1f')} of {cores} cores busy in {len(others)}"
        )
    if changes:
        percent = [100 * change for change in changes]
        words.append(f"the clock rate changed by {_range(percent, '+.0f')} % in {len(changes)}")
    return [
        f"{disturbed} of {timed} timings were disturbed: {' and '.join(words)}; measure again with"
        " --fresh while the machine does nothing else"
    ]


def crowded(known: Mapping[str, Any]) -> bool:
    """Whether other processes used so many cores that the measurement had to share."""
    others, cores = known.get("other_cores"), known.get("cores")
    if others is None or not cores or others < OTHER_CORES:
        return False
    return bool(others + (known.get("threads") or 1) >= _SHARE_IN_USE * cores)


def clock_changed(known: Mapping[str, Any]) -> bool:
    """Whether the calibration after the measurement differs from that before it."""
    change = known.get("clock_change")
    return change is not None and bool(abs(change) > CLOCK_CHANGE)


def _range(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"
