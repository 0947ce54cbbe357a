"""Explanation of a trace: shares of a step's time, calls per timestep, and what bounds it.

On a CPU a step's time is the self time of the calls on its thread. With a device it is the time of
the kernels and, while none runs, that of the host, which has yet to launch the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.allocator import fault_share
from benchsuite.errors import UsageError
from benchsuite.profiling.categories import CALLING, CATEGORIES, library_of
from benchsuite.profiling.nesting import PHASES
from benchsuite.profiling.words import bound_of, sentences

#: Categories bound by arithmetic in a trace without its machine's rates.
_COMPUTE = frozenset({"matmul", "convolution", "recurrence", "transform"})
_TOP = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """An explanation of where the time of one case's step goes.

    Attributes:
        case: Id of the case, or "trace" for a trace of another tool.
        model: The case's model; empty for a trace of another tool.
        device: "cpu", or "gpu" where kernels ran on one.
        seconds: Duration of the fastest traced step.
        untraced_seconds: Duration of the same step without the profiler, where known.
        page_faults: Page faults of the untraced step, where known.
        fault_share: Share of the untraced step's time that page faults take; 0 where unknown.
        shares: Shares of the step's time by category; they sum to 1.
        phases: Shares of the step's time by phase; time outside of all phases is left out.
        bound: "overhead", "arithmetic" or "memory": the largest of `bounds` if it is clearly more
            than half of the time (`words.CLEARLY`), else "mixed".
        bounds: Share of the step's time that each of these accounts for.
        timesteps: Length of the sequence; None where the trace does not contain it.
        calls: Operators called per step, including views and autograd's.
        works: Number of these that touch data.
        products: Number of these that are matrix products of the forward pass.
        kernels: Kernels launched on the device per step.
        unrolled: Whether Python called the model timestep by timestep.
        idle: Share of the step in which the device ran nothing; None without a device.
        libraries: Library → share of the time spent in operators that do arithmetic.
        top: The operators with the most self (or device) time: name, category, calls, seconds,
            share.
        flops_rate: FLOP/s reached in products, convolutions and recurrences; 0 where unknown.
        cut: What was left out to keep the trace small.
        sentences: The explanation in words.
    """

    case: str
    model: str
    device: str
    seconds: float
    untraced_seconds: float | None
    page_faults: float | None
    fault_share: float
    shares: dict[str, float]
    phases: dict[str, float]
    bound: str
    bounds: dict[str, float]
    timesteps: int | None
    calls: int
    works: int
    products: int
    kernels: int
    unrolled: bool
    idle: float | None
    libraries: dict[str, float]
    top: list[dict[str, Any]]
    flops_rate: float
    cut: list[str]
    sentences: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def explain(frame: pd.DataFrame) -> Explanation:
    """Explain a frame of `load_frame`.

    Raises:
        UsageError: if the traced step takes no time.
    """
    notes: Mapping[str, Any] = frame.attrs.get("notes", {})
    steps = frame[(frame["kind"] == "range") & frame["op"].astype(str).str.match("ProfilerStep")]
    inside = frame
    if len(steps):  # the fastest: other work on the machine only adds time
        steps = steps.nsmallest(1, "total_time")
        inside = frame[frame["step"] == steps["step"].iloc[0]]
    on_device = inside[inside["kind"] == "kernel"]
    host = _of_main_thread(inside)
    ends = float((inside["start"] + inside["total_time"]).max())
    wall = float(steps["total_time"].sum()) if len(steps) else ends - float(inside["start"].min())
    if wall <= 0:
        raise UsageError("the traced step takes no time; record it again with `benchsuite trace`")
    idle = None
    if len(on_device):
        shares, idle = _device_shares(on_device, host, wall)
    else:
        shares = _host_shares(host, wall)
    work = on_device if len(on_device) else host[(host["kind"] == "op")]
    bounds = _bounds(work, frame, shares, notes.get("pace") or {})
    ops = inside[inside["kind"] == "op"]
    timesteps = (notes.get("axes") or {}).get("seq_len")
    if not isinstance(timesteps, int) or timesteps < 1:  # another tool's notes
        timesteps = None
    labelled = int(frame["timestep"].max())
    found: dict[str, Any] = {
        "case": str(notes.get("case") or "trace"),
        "model": str((notes.get("axes") or {}).get("model", "")),
        "device": "gpu" if len(on_device) else "cpu",
        "seconds": wall,
        "untraced_seconds": notes.get("untraced_step"),
        "page_faults": notes.get("page_faults"),
        "fault_share": fault_share(
            notes.get("page_faults") or 0.0,
            (notes.get("pace") or {}).get("fault_time", 0.0),
            notes.get("untraced_step") or wall,
        ),
        "shares": shares,
        "phases": _phases(inside, wall),
        "bound": bound_of(bounds),
        "bounds": bounds,
        "timesteps": timesteps or (labelled + 1 if labelled >= 0 else None),
        "calls": len(ops),
        "works": int((~ops["category"].isin(CALLING)).sum()),
        "products": int(((ops["phase"] == "forward") & (ops["category"] == "matmul")).sum()),
        "kernels": len(on_device),
        "unrolled": labelled > 0 or bool(notes.get("unrolled")),
        "idle": idle,
        "libraries": _libraries(work),
        "top": _top(work, wall),
        "flops_rate": _rate(work, frame),
        "cut": list(notes.get("cut") or []),
    }
    return Explanation(**found, sentences=sentences(found, notes))


def _of_main_thread(inside: pd.DataFrame) -> pd.DataFrame:
    """Rows of the thread that runs the step; on a device the backward pass has another thread."""
    calls = inside[inside["kind"] != "kernel"]
    steps = calls[(calls["kind"] == "range")]
    busiest = (steps if len(steps) else calls)["thread"].value_counts()
    return calls[calls["thread"] == busiest.index[0]] if len(busiest) else calls


def _host_shares(host: pd.DataFrame, wall: float) -> dict[str, float]:
    """Shares by category; time that no operator accounts for is Python's."""
    spent = host[host["kind"] != "range"].groupby("category", observed=True)["self_time"].sum()
    found = {str(category): float(spent.get(category, 0.0)) / wall for category in CATEGORIES}
    found["python"] = max(0.0, 1.0 - sum(found.values()))
    return found


