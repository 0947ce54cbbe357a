"""Best rates of this machine, measured within a second, which a trace is compared with."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchsuite.measures.faults import fault_time
from benchsuite.measures.machine import copy, product
from benchsuite.runtime import device

_REPEATS = 5
#: Bytes that a processor's cache holds: operators that move less rarely wait for memory.
_NEAR = 1 << 20


@functools.cache
def pace(where: torch.device, dtype: torch.dtype) -> Mapping[str, float]:
    """Best rates of a device for a dtype, and the least time of a traced call.

    They are measured once per process, so that cases traced together are compared with the same.

    Returns:
        `flops` (FLOP/s of a matrix product), `bandwidth` (B/s of a copy that no cache holds) and
        `floor` (s, median self time on the host of a traced operator that has almost nothing to
        do); on a CPU also `near_bandwidth` (B/s of a copy that moves `near_bytes`, which a cache
        holds) and `fault_time` (s per page fault).
    """
    with torch.inference_mode():
        found = {
            "flops": _best(*product(where, dtype), where),
            "bandwidth": _best(*copy(where, dtype), where),
            "floor": _floor(where, dtype),
        }
        if where.type == "cpu":
            found["fault_time"] = fault_time()
            found["near_bytes"] = _NEAR
            found["near_bandwidth"] = _best(*copy(where, dtype, _NEAR // 2), where)
        return found


def _best(call: Callable[[], object], work: float, where: torch.device) -> float:
    """Work per second of the fastest repeat, with the device synchronised before and after."""
    clock = device.clock(where)
    call()
    times = []
    for _ in range(_REPEATS):
        start = clock()
        call()
        times.append(clock() - start)
    return work / min(times)


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
