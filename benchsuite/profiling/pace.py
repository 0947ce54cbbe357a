"""What this machine can do at best, measured in a moment, for judging what a trace shows."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchsuite import device

_REPEATS = 5


def pace(where: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Best rates of this device at this type, and the least time that a traced call takes.

    Returns:
        `flops` (FLOP/s, of a matrix product), `bandwidth` (B/s, of an addition that no cache
        holds) and `floor` (s, median self time on the host of an operator that has next to
        nothing to do, while it is being traced).
    """
    big = where.type != "cpu"
    n = 8192 if big else 768
    a = torch.ones(n, n, device=where, dtype=dtype)
    long = torch.ones((1 << 30 if big else 1 << 26) // dtype.itemsize, device=where, dtype=dtype)
    with torch.inference_mode():
        product = _best(lambda: a @ a, where)
        addition = _best(lambda: long.add_(1), where)
    return {
        "flops": 2 * n**3 / product,
        "bandwidth": 2 * long.nbytes / addition,
        "floor": _floor(where, dtype),
    }


def _best(call: Callable[[], object], where: torch.device) -> float:
    """Least seconds of some repeats, the device waited for at both edges."""
    clock = device.clock(where)
    call()
    times = []
    for _ in range(_REPEATS):
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def _floor(where: torch.device, dtype: torch.dtype) -> float:
    x = torch.ones(1, device=where, dtype=dtype)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as traced:
        for _ in range(200):
            torch.add(x, x)
    kineto: Any = traced.profiler
    durations = [
        event.duration_ns()
        for event in kineto.kineto_results.events()
        if event.name() == "aten::add"
    ]
    return float(statistics.median(durations)) / 1e9
