"""A trace as a tidy frame: one row per call of an operator, range, driver function or kernel.

`COLUMNS` describes the columns. Times are in seconds, sizes in bytes. Self time is the time of a
call without the calls nested in it on the same thread; it is derived from the nesting of intervals,
as in torch's `key_averages`, and has the same sums.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.errors import UsageError
from benchsuite.profiling.categories import argument_bytes, category_of, flops
from benchsuite.profiling.nesting import (
    PHASES,
    inside,
    launchers,
    parents,
    phases,
    timesteps,
    twins,
)
from benchsuite.profiling.trace_file import notes_of, read_trace

COLUMNS = {
    "op": "name of the operator, range, driver function or kernel",
    "kind": "op, range, runtime (a driver's function) or kernel (device, copies included)",
    "category": "python, dispatch, matmul, convolution, recurrence, pointwise, reduction, memory,"
    " transform, other",
    "thread": "process and thread, or device and stream",
    "step": "number of the traced step; -1 outside",
    "phase": "forward, backward or optimiser; empty outside",
    "timestep": "timestep of an unrolled model; -1 for other rows",
    "start": "time since the first event, s",
    "total_time": "time with all nested calls, s",
    "self_time": "time without the calls nested in it on its thread, s",
    "device_time": "busy time of the kernels that it launched directly, s",
    "launches": "number of these kernels",
    "shape": "shapes of the arguments",
    "bytes": "size of the arguments, B",
    "flops": "floating-point operations, where they follow from the shapes, FLOP",
    "parent": "row of the call it is nested in, or that launched the kernel; -1 for none",
}
_KINDS = {
    "cpu_op": "op",
    "user_annotation": "range",
    "cuda_runtime": "runtime",
    "cuda_driver": "runtime",
    "kernel": "kernel",
    "gpu_memcpy": "kernel",
    "gpu_memset": "kernel",
}
#: Largest time in nanoseconds, and largest size: a column of whole numbers has room for sums.
_MOST = 1 << 53
_STEP = re.compile(r"ProfilerStep\s*#(\d{1,15})")  # a longer number does not fit


def load_frame(path: str | Path) -> pd.DataFrame:
    """Read a trace file into a frame with the columns of `COLUMNS`.

    Returns:
        The frame, sorted by thread and time; `frame.attrs["notes"]` holds benchsuite's notes.

    Raises:
        UsageError: if the file is not a readable trace, or holds no operator.
    """
    content = read_trace(path)
    frame = frame_of(content)
    if not (frame["kind"].isin(("op", "kernel"))).any():
        raise UsageError(
            f"{path} is not a trace of PyTorch: none of its {len(content['traceEvents'])} events is"
            " an operator or a kernel"
        )
    return frame


def frame_of(content: dict[str, Any]) -> pd.DataFrame:
    """The frame of a trace's JSON object, with its notes."""
    frame = to_frame(content["traceEvents"])
    frame.attrs["notes"] = notes_of(content)
    return frame


def to_frame(events: Iterable[Any]) -> pd.DataFrame:
    """The frame of Chrome trace events; events that are not calls are skipped."""
    rows = _Rows()
    for event in events:
        if isinstance(event, dict) and event.get("ph") == "X":
            kind = _KINDS.get(str(event.get("cat")))
            if kind is not None:
                rows.add(kind, event)
    return rows.frame()


