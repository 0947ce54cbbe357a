"""The section on crossings of two models' lines: sentences, then a table of all lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from benchsuite import analysis
from benchsuite.records.csv_files import write_csv
from benchsuite.report.tables import Cell, Table, plain, varies

#: Measures whose lines are compared.
COMPARED = ("latency", "peak_memory")
FILE_NAME = "crossovers.csv"
#: Sentences of a measure at most.
_SENTENCES = 60
#: Pairs of models up to which all get a sentence; of more, those of the fastest executions where it
#: depends on the length or the line which model is lower.
_PAIRS = 20
#: Rows on the page at most; the file beside it has all of them.
_ROWS = 400


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence on a pair of models, and whether their lines cross."""

    text: str
    crosses: bool = False


def crossing_tables(
    chosen: pd.DataFrame, floors: Mapping[str, analysis.Noise] = MappingProxyType({})
) -> dict[str, pd.DataFrame]:
    """Measure → its crossovers (see `analysis.crossovers`), where there are any.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        floors: Noise floors by measure; others are estimated from the frame.
    """
    tables = {
        measure: analysis.crossovers(chosen, measure, noise=floors.get(measure))
        for measure in COMPARED
    }
    return {measure: table for measure, table in tables.items() if len(table)}


def write_crossings(tables: dict[str, pd.DataFrame], directory: Path) -> Path:
    """Write all of them as one CSV file."""
    path = directory / FILE_NAME
    named = [table.assign(measure=measure) for measure, table in tables.items()]
    write_csv(pd.concat(named or [pd.DataFrame()]), path)
    return path


def crossing_sentences(
    table: pd.DataFrame, family: Mapping[str, str], models: Collection[str]
) -> list[Sentence]:
    """A sentence per kind of cases and pair of models of different families, up to a limit.

    Args:
        table: From `analysis.crossovers`.
        family: Model → family (see `analysis.families_of`).
        models: Models that take part where there are many pairs.
    """
    table = table[table["a"].map(family) != table["b"].map(family)]
    many = len(table.drop_duplicates(["a", "b"])) > _PAIRS
    if many:
        table = table[table["a"].isin(models) & table["b"].isin(models)]
    named = analysis.axes_to_name(table)
    groups = list(table.groupby([*named, "a", "b"], sort=False))
    shown = [(key, rows) for key, rows in groups if not many or not _settled(rows)]
    sentences = []
    for (*key, a, b), rows in shown[:_SENTENCES]:
        where = ", ".join(analysis.axis_words(n, v) for n, v in zip(named, key, strict=True))
        crosses = bool((rows["verdict"] == "crosses").any())
        sentences.append(Sentence(f"{where}: {_pair(str(a), str(b), rows)}.", crosses))
    settled = len(groups) - len(shown)
    if settled:
        sentences.append(
            Sentence(
                f"In the other {settled} of {len(groups)} comparisons one model is lower at every"
                " length of every line; the table has them."
            )
        )
    left = len(shown) - _SENTENCES
    if left > 0:
        sentences.append(Sentence(f"{left} more pairs are in the table only."))
    return sentences


def _settled(rows: pd.DataFrame) -> bool:
    """Whether the same model is lower at every length of every line."""
    return rows["verdict"].nunique() == 1 and rows["verdict"].iloc[0] in {"a always", "b always"}


def _pair(a: str, b: str, rows: pd.DataFrame) -> str:
    count = rows["verdict"].value_counts()
    parts = [
        f"{low} is lower than {high} at every length in {count[verdict]} of {len(rows)} lines"
        for verdict, low, high in (("a always", a, b), ("b always", b, a))
        if verdict in count
    ]
    crossed = rows[rows["verdict"] == "crosses"]
    if len(crossed):
        low, high = crossed["seq_len"].min(), crossed["seq_len"].max()
        where = f"T = {low:.0f}" if len(crossed) == 1 else f"T = {low:.0f} to {high:.0f}"
        parts.append(f"{a} and {b} cross in {len(crossed)} of {len(rows)} lines, at {where}")
    rest = len(rows) - len(crossed) - sum(count.get(v, 0) for v in ("a always", "b always"))
    if rest:
        parts.append(f"in {rest} of {len(rows)} lines neither model is consistently lower")
    return "; ".join(parts)


def crossing_section(
    tables: dict[str, pd.DataFrame], family: Mapping[str, str], models: Collection[str]
) -> list[dict[str, Any]]:
    """For each measure the sentences and the table of all lines that the page shows.

    Args:
        tables: From `crossing_tables`.
        family: As for `crossing_sentences`.
        models: As for `crossing_sentences`.
    """
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
                "sentences": crossing_sentences(table, family, models),
                "table": Table(
                    f"{name}: all pairs and lines", "", "", heads, len(keys), rows, more
                ),
            }
        )
    return shown


def _length(seq_len: float) -> Cell:
    return Cell("–", "") if pd.isna(seq_len) else Cell(f"{seq_len:.0f}", seq_len)
