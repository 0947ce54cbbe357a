"""The section on executions of one mathematics: sentences, figures, ratios and crossings."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from benchsuite import analysis
from benchsuite.report.figures.slices import evenly
from benchsuite.report.tables import Cell, Table, plain, varies
from benchsuite.units import two_digits

#: Lengths that have a column, at most; the data beside the figures have all.
_LENGTHS = 6
_ROWS = 400


def ratio_table(table: pd.DataFrame) -> Table:
    """A row per execution and line over T: how many times as fast as the baseline at each length.

    Args:
        table: From `analysis.executions`.
    """
    keys = [name for name in analysis.LINE if varies(table, name)]
    lengths = evenly(table["seq_len"], _LENGTHS)
    reference = str(table["reference"].iloc[0])
    longest = lengths[-1]
    rows = []
    lines = table.groupby(["model", *keys], sort=False)
    for (_, *key), own in itertools.islice(lines, _ROWS):
        at = {row["seq_len"]: row for row in own.to_dict("records")}
        first = own.iloc[0]
        names = [analysis.executed(first[name]) for name in ("model", "baseline")]
        cells = [plain(names[0]), *map(plain, key), plain(names[1])]
        cells += [
            _ratio(at.get(length), "", first["model"] == first["baseline"]) for length in lengths
        ]
        if reference:
            cells.append(_ratio(at.get(longest), "reference_", first["model"] == reference))
        errors = own[analysis.ERROR].dropna()
        cells.append(Cell(f"{errors.max():,.3g}", errors.max()) if len(errors) else Cell("–", ""))
        rows.append(cells)
    heads = ["model", *map(_letter, keys), "baseline", *(f"T={length}" for length in lengths)]
    heads += [analysis.executed(reference)] if reference else []
    beside = f" {heads[-1]}: as fast as it at T={longest}." if reference else ""
    return Table(
        title="Speed of each execution",
        summary="how many times as fast as the baseline, with 95 % intervals",
        note=f"≈: not distinguishable from the baseline.{beside} Error: the row's greatest numeric"
        " error.",
        heads=[*heads, "error, ulp"],
        keys=1 + len(keys),
        rows=rows,
        more=lines.ngroups - len(rows),
    )


def _ratio(row: Mapping[Hashable, Any] | None, prefix: str, same: bool) -> Cell:
    """A ratio with its interval."""
    if row is None or pd.isna(row[f"{prefix}ratio"]):
        return Cell("–", "", "no value here or of the baseline", "none")
    if same:
        return Cell("1", 1.0)
    value, low, high = (float(row[f"{prefix}{name}"]) for name in ("ratio", "low", "high"))
    mark = "≈" if low <= 1 <= high else ""
    return Cell(f"{mark}{two_digits(value)} ({two_digits(low)}–{two_digits(high)})", value)


def crossing_table(crossed: pd.DataFrame) -> Table:
    """Where the lines of two executions cross.

    Args:
        crossed: From `analysis.execution_crossings`.
    """
    keys = [name for name in analysis.LINE if varies(crossed, name)]
    first = crossed["verdict"].str.startswith("crosses")
    rows = [
        [
            plain(f"{row['a']}, {row['b']}"),
            *(plain(row[key]) for key in keys),
            *map(_length, (row["seq_len"], row["low"], row["high"])),
            plain(_lower(row)),
        ]
        for row in pd.concat([crossed[first], crossed[~first]]).head(_ROWS).to_dict("records")
    ]
    return Table(
        title="Crossings of executions",
        summary="T* between two executions of one mathematics, with its 95 % interval",
        note="Those that cross come first.",
        heads=["executions", *map(_letter, keys), "T*", "from", "to", "lower"],
        keys=1 + len(keys),
        rows=rows,
        more=max(0, len(crossed) - _ROWS),
    )


def _letter(axis: str) -> str:
    return {"batch_size": "B", "hidden_size": "H"}.get(axis, axis)


def _length(value: float) -> Cell:
    return Cell("–", "") if pd.isna(value) else Cell(f"{value:.0f}", value)


def _lower(row: Mapping[Hashable, Any]) -> str:
    """Which execution is lower: a name, two names in the order of T, or what else holds."""
    match row["verdict"]:
        case "a always":
            return str(row["a"])
        case "b always":
            return str(row["b"])
        case "crosses":
            start = {name: float(row[f"{name}_below"].partition(",")[0]) for name in "ab"}
            return ", then ".join(str(row[name]) for name in sorted(start, key=start.__getitem__))
        case verdict:
            return str(verdict)
