"""The memory of one step's tensors over time, divided by what it is held for.

The step is `Workload.step`, without optimiser; parameters and input are not counted. So the peak is
that of the measure `tensor_memory`; on CPU the heap (`peak_memory`) also holds autograd's nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile, record_function

from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload

#: What memory is held for, in the order of the figure.
KINDS = ("activations", "gradients", "workspace")


@dataclass(frozen=True, slots=True)
class MemoryTimeline:
    """Memory held after each allocation and release of one step.

    Attributes:
        case: Id of the case.
        seconds: Of each event since the step's start.
        held: Bytes by kind, one row per event, columns as in `KINDS`: activations are what the
            forward pass keeps for the backward pass, gradients those of parameters, workspace
            all else: outputs, passing results, gradients of activations, scratch of kernels.
        phases: Name, start and end in seconds of the forward and the backward pass.
        retained: Bytes allocated in the step and not released in it, as of a module that keeps a
            tensor between calls; they are held up to the end.
    """

    case: str
    seconds: NDArray[np.float64]
    held: NDArray[np.int64]
    phases: tuple[tuple[str, float, float], ...]
    retained: int = 0

    @property
    def peak(self) -> int:
        """Most bytes held at once."""
        return int(self.held.sum(axis=1).max(initial=0))

    def at_peak(self) -> dict[str, int]:
        """Bytes by kind when most was held."""
        if not len(self.held):
            return dict.fromkeys(KINDS, 0)
        row = self.held[self.held.sum(axis=1).argmax()]
        return {kind: int(value) for kind, value in zip(KINDS, row, strict=True)}


def record_memory(workload: Workload) -> MemoryTimeline:
    """Run one step and follow its memory.

    What the step releases but did not allocate, such as a state that a module keeps between calls,
    is left out, like parameters.
    """
    workload.step()  # lazily made buffers are not the step's
    saved: set[int] = set()
    gradients: set[int] = set()
    activities = [ProfilerActivity.CPU]
    if workload.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, profile_memory=True) as traced:
        _step(workload, saved, gradients)
        device.synchronize(workload.device)
    kineto: Any = traced.profiler
    ends = {
        event.name(): (event.start_ns(), event.end_ns())
        for event in kineto.kineto_results.events()
        if event.name() in {"forward", "backward", "step"}
    }
    events = sorted(
        (event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size)
        for event in _allocations(kineto.kineto_results.experimental_event_tree())
        if event.extra_fields.device.type == workload.device.type
    )
    return _timeline(workload.case.id, events, ends, saved, gradients)


def _step(workload: Workload, saved: set[int], gradients: set[int]) -> None:
    """`Workload.step` in parts; notes the addresses of what is saved and of gradients."""
    module, x_BTF = workload.module, workload.x_BTF
    train = workload.case.mode == "train"

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.add(tensor.untyped_storage().data_ptr())
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with record_function("step"):
        with record_function("forward"), hooks if train else nullcontext():
            if not train:
                with torch.inference_mode():
                    module(x_BTF)
                return
            loss = module(x_BTF).square().mean()
        with record_function("backward"):
            loss.backward()
        gradients.update(
            parameter.grad.untyped_storage().data_ptr()
            for parameter in module.parameters()
            if parameter.grad is not None
        )
        module.zero_grad(set_to_none=True)


def _allocations(events: Iterable[Any]) -> Iterator[Any]:
    """Allocations and releases in torch's tree of events."""
    waiting = list(events)
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if event.tag == torch._C._profiler._EventType.Allocation:
            yield event


def _timeline(
    case: str,
    events: list[tuple[int, int, int]],
    ends: dict[str, tuple[int, int]],
    saved: set[int],
    gradients: set[int],
) -> MemoryTimeline:
    """Sort each block into its kind, and sum up.

    An address names one block at a time: what is alive at the end of the forward pass under an
    address that was saved is an activation, what is alive at the end of the backward pass under
    that of a gradient is that gradient.
    """
    start, _ = ends["step"]
    forward_end = ends["forward"][1]
    backward_end = ends.get("backward", (0, 0))[1]
    kinds = [KINDS.index("workspace")] * len(events)
    blocks: list[tuple[int, int]] = []
    open_at: dict[int, int] = {}
    earlier: list[int] = []  # releases of what an earlier step allocated
    for index, (_, address, size) in enumerate(events):
        if size > 0:
            open_at[address] = index
        elif address in open_at:
            blocks.append((open_at.pop(address), index))
        else:
            earlier.append(index)
    for first, last in blocks:
        began, address, _ = events[first]
        ended = events[last][0]
        if began <= forward_end < ended and address in saved:
            kinds[first] = kinds[last] = KINDS.index("activations")
        elif began <= backward_end < ended and address in gradients:
            kinds[first] = kinds[last] = KINDS.index("gradients")
    changes = np.zeros((len(events), len(KINDS)), np.int64)
    changes[np.arange(len(events)), kinds] = [size for _, _, size in events]
    changes[earlier] = 0
    return MemoryTimeline(
        case=case,
        seconds=np.array([(at - start) / 1e9 for at, _, _ in events]),
        held=changes.cumsum(axis=0),
        phases=tuple(
            (name, (ends[name][0] - start) / 1e9, (ends[name][1] - start) / 1e9)
            for name in ("forward", "backward")
            if name in ends
        ),
        retained=sum(events[index][2] for index in open_at.values()),
    )
