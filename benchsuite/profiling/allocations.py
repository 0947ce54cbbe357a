"""Memory of one step's tensors over time, divided by what it is held for, and its figure.

The step is `Workload.step`, without optimiser; parameters and input do not count. The peak is
therefore that of the measure `tensor_memory`; on CPU the heap (`peak_memory`) also holds autograd's
nodes.
"""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch.profiler import ProfilerActivity, profile, record_function

from benchsuite import units
from benchsuite.measures.memory import Change, held_over, tensor_changes
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload

#: Kinds of memory by what it is held for, in the order of the figure.
KINDS = ("activations", "gradients", "workspace")
_COLOURS = {"activations": "#0072B2", "gradients": "#E0A800", "workspace": "#999999"}
#: Most points of the figure's outline.
_POINTS = 500


@dataclass(frozen=True, slots=True)
class MemoryTimeline:
    """Memory held after each allocation and release of one step.

    Attributes:
        case: Id of the case.
        peak: Most bytes held at once.
        retained: Bytes that the step allocated and still holds when it ends.
        seconds: Time of each event since the step's start.
        held: Bytes by kind, one row per event, columns as in `KINDS`: activations are what the
            forward pass keeps for the backward pass, gradients those of parameters, workspace
            everything else: outputs, intermediate results, gradients of activations, scratch of
            kernels. Releasing what was allocated before the step counts as negative workspace.
        phases: Name, start and end in seconds of the forward and the backward pass.
    """

    case: str
    peak: int
    retained: int
    seconds: NDArray[np.float64]
    held: NDArray[np.int64]
    phases: tuple[tuple[str, float, float], ...]

    def at_peak(self) -> dict[str, int]:
        """Bytes by kind at the peak."""
        if not len(self.held):
            return dict.fromkeys(KINDS, 0)
        row = self.held[self.held.sum(axis=1).argmax()]
        return {kind: int(value) for kind, value in zip(KINDS, row, strict=True)}


def record_memory(workload: Workload) -> MemoryTimeline:
    """Run one step and follow its memory."""
    workload.build()
    workload.step()  # buffers that are made on first use are not the step's
    saved: set[int] = set()
    gradients: set[int] = set()
    activities = [ProfilerActivity.CPU]
    if workload.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities, profile_memory=True) as traced:
        _step(workload, saved, gradients)
        device.synchronize(workload.device)
    assert traced.profiler is not None
    assert traced.profiler.kineto_results is not None
    ends = {
        event.name(): (event.start_ns(), event.end_ns())
        for event in traced.profiler.kineto_results.events()
        if event.name() in {"forward", "backward", "step"}
    }
    changes = tensor_changes(traced, workload.device.type)
    return _timeline(workload.case.id, changes, ends, saved, gradients)


def _step(workload: Workload, saved: set[int], gradients: set[int]) -> None:
    """`Workload.step` in parts; collects the addresses of saved tensors and of gradients."""
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


def _timeline(
    case: str,
    changes: list[Change],
    ends: dict[str, tuple[int, int]],
    saved: set[int],
    gradients: set[int],
) -> MemoryTimeline:
    """Assign a kind to each block, and sum up.

    An address names one block at a time: a block that is alive at the end of the forward pass under
    an address that was saved is an activation; one that is alive at the end of the backward pass
    under the address of a gradient is that gradient.
    """
    start, _ = ends["step"]
    forward_end = ends["forward"][1]
    backward_end = ends.get("backward", (0, 0))[1]
    kinds = [KINDS.index("workspace")] * len(changes)
    released: dict[int, int] = {}  # row of an allocation → row of its release
    open_at: dict[int, int] = {}
    for row, change in enumerate(changes):
        if change.size > 0:
            open_at[change.address] = row
        elif change.address in open_at:
            released[open_at.pop(change.address)] = row
    for first in [*released, *open_at.values()]:
        last = released.get(first)
        address, began = changes[first].address, changes[first].at
        ended = changes[last].at if last is not None else np.inf
        kind = kinds[first]
        if began <= forward_end < ended and address in saved:
            kind = KINDS.index("activations")
        elif began <= backward_end < ended and address in gradients:
            kind = KINDS.index("gradients")
        kinds[first] = kind
        if last is not None:
            kinds[last] = kind
    sizes = np.zeros((len(changes), len(KINDS)), np.int64)
    sizes[np.arange(len(changes)), kinds] = [change.size for change in changes]
    return MemoryTimeline(
        case=case,
        peak=held_over(changes).peak,
        retained=sum(changes[row].size for row in open_at.values()),
        seconds=np.array([(change.at - start) / 1e9 for change in changes]),
        held=sizes.cumsum(axis=0),
        phases=tuple(
            (name, (ends[name][0] - start) / 1e9, (ends[name][1] - start) / 1e9)
            for name in ("forward", "backward")
            if name in ends
        ),
    )


def memory_figure(timeline: MemoryTimeline) -> str:
    """A standalone SVG: bytes held over one step, stacked by kind, the peak marked."""
    rows = _thinned(timeline.held.sum(axis=1))
    divisor, unit = units.scale_for(float(timeline.peak), "B")
    time_divisor, time_unit = units.scale_for(float(timeline.seconds.max(initial=1e-6)), "s")
    seconds = timeline.seconds[rows] / time_divisor
    held = timeline.held[rows] / divisor
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": timeline.case, "font.size": 9}):
        canvas = Figure(figsize=(7.2, 3.2), layout="constrained")
        axes = canvas.subplots()
        axes.set_title(f"memory of one step: {timeline.case}", fontsize=10)
        axes.stackplot(
            seconds,
            held.T,
            step="post",
            labels=[
                f"{kind}, {units.show(value, 'B')} at the peak"
                for kind, value in timeline.at_peak().items()
            ],
            colors=list(_COLOURS.values()),
        )
        axes.axhline(timeline.peak / divisor, color="#D55E00", linewidth=0.8)
        axes.annotate(
            f"peak {units.show(timeline.peak, 'B')} of tensors",
            (0.005, timeline.peak / divisor),
            xycoords=("axes fraction", "data"),
            va="bottom",
            color="#D55E00",
        )
        for name, begin, _ in timeline.phases:
            axes.axvline(begin / time_divisor, color="#1f2328", linewidth=0.6, linestyle=":")
            axes.annotate(
                name, (begin / time_divisor, 0.5), xycoords=("data", "axes fraction"), rotation=90
            )
        axes.set_xlabel(f"time under the profiler, {time_unit}")
        axes.set_ylabel(f"held beyond parameters and input, {unit}")
        axes.set_ylim(0, timeline.peak / divisor * 1.15 or 1)
        axes.legend(fontsize=7, loc="lower center")
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _thinned(total: NDArray[np.int64]) -> NDArray[np.intp]:
    """Rows to draw: the highest of each stretch of time, so that no peak is lost."""
    if len(total) <= _POINTS:
        return np.arange(len(total))
    edges = np.linspace(0, len(total), _POINTS + 1).astype(int)[:-1]
    stretches = np.split(np.arange(len(total)), edges[1:])
    return np.array([rows[total[rows].argmax()] for rows in stretches])