def _device_shares(
    kernels: pd.DataFrame, host: pd.DataFrame, wall: float
) -> tuple[dict[str, float], float]:
    """Shares by category of kernel, scaled to the time in which any ran, and the idle share.

    Idle time counts as the host's Python and dispatch.
    """
    begin, end = kernels["start"].to_numpy(), (kernels["start"] + kernels["total_time"]).to_numpy()
    idle = max(0.0, 1.0 - covered(begin, end) / wall)
    spent = kernels.groupby("category", observed=True)["total_time"].sum()
    found = {str(c): float(spent.get(c, 0.0)) for c in CATEGORIES}
    scale = (1.0 - idle) / (sum(found.values()) or 1.0)
    found = {category: seconds * scale for category, seconds in found.items()}
    of_host = _host_shares(host, wall)
    python = of_host["python"]
    found["python"] += idle * python
    found["dispatch"] += idle * (1.0 - python)
    return found, idle


def covered(begin: np.ndarray[Any, Any], end: np.ndarray[Any, Any]) -> float:
    """Length of the union of intervals, which may overlap."""
    order = np.argsort(begin)
    begin, end = begin[order], end[order]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(end)[:-1]])
    return float(np.maximum(0.0, end - np.maximum(begin, before)).sum())


def _bounds(
    work: pd.DataFrame,
    frame: pd.DataFrame,
    shares: Mapping[str, float],
    pace: Mapping[str, float],
) -> dict[str, float]:
    """Shares of overhead, arithmetic and memory traffic.

    Overhead is the time of all calling, and for each operator on the host that touches data the
    machine's least time of an operator. The rest of an operator's time is arithmetic or memory,
    whichever needs longer at the machine's best rates. Data that fits in a cache, or that has moved
    faster than memory can move it, counts at the cache's rate.
    """
    work = work[~work["category"].isin(CALLING)]
    kernels = bool(len(work)) and bool((work["kind"] == "kernel").all())
    seconds = work["total_time" if kernels else "self_time"].to_numpy(float)
    fixed = np.zeros(len(work)) if kernels else np.minimum(seconds, pace.get("floor", 0.0))
    # A kernel's work is that of the operator that launched it.
    rows = work["parent"].to_numpy() if kernels else work.index.to_numpy()
    known = rows >= 0
    operations, moved = (
        np.where(known, frame[column].to_numpy(float)[rows], 0.0) for column in ("flops", "bytes")
    )
    compute = work["category"].isin(_COMPUTE).to_numpy()
    if pace.get("flops") and pace.get("bandwidth"):
        counted = operations > 0
        far, near = pace["bandwidth"], pace.get("near_bandwidth", pace["bandwidth"])
        cached = (moved <= pace.get("near_bytes", 0)) | (moved / far > seconds)
        bandwidth = np.where(cached, near, far)
        needs_more = operations / pace["flops"] >= moved / bandwidth
        compute = np.where(counted, needs_more, compute)
    rest = seconds - fixed
    calling = sum(shares[category] for category in CALLING)
    spent = {
        "overhead": float(fixed.sum()),
        "arithmetic": float(rest[compute].sum()),
        "memory": float(rest[~compute].sum()),
    }
    scale = (1.0 - calling) / (sum(spent.values()) or 1.0)
    found = {key: value * scale for key, value in spent.items()}
    found["overhead"] += calling
    return found


