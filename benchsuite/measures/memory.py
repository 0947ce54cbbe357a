"""Memory of one step: peaks, and what the forward pass keeps for the backward pass."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.study import Budget
from benchsuite.measures.heap import Held, heap
from benchsuite.measures.reading import Reading
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its chatter on stderr has nothing for users

#: Bytes of Python's own that a step may renew without keeping anything.
_RENEWED = 1 << 14


def peak_memory(workload: Workload, _: Budget) -> Reading:
    """Most bytes that a step holds at once beyond what was live before it.

    Parameters and input were, so they are not counted.

    On CPU the peak of the heap: tensors, autograd's nodes, a library's scratch (see `heap`). On
    CUDA the peak of the caching allocator's blocks on the device; what the host holds meanwhile is
    not counted there.
    """
    workload.step()  # lazily made buffers are not the step's
    if workload.device.type == "cuda":
        return Reading(value=device.peak_bytes(workload.device, workload.step))
    found = heap(workload.step)
    # A few kilobytes are always renewed: Python's own frames and tables.
    told = found.left > max(_RENEWED, MEASURES.get("peak_memory").tolerance * found.peak)
    return Reading(value=found.peak, warning=_retained(found) if told else "")


def tensor_memory(workload: Workload, _: Budget) -> Reading:
    """Most bytes that the tensors of a step hold at once, parameters and input not counted.

    On CPU the exact running sum of every allocation of torch's allocator, from the profiler's
    memory events. On CUDA every block comes from the caching allocator, so it is the same as
    `peak_memory`.
    """
    workload.step()
    if workload.device.type == "cuda":
        return Reading(value=device.peak_bytes(workload.device, workload.step))
    found = tensors(workload.step)
    return Reading(value=found.peak, warning=_retained(found) if found.left else "")


def _retained(found: Held) -> str:
    return (
        f"retained: {found.left:,} B are still allocated when the step ends, as where a model keeps"
        " its state"
    )


def tensors(step: Callable[[], object]) -> Held:
    """Follow the tensors of `step`: the running sum of torch's allocations and releases."""
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
    return Held(peak, total)


def warm_profiler() -> None:
    """Pay the profiler's start-up once; children forked afterwards start with it warm.

    Does nothing in a CUDA build, whose profiler may touch the driver, which must not happen before
    a fork.
    """
    if not torch.backends.cuda.is_built():
        tensors(lambda: None)


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
