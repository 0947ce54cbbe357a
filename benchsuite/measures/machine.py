"""Best rates of the machine: the two ceilings of a roofline.

Williams, Waterman & Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52 (4), 2009: the speed of a program is limited by the rate of the arithmetic
units and by the rate at which its bytes arrive.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.measures.timing import time_step, warm_up
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload
from benchsuite.stats import summarise

#: Rows and columns of the product, large enough to keep all arithmetic units busy.
_SIDE = {"cpu": 1024, "cuda": 8192}
#: Bytes of the copy's source, more than caches hold.
_BYTES = {"cpu": 1 << 29, "cuda": 1 << 31}

Step = tuple[Callable[[], object], float]


def matmul_rate(workload: Workload, budget: Budget) -> Reading:
    """FLOP/s of a square matrix product in the case's dtype, on its device and threads."""
    return _rate(workload, budget, product(workload.device, workload.dtype))


def copy_bandwidth(workload: Workload, budget: Budget) -> Reading:
    """Bytes per second, read and written, of a copy on the case's device and threads."""
    return _rate(workload, budget, copy(workload.device, workload.dtype))


def product(where: torch.device, dtype: torch.dtype) -> Step:
    """A function that multiplies two square matrices, and its FLOP."""
    side = _SIDE[where.type]
    # Random and not constant: processors run at a higher clock if few bits change.
    random = torch.Generator().manual_seed(0)
    a = torch.randn(side, side, generator=random).to(where, dtype)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=out), 2.0 * side**3


def copy(where: torch.device, dtype: torch.dtype, size: int | None = None) -> Step:
    """A function that copies within the device's memory, and the bytes that it moves.

    Args:
        where: The device.
        dtype: Type of the elements.
        size: Bytes of the source; by default more than caches hold.
    """
    size = size or _BYTES[where.type]
    source = torch.ones(size // dtype.itemsize, device=where, dtype=dtype)
    target = torch.zeros_like(source)  # zeros and not empty, so that its pages exist before timing
    return lambda: target.copy_(source), 2.0 * source.nbytes


def _rate(workload: Workload, budget: Budget, what: Step) -> Reading:
    step, work = what
    torch.set_num_threads(workload.case.num_threads)
    warm_up(step, budget.warmup)
    timed = time_step(step, device.clock(workload.device), workload.case.num_threads, budget)
    rates = tuple(work / seconds for seconds in timed.samples)
    return Reading(
        value=summarise(rates).median, samples=rates, number=timed.number, warning=timed.warning
    )
