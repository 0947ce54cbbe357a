"""Memory of one step: its peaks, and what the forward pass keeps for the backward pass."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch

from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import Unsupported
from benchsuite.grid.study import Budget
from benchsuite.measures.heap import Held, heap
from benchsuite.measures.reading import Reading
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # its messages on stderr are not for users

#: Bytes of Python objects that a step may replace without retaining anything.
_RENEWED = 1 << 14


class Change(NamedTuple):
    """One allocation or release of tensor memory.

    Attributes:
        at: Nanoseconds on the profiler's clock.
        address: Of the block.
        size: Bytes; negative for a release.
    """

    at: int
    address: int
    size: int


def peak_memory(workload: Workload, _: Budget) -> Reading:
    """Most bytes that a step holds at once beyond what was live before it.

    Parameters and input were live, so they do not count.

    On CPU the peak of the heap: tensors, autograd's nodes, a library's scratch (see `heap`). On
    CUDA the peak of the caching allocator's blocks on the device; the host's memory does not count
    there.

    Raises:
        Unsupported: if the engine keeps its buffers between steps, so that none of them needs any.
    """
    if workload.exported:
        raise Unsupported(
            f"engine {workload.case.engine} keeps its buffers between steps; the peak of a step"
            " does not show them"
        )
    workload.step()  # buffers that are made on first use are not the step's
    if workload.device.type == "cuda":
        return Reading(value=device.peak_bytes(workload.device, workload.step))
    held = heap(workload.step)
    # A few kilobytes are always replaced: Python's own frames and tables.
    allowed = max(_RENEWED, MEASURES.get("peak_memory").tolerance * held.peak)
    return Reading(value=held.peak, warning=retained(held.left) if held.left > allowed else "")


def tensor_memory(workload: Workload, _: Budget) -> Reading:
    """Most bytes that the tensors of a step hold at once, without parameters and input.

    On CPU the exact running sum of every allocation of torch's allocator, from the profiler's
    memory events. On CUDA every block comes from the caching allocator, so the value is that of
    `peak_memory`.

    Raises:
        Unsupported: if the engine's memory is not torch's.
    """
    if workload.exported:
        raise Unsupported(f"engine {workload.case.engine} does not use torch's allocator")
    workload.step()
    if workload.device.type == "cuda":
        return Reading(value=device.peak_bytes(workload.device, workload.step))
    held = tensors(workload.step)
    return Reading(value=held.peak, warning=retained(held.left) if held.left else "")


def retained(size: int) -> str:
    """The warning about a step that leaves `size` bytes behind."""
    return (
        f"retained: {size:,} B are still allocated when the step ends, as where a model keeps"
        " its state"
    )


def tensors(step: Callable[[], object]) -> Held:
    """Memory of the tensors of `step` on the CPU."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as traced:
        step()
    return held_over(tensor_changes(traced, "cpu"))


def tensor_changes(traced: torch.profiler.profile, device_type: str) -> list[Change]:
    """Allocations and releases of tensor memory on one kind of device, in order of time.

    Args:
        traced: A profile that has ended, taken with `profile_memory=True`.
        device_type: "cpu" or "cuda".
    """
    profiler: Any = traced.profiler
    changes: list[Change] = []
    waiting = list(profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if event.tag == torch._C._profiler._EventType.Allocation:
            fields = event.extra_fields
            if fields.device.type == device_type:
                changes.append(Change(event.start_time_ns, fields.ptr, fields.alloc_size))
    return sorted(changes, key=lambda change: change.at)


def held_over(changes: Iterable[Change]) -> Held:
    """Peak and end of the running sum of changes, in order of time."""
    total = peak = 0
    for change in changes:
        total += change.size
        peak = max(peak, total)
    return Held(peak, total)


def warm_profiler() -> None:
    """Start the profiler once, so that children forked afterwards need not.

    Does nothing in a CUDA build of torch, whose profiler may call the driver, which must not happen
    before a fork.
    """
    if not torch.backends.cuda.is_built():
        tensors(lambda: None)


def saved_activations(workload: Workload, _: Budget) -> Reading:
    """Bytes that autograd keeps between forward and backward, without parameters and input.

    Counted by storage, so that views of one tensor count once. Zero in inference mode.
    """
    if workload.case.mode != "train":
        return Reading(value=0)
    held = [*workload.module.parameters(), workload.x_BTF]
    known = {tensor.untyped_storage().data_ptr() for tensor in held}
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage  # kept alive, so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        workload.run(workload.x_BTF)
    return Reading(value=sum(storage.nbytes() for storage in storages.values()))
