"""An explanation in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchsuite import units
from benchsuite.allocator import NOTABLE, fault_words

#: Share of a step's time from which a single cause bounds it. It is well above one half: between
#: two traces of one step shares vary by several per cent, which must not change the answer.
CLEARLY = 0.6
#: The bound of a step that no single cause bounds.
MIXED = "mixed"

_NAMES = {
    "matmul": "matrix products",
    "convolution": "convolutions",
    "recurrence": "the library's recurrence",
    "pointwise": "pointwise operators",
    "reduction": "reductions",
    "memory": "memory traffic",
    "transform": "Fourier transforms",
    "other": "other operators",
}
#: Shares below this are not mentioned.
_LEAST = 0.02


def bound_of(bounds: Mapping[str, float]) -> str:
    """The bound of a step: its largest share if that is clearly more than half, else "mixed"."""
    name = max(bounds, key=lambda key: bounds[key])
    return name if bounds[name] >= CLEARLY else MIXED


def sentences(found: Mapping[str, Any], notes: Mapping[str, Any]) -> list[str]:
    """Sentences: where the time goes, what bounds it, what would reduce it, and what was cut."""
    words = [_where(found), _bound(found), _help(found, notes)]
    if found["fault_share"] >= NOTABLE:
        words.append(f"{fault_words(found['fault_share'], found['page_faults'])}.")
    return [*words, *(f"Not everything was traced: {cut}." for cut in found["cut"])]


def _where(found: Mapping[str, Any]) -> str:
    shares = found["shares"]
    calling = shares["python"] + shares["dispatch"]
    others = sorted(
        ((share, _NAMES[c]) for c, share in shares.items() if c in _NAMES and share >= _LEAST),
        reverse=True,
    )
    parts = [
        f"Python {percent(shares['python'])} and dispatch {percent(shares['dispatch'])}"
        f" (together {percent(calling)})",
        *(f"{name} {percent(share)}" for share, name in others),
    ]
    untraced = found["untraced_seconds"]
    beside = (
        f" ({units.show(untraced, 's')} without the profiler, whose overhead grows with the number"
        " of calls)"
        if untraced and found["seconds"] > 1.1 * untraced
        else ""
    )
    idle = f" The GPU is idle for {percent(found['idle'])} of it." if found["idle"] else ""
    return (
        f"A step takes {units.show(found['seconds'], 's')} under the profiler{beside}:"
        f" {', '.join(parts)}.{idle}"
    )


def _bound(found: Mapping[str, Any]) -> str:
    bounds, bound = found["bounds"], found["bound"]
    calls, works, timesteps = found["calls"], found["works"], found["timesteps"]
    second = found["kernels"] or works
    per = (
        f"It calls {calls:,.0f} operators and launches {second:,.0f} kernels per step"
        if found["kernels"]
        else f"It calls {calls:,.0f} operators per step, of which {second:,.0f} touch data"
    )
    if timesteps:
        per += f" ({number(calls / timesteps)} and {number(second / timesteps)} per timestep)"
    libraries = " and ".join(
        f"{library} ({percent(share)})" if share < 0.995 else library
        for library, share in found["libraries"].items()
        if share >= _LEAST
    )
    rate = f", at {units.show(found['flops_rate'], 'FLOP')}/s" if found["flops_rate"] else ""
    ran = f"; its arithmetic runs in {libraries}{rate}" if libraries else ""
    verdict = f"It is {bound}-bound" if bound != MIXED else "Its bound is mixed"
    return (
        f"{verdict}: {percent(bounds['overhead'])} of the time is overhead (the cost of calling),"
        f" {percent(bounds['arithmetic'])} arithmetic, {percent(bounds['memory'])} memory traffic."
        f" {per}{ran}."
    )


#: Most matrix products per timestep of a cell whose gates are stacked already.
_STACKED = 1.5


def _help(found: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    axes = notes.get("axes") or {}
    size = axes.get("batch_size")
    batch = f"a batch larger than B={size}" if size else "a larger batch"
    largest = max(found["bounds"], key=lambda key: found["bounds"][key])
    if largest == "overhead" and found["unrolled"]:
        stacked = 0 < found["products"] <= _STACKED * (found["timesteps"] or 1)
        first = (
            "its gates are stacked already; " if stacked else "stack the gates into one product,"
        )
        return (
            f"Fewer calls per timestep would help most: {first}"
            + ("" if stacked else " move the input's projection out of the loop, or ")
            + f"use a library's kernel for the whole loop; {batch} costs little more"
            " time, as each call has room for more work."
        )
    if largest == "overhead":
        return (
            f"Fewer and larger calls would help: {batch} or longer sequences make"
            " them larger, and capturing the step as a graph"
            " (torch.compile, CUDA graphs) avoids the cost of calling."
        )
    if largest == "memory":
        return (
            "Touching memory less often would help: fuse pointwise operators (torch.compile), use"
            " bfloat16, or a larger batch so that weights are read for more sequences at once."
        )
    gain = "TF32 or bfloat16" if found["device"] == "gpu" else "more threads or bfloat16"
    return f"The arithmetic itself would have to shrink or run faster: {gain}, or a smaller width."


def percent(share: float) -> str:
    """A share in per cent: `0.1234` is "12 %"; a positive share is never shown as 0 %."""
    return "<1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")


def number(value: float) -> str:
    """A number with two digits below ten, and as an integer above."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
