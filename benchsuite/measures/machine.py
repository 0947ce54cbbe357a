"""What the machine itself does at best: the two ceilings of a roofline.

Williams, Waterman & Patterson, "Roofline: an insightful visual performance model for multicore
architectures", CACM 52 (4), 2009: no program computes faster than the arithmetic units do, or than
its bytes arrive.
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

#: Rows and columns of the product, large enough for all of a processor's arithmetic to be busy …
_SIDE = {"cpu": 1024, "cuda": 8192}
#: … and bytes of the copy's source, more than caches hold.
_BYTES = {"cpu": 1 << 29, "cuda": 1 << 31}

Step = tuple[Callable[[], object], float]


def matmul_rate(workload: Workload, budget: Budget) -> Reading:
    """FLOP/s of a square matrix product of the case's dtype, on its device and threads."""
    return _rate(workload, budget, product(workload.device, workload.dtype))


def copy_bandwidth(workload: Workload, budget: Budget) -> Reading:
    """Bytes a second, read and written, of a copy on the case's device and threads."""
    return _rate(workload, budget, copy(workload.device, workload.dtype))


def product(where: torch.device, dtype: torch.dtype) -> Step:
    """A square matrix product, and its FLOP."""
    side = _SIDE[where.type]
    # Random, and not constant: processors clock higher where few bits change.
    random = torch.Generator().manual_seed(0)
    a = torch.randn(side, side, generator=random).to(where, dtype)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=out), 2.0 * side**3


def copy(where: torch.device, dtype: torch.dtype, size: int | None = None) -> Step:
    """A copy from one place of the device's memory to another, and the bytes that it moves.

    Args:
        where: The device.
        dtype: Of what is copied.
        size: Bytes of the source; by default more than caches hold.
    """
    size = size or _BYTES[where.type]
    source = torch.ones(size // dtype.itemsize, device=where, dtype=dtype)
    target = torch.zeros_like(source)  # zeros, and not empty: its pages exist before it is timed
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
