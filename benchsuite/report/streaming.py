"""The section on streams: a sentence per setting, and a table of medians and tails."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from benchsuite import analysis
from benchsuite.report.tables import Cell, Table, plain, varies
from benchsuite.units import show

_ROWS = 400
_HEADS = {"value": "p50", "p99": "p99", "p999": "p99.9", "worst": "longest"}
#: Axes that the table names in columns of every page, and others where they vary.
_ALWAYS = ("seq_len", "chunk")


def stream_table(table: pd.DataFrame) -> Table:
    """A row per model and setting: median and tail of its calls, what it keeps and what it sees.

    Args:
        table: From `analysis.streaming.calls`.
    """
    keys = [n for n in analysis.SHAPE if n in _ALWAYS or (n != "mode" and varies(table, n))]
    ordered = table.sort_values([*keys, "value"], kind="stable")
    names = {"seq_len": "field asked for", "batch_size": "B", "hidden_size": "H"}
    return Table(
        title="Calls of streams",
        summary="median and tail of the time of a call, state and field of every model",
        note="State: what is kept between two calls so that nothing is computed twice. Field:"
        " timesteps that an output sees. A quantile needs enough calls: 100 for p99, 1,000 for"
        " p99.9.",
        heads=[
            *("model", *(names.get(key, key) for key in keys), *_HEADS.values()),
            *("calls", "state", "field", "past"),
        ],
        keys=1 + len(keys),
        rows=[_cells(row, keys) for row in ordered.head(_ROWS).to_dict("records")],
        more=max(0, len(ordered) - _ROWS),
    )


def _cells(row: Mapping[Hashable, Any], keys: list[str]) -> list[Cell]:
    field = float(row["field"])
    text = analysis.UNBOUNDED if field == float("inf") else f"{field:.0f}"
    return [
        plain(row["model"]),
        *(plain(row[key]) for key in keys),
        *(_quantity(row[name], "s") for name in _HEADS),
        plain(int(row["n_samples"])),
        _quantity(row["state"], "B"),
        Cell("–", "") if pd.isna(field) else Cell(text, field),
        plain(row["method"]),
    ]


def _quantity(value: Any, unit: str) -> Cell:
    if pd.isna(value):
        return Cell("–", "", "too few calls, or not measured", "none")
    return Cell(show(float(value), unit), float(value))
