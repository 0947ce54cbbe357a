"""Tables of the page: all cases of each measure, scaling laws, and any frame."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchsuite import analysis, units
from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.axes import AXES

#: Columns that a cell of a measure's table is made from.
_SHOWN = [
    *AXES,
    *("unit", "value", "ci_low", "ci_high", "n_samples", "status", "reason", "warning"),
    *("unbounded", "unstable", "kernel", "width", "match_deviation"),
]
#: Values in all tables together at most, so that the page stays small; the files have all of them.
_CELLS = 12_000
_ROWS = 400
#: Rows of a table under a figure, and of a table of laws, at most.
_FEW = 150


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table: its text, sort key, details shown on hovering, and mark."""

    text: str
    sort: float | str
    detail: str = ""
    mark: str = ""  # "", "best", "unstable" or "none"


@dataclass(frozen=True, slots=True)
class Table:
    """A table that can be sorted and filtered.

    Attributes:
        title: A short name, such as a measure's.
        summary: One line on its contents.
        note: A remark that holds for all rows.
        heads: Column names.
        keys: Number of leading columns that identify a row.
        rows: Cells.
        more: Number of rows that are only in the file beside the page.
    """

    title: str
    summary: str
    note: str
    heads: Sequence[str]
    keys: int
    rows: Sequence[Sequence[Cell]]
    more: int = 0


