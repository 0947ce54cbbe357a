"""The section on executions of one mathematics: sentences, figures, ratios and crossings."""

from __future__ import annotations

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
    for (_, *key), own in table.groupby(["model", *keys], sort=False):
        at = {row["seq_len"]: row for row in own.to_dict("records")}
        first = own.iloc[0]
        cells = [plain(first["mathematics"]), plain(analysis.executed(first["model"]))]
        cells += [*map(plain, key), plain(analysis.executed(first["baseline"]))]
        cells += [
            _ratio(at.get(length), "", first["model"] == first["baseline"]) for length in lengths
        ]
        if reference:
            cells.append(_ratio(at.get(longest), "reference_", first["model"] == reference))
        errors = own[analysis.ERROR].dropna()
        cells.append(Cell(f"{errors.max():,.3g}", errors.max()) if len(errors) else Cell("–", ""))
        rows.append(cells)
    heads = ["mathematics", "model", *keys, "baseline", *(f"T={length}" for length in lengths)]
    heads += [f"{analysis.executed(reference)}, T={longest}"] if reference else []
    return Table(
        title="Speed of each execution",
        summary="times as fast as the baseline, with 95 % intervals",
        note="≈: not distinguishable from the baseline. The last column is the row's greatest"
        " numeric error.",
        heads=[*heads, "error, ulp"],
        keys=2 + len(keys),
        rows=rows[:_ROWS],
        more=max(0, len(rows) - _ROWS),
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
            plain(row["mathematics"]),
            *(plain(row[key]) for key in keys),
            plain(f"{row['a']}, {row['b']}"),
            Cell("–", "")
            if pd.isna(row["seq_len"])
            else Cell(f"{row['seq_len']:.0f}", row["seq_len"]),
            plain(analysis.crossover_sentence(row)),
        ]
        for row in pd.concat([crossed[first], crossed[~first]]).head(_ROWS).to_dict("records")
    ]
    return Table(
        title="Crossings of executions",
        summary="T* between two executions of one mathematics",
        note="Those that cross come first.",
        heads=["mathematics", *keys, "executions", "T*", "where they cross"],
        keys=1 + len(keys),
        rows=rows,
        more=max(0, len(crossed) - _ROWS),
    )
