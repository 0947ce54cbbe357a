"""Time of one step: wall time by `torch.utils.benchmark`, and time on the device's clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from torch.utils.benchmark import Timer

from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload
from benchsuite.stats import INTERVAL_SAMPLES, UNSTABLE_SPREAD, summarise

#: Seconds of a block on the device's clock, long enough for the cost of events not to matter.
_BLOCK_SECONDS = 0.01


def latency(workload: Workload, budget: Budget) -> Reading:
    """Seconds of wall time per step, with the device synchronised before and after each block."""
    warm_up(workload.step, budget.warmup)
    return time_step(
        workload.step, device.clock(workload.device), workload.case.num_threads, budget
    )


def device_time(workload: Workload, budget: Budget) -> Reading:
    """Seconds per step between CUDA events: the time that the device was busy or waiting.

    Launches are queued without waiting in between. The device time of a launch-bound loop is close
    to its wall time; that of a saturated device is below it by the launch overhead only.

    Raises:
        Unsupported: if the device is not a CUDA device.
    """
    timer = device.EventTimer(workload.device)
    step, clock = workload.step, device.clock(workload.device)
    warm_up(step, budget.warmup)
    start = clock()
    step()
    per_step = max(clock() - start, 1e-6)
    number = max(1, round(_BLOCK_SECONDS / per_step))
    for _ in range(max(5, math.ceil(budget.min_run_time / (number * per_step)))):
        with timer.block():
            for _ in range(number):
                step()
    return reading_of([seconds / number for seconds in timer.seconds()], number)


def warm_up(
    step: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> None:
    """Run `step` for `seconds`, until clocks have risen and cuDNN has chosen its algorithms."""
    end = clock() + seconds
    while clock() < end:
        step()


def time_step(
    step: Callable[[], object], clock: Callable[[], float], num_threads: int, budget: Budget
) -> Reading:
    """Time `step` by blocks until the samples settle.

    Args:
        step: The function to time.
        clock: Returns seconds, after the device has finished its work.
        num_threads: Intra-op threads while timing.
        budget: Timing stops after `min_run_time` once IQR/median is below 10 %, and after
            `max_run_time` in any case.
    """
    timer = Timer("step()", globals={"step": step}, timer=clock, num_threads=num_threads)
    measurement = timer.adaptive_autorange(
        threshold=UNSTABLE_SPREAD,
        min_run_time=budget.min_run_time,
        max_run_time=budget.max_run_time,
    )
    return reading_of(measurement.times, measurement.number_per_run)


def reading_of(samples: list[float], number: int) -> Reading:
    """Median of the samples, with a warning if they are few or spread widely."""
    summary = summarise(samples)
    warning = ""
    if summary.n < INTERVAL_SAMPLES:
        warning = (
            f"few: {summary.n} samples, whose range is not a 95 % interval; raise max_run_time"
        )
    elif summary.spread > UNSTABLE_SPREAD:
        warning = f"unstable: IQR is {summary.spread:.0%} of the median of {summary.n} samples"
    return Reading(value=summary.median, samples=tuple(samples), number=number, warning=warning)