class _Rows:
    """Columns of a frame under construction."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.kinds: list[str] = []
        self.threads: list[str] = []
        self.starts: list[int] = []
        self.lengths: list[int] = []
        self.sequence: list[int] = []
        self.correlation: list[int] = []
        self.external: list[int] = []
        self.shapes: list[str] = []
        self.sizes: list[tuple[int, int]] = []
        self._known: dict[tuple[str, str, str], tuple[int, int]] = {}

    def add(self, kind: str, event: dict[str, Any]) -> None:
        """Add one event; one without times is skipped."""
        try:
            start, length = round(event["ts"] * 1e3), round(event.get("dur", 0) * 1e3)
        except (KeyError, TypeError, OverflowError, ValueError):
            return
        if not (abs(start) < _MOST and 0 <= length < _MOST):
            return
        args = event.get("args")
        args = args if isinstance(args, dict) else {}
        name = _text(event.get("name", ""))
        dims, types = (
            found if isinstance(found := args.get(key), list) else ()
            for key in ("Input Dims", "Input type")
        )
        self.names.append(name)
        self.kinds.append(kind)
        self.threads.append(_text(f"{event.get('pid')}/{event.get('tid')}"))
        self.starts.append(start)
        self.lengths.append(length)
        self.sequence.append(_whole(args.get("Sequence number")))
        self.correlation.append(_whole(args.get("correlation")))
        self.external.append(_whole(args.get("External id")))
        shape = _text(dims) if dims else ""
        self.shapes.append(shape)
        self.sizes.append(self._work(name, shape, dims, types))

    def _work(self, name: str, shape: str, dims: Any, types: Any) -> tuple[int, int]:
        """(bytes, FLOP) of a call; computed once for the thousands of equal calls."""
        if not shape:
            return 0, 0
        key = (name, shape, str(types))
        if key not in self._known:
            sound = _is_shapes(dims)  # a foreign trace may have any shapes
            size, work = (argument_bytes(dims, types), flops(name, dims)) if sound else (0, 0)
            self._known[key] = min(size, _MOST), min(work, _MOST)
        return self._known[key]

    def frame(self) -> pd.DataFrame:
        """The frame, rows sorted by thread and time."""
        thread = pd.Categorical(self.threads)
        start, length = np.array(self.starts, np.int64), np.array(self.lengths, np.int64)
        order = np.lexsort((-length, start, thread.codes))
        kind = np.array(self.kinds, dtype=object)[order]
        name = np.array(self.names, dtype=object)[order]
        start, length = start[order], length[order]
        codes = np.asarray(thread.codes)[order]
        parent = parents(codes, start, start + length, kind == "kernel")
        own = length.copy()
        nested = parent >= 0
        np.subtract.at(own, parent[nested], length[nested])
        same, keep = twins(name, parent)
        np.add.at(own, same[~keep], own[~keep])
        # A kernel's launcher is found by the driver's call or, without one, by the operator.
        launcher = launchers(
            kind, parent, np.array(self.correlation)[order], np.array(self.external)[order]
        )
        launcher = np.where(launcher >= 0, same[launcher], -1)
        source = np.where(kind == "kernel", launcher, np.arange(len(kind)))
        is_range = kind == "range"
        step = inside(name, start, length, is_range, _STEP)
        phase = phases(name, start, length, is_range)
        timestep = timesteps(name, start, parent, is_range, np.array(self.sequence)[order])
        known = source >= 0
        for column in (step, phase, timestep):
            column[known] = column[source[known]]
        launched = launcher[launcher >= 0]
        device, launches = np.zeros(len(kind)), np.zeros(len(kind), np.int64)
        np.add.at(device, launched, length[launcher >= 0] / 1e9)
        np.add.at(launches, launched, 1)
        category = [
            "python" if k == "range" else "dispatch" if k == "runtime" else category_of(n)
            for k, n in zip(kind, name, strict=True)
        ]
        sizes = np.array(self.sizes, np.int64).reshape(-1, 2)[order]
        first = start.min() if len(start) else 0
        caller = np.where(kind == "kernel", launcher, np.where(nested, same[parent], -1))
        new_row = np.cumsum(keep) - 1
        caller = np.where(caller >= 0, new_row[caller], -1)
        every = pd.DataFrame(
            {
                "op": pd.Categorical(name),
                "kind": pd.Categorical(kind),
                "category": pd.Categorical(category),
                "thread": thread[order],
                "step": step,
                "phase": pd.Categorical(np.array(["", *PHASES])[phase], categories=["", *PHASES]),
                "timestep": timestep,
                "start": (start - first) / 1e9,
                "total_time": length / 1e9,
                "self_time": own / 1e9,
                "device_time": device,
                "launches": launches,
                "shape": pd.Categorical(np.array(self.shapes, dtype=object)[order]),
                "bytes": sizes[:, 0],
                "flops": sizes[:, 1],
                "parent": caller,
            }
        )
        return every[keep].reset_index(drop=True)


def _is_shapes(dims: Any) -> bool:
    """Whether arguments' shapes are lists of sizes, or lists of such for lists of tensors."""
    return all(_is_sizes(shape) or _is_list_of_sizes(shape) for shape in dims)


def _is_sizes(shape: Any) -> bool:
    return isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)


def _is_list_of_sizes(shapes: Any) -> bool:
    return isinstance(shapes, list) and all(map(_is_sizes, shapes))


def _text(value: object) -> str:
    """A value as text that can be encoded; JSON may hold lone surrogates."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _whole(value: object) -> int:
    return value if isinstance(value, int) and abs(value) < 1 << 62 else -1
