"""Reorders the grid of asv's benchmarks for reading: models first, then sequence lengths.

asv draws the first eight lines of a grid, the first axis varying fastest, and lists every point as
a tuple. Axes with one value are moved from the tuples into the benchmark's description. Values
without measurements, such as a device that the machine does not have, are removed.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.axes import AXES

#: The axes shown first; the others follow in the order of `AXES`.
_FIRST_AXES = ("model", "seq_len", "batch_size", "hidden_size")
_AXIS_ORDER = (*_FIRST_AXES, *(name for name in AXES if name not in _FIRST_AXES))

Point = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The layout of one benchmark's points.

    Attributes:
        axes: Indices, in asv's tuples, of the axes that are shown, in reading order.
        values: The values of each of these axes.
        fixed: Index in asv's tuples → value, for each other axis.
    """

    axes: tuple[int, ...]
    values: tuple[list[str], ...]
    fixed: dict[int, str]

    def points(self) -> list[Point]:
        """asv's points in the order in which they are shown."""
        points = []
        for values in itertools.product(*self.values):
            known = self.fixed | dict(zip(self.axes, values, strict=True))
            points.append(tuple(known[i] for i in range(len(known))))
        return points


def arrange(benchmarks: dict[str, Any], results: Sequence[dict[str, Any]]) -> None:
    """Reorder benchmarks and their results in the same way, in place.

    Args:
        benchmarks: asv's `benchmarks.json`, without its version.
        results: asv's result files.
    """
    for name, about in benchmarks.items():
        rows = [_Row(data, name) for data in results if name in data["results"]]
        rows = [row for row in rows if len(row.params) == len(about["params"])]
        layout = _layout(about, {point for row in rows for point in row.measured()})
        for row in rows:
            row.arrange(layout)
        about["code"] = _description(name, about, layout)
        about["param_names"] = [about["param_names"][i] for i in layout.axes]
        about["params"] = [[_bare(value) for value in values] for values in layout.values]


def _layout(about: dict[str, Any], measured: set[Point]) -> _Layout:
    names, params = about["param_names"], about["params"]
    present = [{point[i] for point in measured} for i in range(len(names))]
    kept = [[v for v in values if v in present[i]] or values for i, values in enumerate(params)]
    order = sorted(range(len(names)), key=lambda i: _rank(names[i]))
    axes = tuple(i for i in order if len(kept[i]) > 1) or tuple(order[:1])
    fixed = {i: kept[i][0] for i in order if i not in axes}
    return _Layout(axes, tuple(kept[i] for i in axes), fixed)


def _rank(name: str) -> int:
    return _AXIS_ORDER.index(name) if name in _AXIS_ORDER else len(_AXIS_ORDER)


class _Row:
    """One benchmark's row in a result file."""

    def __init__(self, data: dict[str, Any], name: str) -> None:
        self._cells = data["results"][name]
        self._columns = data["result_columns"]
        self.params: list[list[str]] = self._cell("params") or []

    def _cell(self, column: str) -> Any:
        index = self._columns.index(column) if column in self._columns else len(self._cells)
        return self._cells[index] if index < len(self._cells) else None

    def measured(self) -> Iterable[Point]:
        """Yield the points that have a number."""
        points, values = itertools.product(*self.params), self._cell("result") or []
        for point, value in zip(points, values, strict=False):
            if value is not None and not math.isnan(value):
                yield point

    def arrange(self, layout: _Layout) -> None:
        """Reorder the row's values to match the layout."""
        old = list(itertools.product(*self.params))
        for index, (column, cell) in enumerate(zip(self._columns, self._cells, strict=False)):
            if column == "params":
                self._cells[index] = [[_bare(v) for v in values] for values in layout.values]
            elif isinstance(cell, list):
                known = dict(zip(old, cell, strict=False))
                self._cells[index] = [known.get(point) for point in layout.points()]


def _bare(value: str) -> str:
    """A string without Python's quotes; other values unchanged."""
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    return parsed if isinstance(parsed, str) else value


def _description(name: str, about: dict[str, Any], layout: _Layout) -> str:
    """Text that asv shows on hovering instead of the code: meaning, direction and fixed axes."""
    measure = name.rpartition(".track_")[2]
    lines = [str(about.get("code", ""))]
    if measure in MEASURES.names():
        spec = MEASURES.get(measure)
        better = {True: "higher is better", False: "lower is better"}[spec.of_machine]
        known = spec.of_machine or spec.direction == "lower"
        lines = [f"{spec.summary}; {spec.unit}" + (f"; {better}" if known else "")]
    fixed = [f"{about['param_names'][i]} {_bare(value)}" for i, value in layout.fixed.items()]
    return "\n".join([*lines, ", ".join(fixed)]).strip()
