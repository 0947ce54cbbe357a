"""The memory timeline as a figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchsuite import units

if TYPE_CHECKING:
    from benchsuite.profiling.allocations import MemoryTimeline

_COLOURS = {"activations": "#0072B2", "gradients": "#E0A800", "workspace": "#999999"}
_POINTS = 500


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
        kept = units.show(timeline.retained, "B")
        note = f"\nthe module keeps {kept} of it until the next step" if timeline.retained else ""
        axes.set_title(f"memory of one step: {timeline.case}{note}", fontsize=10)
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


def _thinned(
    total: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Rows to draw: of each stretch of time the highest, so that no peak is lost."""
    if len(total) <= _POINTS:
        return np.arange(len(total))
    edges = np.linspace(0, len(total), _POINTS + 1).astype(int)[:-1]
    stretches = np.split(np.arange(len(total)), edges[1:])
    return np.array([rows[total[rows].argmax()] for rows in stretches])
