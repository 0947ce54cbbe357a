"""Memory of one step: the peak, and what the forward pass keeps for the backward pass."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its chatter on stderr has nothing for users


def peak_memory(workload: Workload, _: Budget) -> Reading:
    """Most bytes that a step holds at once, parameters and input not counted.

    On CPU the exact running sum of every allocation, from the profiler's memory events; on CUDA the
    caching allocator's statistics.
    """
    workload.step()  # lazily made buffers are not the step's
    if workload.device.type == "cuda":
        return Reading(value=device.peak_bytes(workload.device, workload.step))
    return Reading(value=cpu_peak(workload.step))


def cpu_peak(step: Callable[[], object]) -> int:
    """Peak of the running sum of allocations and frees during `step`, in bytes.

    Raises:
        RuntimeError: if the step leaves memory behind or frees what it did not allocate; the sum
            would then not be a peak.
    """
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        step()
    kineto = profile.profiler
    assert kineto is not None
    assert kineto.kineto_results is not None
    events = [event for event in kineto.kineto_results.events() if event.name() == "[memory]"]
    total = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    if total:
        raise RuntimeError(f"the step ended with {total:+,} B; its peak cannot be told")
    return peak


def warm_profiler() -> None:
    """Pay the profiler's start-up once; children forked afterwards start with it warm.

    Does nothing in a CUDA build, whose profiler may touch the driver, which must not happen before
    a fork.
    """
    if not torch.backends.cuda.is_built():
        cpu_peak(lambda: None)


def saved_activations(workload: Workload, _: Budget) -> Reading:
    """Bytes that autograd keeps between forward and backward, parameters and input not counted.

    Counted by storage, so that views of one tensor count once. Zero in inference mode.
    """
    if workload.case.mode == "infer":
        return Reading(value=0)
    held = [*workload.module.parameters(), workload.x_BTF]
    known = {tensor.untyped_storage().data_ptr() for tensor in held}
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage  # kept alive: addresses must not be used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        workload.module(workload.x_BTF)
    return Reading(value=sum(storage.nbytes() for storage in storages.values()))