def _phases(inside: pd.DataFrame, wall: float) -> dict[str, float]:
    ranges = inside[(inside["kind"] == "range") & inside["op"].isin(PHASES)]
    spent = ranges.groupby("op", observed=True)["total_time"].sum()
    return {phase: float(spent[phase]) / wall for phase in PHASES if phase in spent.index}


def _libraries(work: pd.DataFrame) -> dict[str, float]:
    """Shares by library: of products, convolutions and recurrences or, without any, of all work."""
    chosen = work[work["category"].isin(_COMPUTE)]
    chosen = chosen if len(chosen) else work[~work["category"].isin(CALLING)]
    spent: dict[str, float] = {}
    for (op, kind), group in chosen.groupby(["op", "kind"], observed=True):
        library = library_of(str(op), kernel=kind == "kernel")
        column = "total_time" if kind == "kernel" else "self_time"
        spent[library] = spent.get(library, 0.0) + float(group[column].sum())
    total = sum(spent.values()) or 1.0
    ordered = sorted(spent.items(), key=lambda item: -item[1])
    return {library: seconds / total for library, seconds in ordered}


def _top(work: pd.DataFrame, wall: float) -> list[dict[str, Any]]:
    column = "total_time" if len(work) and (work["kind"] == "kernel").all() else "self_time"
    spent = work.groupby(["op", "category"], observed=True)[column].agg(["sum", "size"])
    spent = spent.sort_values("sum", ascending=False).head(_TOP).reset_index()
    return [
        {
            "op": str(row["op"]),
            "category": str(row["category"]),
            "calls": int(row["size"]),
            "seconds": float(row["sum"]),
            "share": float(row["sum"]) / wall,
        }
        for row in spent.to_dict("records")
    ]


def _rate(work: pd.DataFrame, frame: pd.DataFrame) -> float:
    chosen = work[work["category"].isin(_COMPUTE)]
    if (chosen["kind"] == "kernel").any():
        seconds = float(chosen["total_time"].sum())
        rows = np.unique(chosen["parent"].to_numpy())
        done = float(frame["flops"].to_numpy()[rows[rows >= 0]].sum())
    else:
        counted = chosen[chosen["flops"] > 0]
        seconds, done = float(counted["self_time"].sum()), float(counted["flops"].sum())
    return done / seconds if seconds and done else 0.0
