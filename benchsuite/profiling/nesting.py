"""Structure of a trace: nesting of calls, launches of kernels, phases and timesteps.

Rows are sorted by thread, then by start, then the longer first: a call comes before all calls
nested in it. Times are nanoseconds.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
PHASES = ("forward", "backward", "optimiser")
_TIMESTEP = re.compile(r"timestep (\d{1,15})(?!\d)")  # a longer number does not fit
_NODE = "autograd::engine::evaluate_function"
#: Tolerance in ns: microseconds with three decimals are not exact in a float.
_SLACK = 2


def parents(thread: NDArray[Any], start: Ints, end: Ints, device: NDArray[Any]) -> Ints:
    """For each row the row it is nested in, or -1; kernels are not nested."""
    parents = np.full(len(start), -1, np.int64)
    stack: list[int] = []
    current: object = None
    starts, ends, threads = start.tolist(), end.tolist(), thread.tolist()
    for row, on_device in enumerate(device.tolist()):
        if on_device:
            continue
        if threads[row] != current:
            stack, current = [], threads[row]
        while stack and (ends[stack[-1]] <= starts[row] or ends[row] > ends[stack[-1]] + _SLACK):
            stack.pop()
        if stack:
            parents[row] = stack[-1]
        stack.append(row)
    return parents


def twins(name: NDArray[Any], parent: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Calls whose only call is to the same name, as overloads of an operator make.

    torch counts both as one call.

    Returns:
        For each row the row it is counted in, and whether that is the row itself.
    """
    nested = parent >= 0
    children = np.bincount(parent[nested], minlength=len(parent))
    twin = nested & (children[parent] == 1) & (name == name[parent])
    same = np.arange(len(parent))
    for row in np.flatnonzero(twin).tolist():  # a parent comes before its children
        same[row] = same[parent[row]]
    return same, ~twin


def launchers(kind: NDArray[Any], parent: Ints, correlation: Ints, external: Ints) -> Ints:
    """For each kernel, the row of the operator (or range) that launched it; -1 for the others."""
    found = np.full(len(kind), -1, np.int64)
    runtime = {int(correlation[r]): int(r) for r in np.flatnonzero(kind == "runtime")}
    op = {int(external[r]): int(r) for r in np.flatnonzero(kind == "op")}
    for row in np.flatnonzero(kind == "kernel").tolist():
        call = runtime.get(int(correlation[row]), -1)
        while call >= 0 and kind[call] == "runtime":
            call = int(parent[call])
        found[row] = call if call >= 0 else op.get(int(external[row]), -1)
    return found


def inside(
    name: NDArray[Any], start: Ints, length: Ints, is_range: NDArray[Any], rule: re.Pattern[str]
) -> Ints:
    """For each row, the number in the name of the range in which it began, on any thread."""
    matches = {int(row): rule.fullmatch(str(name[row])) for row in np.flatnonzero(is_range)}
    rows = sorted((row for row, match in matches.items() if match), key=lambda row: start[row])
    numbers = [int(match[1]) for row in rows if (match := matches[row])]
    return _by_time(start, length, rows, numbers, -1)


def phases(name: NDArray[Any], start: Ints, length: Ints, is_range: NDArray[Any]) -> Ints:
    """For each row, one more than the index of its phase, by time and on all threads.

    On a GPU the backward pass has a thread to itself.
    """
    rows = [int(row) for row in np.flatnonzero(is_range) if name[row] in PHASES]
    rows.sort(key=lambda row: start[row])
    return _by_time(start, length, rows, [PHASES.index(name[row]) + 1 for row in rows], 0)


def _by_time(start: Ints, length: Ints, rows: list[int], values: list[int], none: int) -> Ints:
    """For each row the value of the range in which it began; `rows` do not overlap."""
    if not rows:
        return np.full(len(start), none, np.int64)
    begins, ends = start[rows], start[rows] + length[rows]
    last = np.searchsorted(begins, start, side="right") - 1
    within = (last >= 0) & (start < ends[last])
    return np.where(within, np.array(values, np.int64)[last], none)


def timesteps(
    name: NDArray[Any], start: Ints, parent: Ints, is_range: NDArray[Any], sequence: Ints
) -> Ints:
    """The timestep of each row: by nesting in the forward pass, by sequence number in backward.

    A node of the backward pass carries autograd's sequence number of the forward operator that made
    it; of several operators with the same number the last one made the node.
    """
    own = np.full(len(name), -1, np.int64)
    for row in np.flatnonzero(is_range).tolist():
        match = _TIMESTEP.match(str(name[row]))
        if match:
            own[row] = int(match[1])
    rows, parents = range(len(name)), parent.tolist()
    found = own.tolist()
    for row in rows:  # a parent comes before its children
        if found[row] < 0 and parents[row] >= 0:
            found[row] = found[parents[row]]
    node = np.array([str(n).startswith(_NODE) for n in name], bool)
    made: dict[int, int] = {}
    numbers = sequence.tolist()
    backward = _descend(node, parents)
    forward = np.flatnonzero((sequence >= 0) & ~backward)
    for row in forward[np.argsort(start[forward], kind="stable")].tolist():
        made[numbers[row]] = found[row]
    for row in np.flatnonzero(node).tolist():
        found[row] = made.get(numbers[row], -1)
    for row in np.flatnonzero(backward & ~node).tolist():
        found[row] = found[parents[row]]
    return np.array(found, np.int64)


def _descend(node: NDArray[Any], parents: list[int]) -> NDArray[Any]:
    """Whether each row is a node or nested in one."""
    inside = node.tolist()
    for row, parent in enumerate(parents):
        if parent >= 0 and inside[parent]:
            inside[row] = True
    return np.array(inside, bool)