def case_tables(chosen: pd.DataFrame) -> Iterator[Table]:
    """A table per measure: a row per shape, a column per model."""
    known = MEASURES.names()
    measures = sorted(
        chosen["measure"].unique(),
        key=lambda name: known.index(name) if name in known else len(known),
    )
    models = chosen["model"].nunique()
    limit = max(1, min(_ROWS, _CELLS // max(1, models * len(measures))))
    names = [*analysis.LINE, "seq_len"]
    for measure in measures:
        rows = analysis.where(chosen, chosen["measure"] == measure)
        own = list(rows["model"].unique())
        shown = [n for n in names if n == "seq_len" or varies(rows, n)]
        shapes = analysis.without_repeats(rows[names], names).sort_values(names)
        top = shapes.head(limit)
        if len(top) < len(shapes):
            rows = rows.merge(top, on=names)
        rows = rows.assign(unstable=analysis.is_unstable(rows))
        spec = MEASURES.get(measure) if measure in MEASURES.names() else None
        fixed = [n for n in names if n not in {*shown, "input_size"}]
        yield Table(
            title=str(measure),
            summary=spec.summary if spec else "",
            note=", ".join(f"{name}={rows[name].iloc[0]}" for name in fixed),
            heads=[*shown, *own],
            keys=len(shown),
            rows=_rows(rows, names, shown, own, ranked=spec is None or spec.direction == "lower"),
            more=len(shapes) - len(top),
        )


def varies(rows: pd.DataFrame, name: str) -> bool:
    """Whether a table has to show that axis; input_size only where it differs from hidden_size."""
    if name == "input_size":
        return bool((rows["input_size"] != rows["hidden_size"]).any())
    return bool(rows[name].nunique() > 1)


def _rows(
    rows: pd.DataFrame, names: list[str], shown: list[str], models: list[str], *, ranked: bool
) -> list[list[Cell]]:
    """One row per shape, with a cell per model."""
    shapes: dict[tuple[Any, ...], dict[str, Mapping[Hashable, Any]]] = {}
    for record in rows.sort_values(names, kind="stable")[_SHOWN].to_dict("records"):
        shapes.setdefault(tuple(record[n] for n in names), {})[record["model"]] = record
    found = []
    for records in shapes.values():
        values = [r["value"] for r in records.values() if ranked and r["status"] == "ok"]
        best = min(values) if len(values) > 1 else None
        first = next(iter(records.values()))
        keys = [plain(first[name]) for name in shown]
        found.append(keys + [_cell(records.get(model), best) for model in models])
    return found


def plain(value: Any) -> Cell:
    """A cell that shows a value unchanged."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(str(value), float(value) if number else str(value))


def _cell(record: Mapping[Hashable, Any] | None, best: float | None) -> Cell:
    if record is None:
        return Cell("", "", "not in the study", "none")
    if record["unbounded"] is True:
        return Cell(analysis.UNBOUNDED, float("inf"), str(record["reason"]))
    if record["status"] != "ok":
        return Cell(str(record["status"]), "", str(record["reason"]), "none")
    unit, value = str(record["unit"]), float(record["value"])
    parts = []
    if record["n_samples"] > 1:
        interval = f"{units.show(record['ci_low'], unit)} to {units.show(record['ci_high'], unit)}"
        parts.append(f"95 % interval {interval}, {record['n_samples']} samples")
    parts += [str(record[name]) for name in ("kernel", "warning") if record[name]]
    if record["match"] != "width":
        parts.append(f"width {record['width']}, {record['match_deviation']:+.1%} of the target")
    unstable = record["unstable"]
    mark = "best" if value == best else "unstable" if unstable else ""
    return Cell(units.show(value, unit) + " ?" * unstable, value, "; ".join(parts), mark)


def law_table(laws: pd.DataFrame, measure: str, unit: str) -> Table:
    """Scaling laws over sequence length (see `analysis.laws`)."""
    keys = _keys(laws)
    rows = [
        [
            *(plain(row[key]) for key in keys),
            _between(row, "overhead", unit),
            _between(row, "slope", unit),
            Cell(f"{row['exponent']:.2f}", row["exponent"], _ends(row, "exponent")),
            plain(row["regime"]),
            Cell("–", "") if pd.isna(row["changes_at"]) else _between(row, "changes_at", "step"),
        ]
        for row in laws.head(_FEW).to_dict("records")
    ]
    return Table(
        title=f"{measure.replace('_', ' ')}: scaling laws",
        summary="a + b·T, exponent p of c·T^p, and how a line grows (flat, linear, super-linear)",
        note="Hover over a value for its 95 % interval, which includes noise between processes.",
        heads=[*keys, "a", "b, per timestep", "p", "regime", "changes at T"],
        keys=len(keys),
        rows=rows,
        more=max(0, len(laws) - _FEW),
    )


def memory_table(lines: pd.DataFrame, memory: float | None) -> Table:
    """Bytes per timestep, and the longest sequence that fits (see `analysis.memory_lines`)."""
    keys = _keys(lines)
    rows = []
    for row in lines.head(_FEW).to_dict("records"):
        slopes = "exact" if row["exact"] else f"{row['low']:,.0f} to {row['high']:,.0f} B"
        cells = [
            *(plain(row[key]) for key in keys),
            Cell(f"{row['slope']:,.0f} B", row["slope"], slopes),
            Cell(_line(row), int(row["linear"]) + int(row["exact"]), slopes),
        ]
        if memory is not None:
            longest = row["largest_seq_len"]
            none = pd.isna(longest)
            cells.append(Cell("any" if none else f"{longest:,}", float("inf" if none else longest)))
        rows.append(cells)
    heads = [*keys, "per timestep", "linear"]
    if memory is not None:
        heads.append(f"longest T in {units.show(memory, 'B')}")
    return Table(
        title="peak memory: bytes per timestep",
        summary="memory per further timestep, and the longest sequence that would fit",
        note="Linear: all lengths lie exactly on a line, or within 1 % of one. The longest T"
        " extends the line beyond the lengths measured.",
        heads=heads,
        keys=len(keys),
        rows=rows,
        more=max(0, len(lines) - _FEW),
    )


def _line(row: Mapping[Hashable, Any]) -> str:
    return "exactly" if row["exact"] else "within 1 %" if row["linear"] else "no"


def frame_table(frame: pd.DataFrame, title: str) -> Table:
    """A table of any frame, with numbers to four digits."""
    shown = frame.head(_FEW)
    rows = [
        [_number(value) if isinstance(value, float) else plain(value) for value in row]
        for row in shown.itertuples(index=False)
    ]
    names = [str(name).replace("_", " ") for name in frame.columns]
    return Table(title, "", "", names, len(names), rows, max(0, len(frame) - _FEW))


def _number(value: float) -> Cell:
    if pd.isna(value):
        return Cell("–", "")
    return Cell(f"{value:,.0f}" if value.is_integer() else f"{value:.4g}", value)


def _keys(frame: pd.DataFrame) -> list[str]:
    names = [n for n in analysis.LINE if varies(frame, n)]
    return ["model", *names]


def _between(row: Mapping[Hashable, Any], name: str, unit: str) -> Cell:
    low, high = (units.show(row[f"{name}_{end}"], unit) for end in ("low", "high"))
    return Cell(units.show(row[name], unit), row[name], f"{low} to {high}")


def _ends(row: Mapping[Hashable, Any], name: str) -> str:
    return f"{row[f'{name}_low']:.2f} to {row[f'{name}_high']:.2f}"
