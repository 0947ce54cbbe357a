"""The section "Where the lines cross": words first, then the table."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchsuite import analysis
from benchsuite.report.tables import Cell, Table, plain, varies

#: Measures whose lines are compared.
COMPARED = ("latency", "peak_memory")
FILE_NAME = "crossovers.csv"
#: Sentences of a measure.
_WORDS = 60
#: Rows on the page; the file beside it has all of them.
_ROWS = 400


def crossing_tables(chosen: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`analysis.crossovers` of every measure compared that has any."""
    tables = {measure: analysis.crossovers(chosen, measure) for measure in COMPARED}
    return {measure: table for measure, table in tables.items() if len(table)}


def write_crossings(tables: dict[str, pd.DataFrame], directory: Path) -> Path:
    """Write all of them as one CSV file."""
    path = directory / FILE_NAME
    named = [table.assign(measure=measure) for measure, table in tables.items()]
    pd.concat(named or [pd.DataFrame()]).to_csv(path, index=False)
    return path


def crossing_words(table: pd.DataFrame, family: Mapping[str, str]) -> list[str]:
    """A sentence per kind of cases and pair of models of different families, up to a limit.

    Args:
        table: From `analysis.crossovers`.
        family: Model → family (see `analysis.families_of`).
    """
    table = table[table["a"].map(family) != table["b"].map(family)]
    told = analysis.told_axes(table)
    groups = table.groupby([*told, "a", "b"], sort=False)
    found = []
    for (*key, a, b), rows in itertools.islice(groups, _WORDS):
        where = ", ".join(analysis.told_axis(n, v) for n, v in zip(told, key, strict=True))
        found.append(f"{where}: {_pair(str(a), str(b), rows)}.")
    left = groups.ngroups - len(found)
    return [*found, f"{left} more such sentences are left out."] if left else found


def _pair(a: str, b: str, rows: pd.DataFrame) -> str:
    count = rows["verdict"].value_counts()
    parts = [
        f"{low} is below {high} at every length in {count[verdict]} of {len(rows)} lines"
        for verdict, low, high in (("a always", a, b), ("b always", b, a))
        if verdict in count
    ]
    crossed = rows[rows["verdict"] == "crosses"]
    if len(crossed):
        low, high = crossed["seq_len"].min(), crossed["seq_len"].max()
        where = f"T = {low:.0f}" if len(crossed) == 1 else f"T = {low:.0f} to {high:.0f}"
        parts.append(f"{a} and {b} cross in {len(crossed)} of {len(rows)}, at {where}")
    rest = len(rows) - len(crossed) - sum(count.get(v, 0) for v in ("a always", "b always"))
    if rest:
        parts.append(f"in {rest} of {len(rows)} neither is consistently lower")
    return "; ".join(parts)


def crossing_section(
    tables: dict[str, pd.DataFrame], family: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What the page shows of each measure: words and a table of all lines."""
    shown = []
    for measure, table in tables.items():
        name = measure.replace("_", " ")
        keys = [n for n in analysis.LINE if varies(table, n)]
        rows = [
            [
                *(plain(row[key]) for key in keys),
                plain(f"{row['a']}, {row['b']}"),
                _length(row["seq_len"]),
                plain(analysis.crossover_sentence(row)),
            ]
            for row in table.head(_ROWS).to_dict("records")
        ]
        heads = [*keys, "models", "T*", "where they cross"]
        more = max(0, len(table) - _ROWS)
        shown.append(
            {
                "measure": name,
                "words": crossing_words(table, family),
                "table": Table(
                    f"{name}: every pair and line", "", "", heads, len(keys), rows, more
                ),
            }
        )
    return shown


def _length(seq_len: float) -> Cell:
    return Cell("–", "") if pd.isna(seq_len) else Cell(f"{seq_len:.0f}", seq_len)
