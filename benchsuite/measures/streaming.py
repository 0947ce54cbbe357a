"""Time of one call of a stream, where every call is a sample."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchsuite.allocator import collector_paused
from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.measures.timing import reading_of, warm_up
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload

#: Calls after which timing ends: ten of them are beyond the 99.9 % quantile.
MOST_CALLS = 10_000
#: Calls between two looks at the time that has passed.
_BATCH = 20


def step_latency(workload: Workload, budget: Budget) -> Reading:
    """Seconds of wall time of each call; the value is their median.

    Calls follow each other without a pause, each with `chunk` timesteps of the same input. Timing
    ends after 10,000 calls, or after `max_run_time`. Python's garbage collector is paused, as in
    other timings.
    """
    step = workload.step
    if workload.device.type != "cpu":
        feed = step

        def step() -> None:
            feed()
            device.synchronize(workload.device)

    warm_up(step, budget.warmup)
    with collector_paused():
        samples = sampled(step, budget.max_run_time)
    return reading_of([nanoseconds / 1e9 for nanoseconds in samples], 1)


def sampled(
    call: Callable[[], object], seconds: float, clock: Callable[[], int] = time.perf_counter_ns
) -> list[int]:
    """Nanoseconds of each of at most `MOST_CALLS` calls, in about `seconds` and at least one batch.

    The clock is read right before and after a call; all else happens between batches.
    """
    samples: list[int] = []
    end = clock() + int(seconds * 1e9)
    while not samples or (len(samples) < MOST_CALLS and clock() < end):
        samples += timed_calls(call, _BATCH, clock)
    return samples


def timed_calls(
    call: Callable[[], object], count: int, clock: Callable[[], int] = time.perf_counter_ns
) -> list[int]:
    """Nanoseconds of each of `count` calls."""
    samples = [0] * count
    for index in range(count):
        began = clock()
        call()
        samples[index] = clock() - began
    return samples
