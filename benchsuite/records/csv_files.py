"""CSV files whose texts a spreadsheet shows, instead of computing them as formulas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: How a text begins that spreadsheets compute (OWASP, "CSV Injection").
_FORMULA = r"^[=+\-@\t\r\n]"
#: Texts that are numbers, which spreadsheets read as such.
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def write_csv(table: pd.DataFrame | pa.Table, path: Path, *, compress: bool = False) -> None:
    """Write a table as CSV with a line of names.

    A text that a spreadsheet would compute as a formula has an apostrophe before it, names of
    columns included. Numbers stay numbers. Arrow writes CSV ten times as fast as pandas.

    Args:
        table: A table without lists. The index of a frame is not written.
        path: The file; an existing one is replaced.
        compress: Compress the file with gzip.

    Raises:
        OSError: if the file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import csv

    if not isinstance(table, pa.Table):
        table = pa.Table.from_pandas(table, preserve_index=False)
    with pa.output_stream(path, compression="gzip" if compress else None) as out:
        csv.write_csv(defused(table), out)


def defused(table: pa.Table) -> pa.Table:
    """A table without lists, with an apostrophe before each text that is like a formula."""
    import pyarrow as pa

    names = _without_formulas(pa.chunked_array([pa.array(table.column_names, pa.string())]))
    columns = [_without_formulas(column) for column in table.columns]
    return pa.table(columns, names=names.to_pylist())


def _without_formulas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column whose texts that begin like a formula have an apostrophe before them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return column
    if not pc.any(_is_formula(pc.unique(column)), min_count=0).as_py():
        return column
    apostrophe, nothing = pa.scalar("'", column.type), pa.scalar("", column.type)
    marked = pc.binary_join_element_wise(apostrophe, column, nothing)
    return pc.if_else(_is_formula(column), marked, column)


def _is_formula(texts: Any) -> Any:
    import pyarrow.compute as pc

    formula = pc.match_substring_regex(texts, _FORMULA)
    return pc.and_(formula, pc.invert(pc.match_substring_regex(texts, _NUMBER)))
