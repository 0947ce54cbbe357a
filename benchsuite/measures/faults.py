"""Page faults of a step, and the time of one page fault on this machine."""

from __future__ import annotations

import mmap
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np

#: Most steps, and the seconds after which no further step starts.
_STEPS, _SECONDS = 5, 0.2
#: Bytes taken from the kernel and returned to measure the time of a fault.
_REGION = 1 << 24
_REPEATS = 3


def page_faults(step: Callable[[], object]) -> float:
    """Minor page faults of one step: the median of a few steps after the measurement."""
    counts: list[int] = []
    end = time.perf_counter() + _SECONDS
    while not counts or (len(counts) < _STEPS and time.perf_counter() < end):
        before = _count()
        step()
        counts.append(_count() - before)
    return float(statistics.median(counts))


def fault_time() -> float:
    """Seconds to take a page from the kernel at first touch and to return it, the best of a few.

    The time of touching the same pages a second time is subtracted.
    """
    return min(_cycle() for _ in range(_REPEATS))


def _cycle() -> float:
    before, start = _count(), time.perf_counter()
    with mmap.mmap(-1, _REGION, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as region:
        pages = np.frombuffer(region, np.uint8)[:: mmap.PAGESIZE]
        pages[:] = 1
        faults, first = _count() - before, time.perf_counter()
        pages[:] = 1
        second = time.perf_counter() - first
        del pages
    return max(0.0, time.perf_counter() - start - 2 * second) / max(1, faults)


def _count() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
