"""Columns as frames, and reading and writing of table files."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import DEFAULTS
from benchsuite.records.columns import Columns, Repeated, arrow_type
from benchsuite.records.csv_files import defused
from benchsuite.records.schema import SCHEMA

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


#: Columns that every row has a value of.
REQUIRED = frozenset(
    {"uid", "status", "schema", *(axis.name for axis in AXES.values() if axis.since == 1)}
)
#: Most rows of a table, and most bytes of one of its row groups.
MAX_ROWS, MAX_GROUP = 20_000_000, 4 << 30
#: Rows of the array that stands for a column of one text.
_PIECE = 10_000
#: Rows of a table that are written at a time.
_ROWS = 100_000


def frame_of(columns: Columns) -> pd.DataFrame:
    """Columns as a frame, which is all that is left of them; see `_series`."""
    import pandas as pd

    # Nothing else refers to a column, so that it is released once it is converted.
    content = {name: _series(name, columns.pop(name)) for name in columns.names}
    return pd.DataFrame(content, copy=False)


def _series(name: str, column: Repeated | pa.ChunkedArray) -> Any:
    """A column as pandas holds it; integers with missing values stay integers.

    A column of one text refers to a short array again and again, so that it takes no space.
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    kind = SCHEMA[name].kind
    if isinstance(column, Repeated):
        if kind == "float":
            return np.full(column.count, np.nan if column.value is None else column.value, float)
        if kind == "str" and column.value is not None:
            piece = pa.array([column.value] * min(column.count, _PIECE), arrow_type(name))
            whole, rest = divmod(column.count, _PIECE)
            pieces = [*[piece] * whole, piece.slice(0, rest)] if whole else [piece]
            return pd.array(pa.chunked_array(pieces), dtype="str")
        column = pa.chunked_array([column.array(name)])
    if kind == "str":
        return pd.array(column.cast(arrow_type(name)).combine_chunks(), dtype="str")
    if name == "samples":
        return pd.arrays.ArrowExtensionArray(column)
    if kind == "floats":  # few rows have one
        return pd.Series(column.to_pylist(), dtype=object)
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    numbers = column.to_pandas(types_mapper=nullable.get)
    # Arrow's own memory is read-only; a frame can be assigned to.
    shared = isinstance(numbers.array, pd.arrays.NumpyExtensionArray)
    return numbers.copy() if shared else numbers


def read_parquet(path: Path, names: Iterable[str], problems: list[str]) -> pd.DataFrame:
    """Read columns of a `records.parquet`; derived ones are derived again.

    Rows with a value that `SCHEMA` does not allow are reported and skipped.

    Args:
        path: The file.
        names: The columns that are wanted.
        problems: A list to which sentences on skipped rows are appended.

    Raises:
        UsageError: if it is not such a file, or too large.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns = Columns(names)
    texts = [name for name in columns.read if SCHEMA[name].kind == "str"]
    try:
        with parquet.ParquetFile(path) as file:
            _check_size(file.metadata)
            there = file.schema_arrow.names
        for column in (column for column in SCHEMA.values() if column.stored):
            if there.count(column.name) > 1:
                raise KeyError(f"column {column.name!r} is there {there.count(column.name)} times")
            if column.name not in there and column.since == 1:
                raise KeyError(f"column {column.name!r} is missing")
        with parquet.ParquetFile(path, read_dictionary=[n for n in texts if n in there]) as file:
            table = file.read(columns=[name for name in columns.read if name in there])
        for name in (name for name in columns.read if name not in there):
            table = table.append_column(name, _absent(name, len(table)))
        table = pa.table({name: _cast(table[name], arrow_type(name)) for name in columns.read})
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or ["unreadable"])[0][:200]
        raise UsageError(
            f"{str(path)!r} is not a table of records ({reason.strip(chr(34))}); name a"
            " records.parquet written by `benchsuite report`, or a records.jsonl"
        ) from error
    columns.extend_by(_sound(table, path.name, problems))
    return frame_of(columns)


def _check_size(metadata: Any) -> None:
    """Refuse a file whose content would not fit into memory.

    Raises:
        KeyError: with the reason.
    """
    if metadata.num_rows > MAX_ROWS:
        raise KeyError(f"{metadata.num_rows:,} rows; at most {MAX_ROWS:,} are read")
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        columns = list(map(group.column, range(group.num_columns)))
        size = sum(column.total_uncompressed_size for column in columns)
        numbers = max((column.num_values for column in columns), default=0)
        if size > MAX_GROUP or numbers > MAX_GROUP // 8:
            raise KeyError(f"a row group of more than {MAX_GROUP >> 30} GiB")


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    if not pa.types.is_large_string(kind):
        return column.cast(kind)
    if not pa.types.is_dictionary(column.type):
        column = column.cast(kind).dictionary_encode()
    if column.type.value_type != kind:
        column = column.cast(pa.dictionary(pa.int32(), kind))
    return column.unify_dictionaries()


def _sound(table: pa.Table, name: str, problems: list[str]) -> pa.Table:
    """The rows whose values are allowed; others are reported, by column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    sound = None
    for field in table.schema:
        column, values = SCHEMA[field.name], table[field.name]
        if column.kind == "bool":
            continue
        low, high = column.bounds
        if pa.types.is_dictionary(field.type):
            texts = values.chunk(0).dictionary if values.num_chunks else pa.array([], pa.string())
            lengths = pc.utf8_length(texts)
            good = pc.and_(pc.greater_equal(lengths, int(low)), pc.less_equal(lengths, int(high)))
            if column.choices:
                good = pc.is_in(texts, pa.array(column.choices, texts.type))
            if pc.all(good, min_count=0).as_py() and not (
                column.name in REQUIRED and values.null_count
            ):
                continue
            fine = pc.take(good, pc.cast(_indices(values), pa.int64()))
        elif column.kind == "floats":
            flat = values.combine_chunks()
            each = _between(flat.flatten(), low, high)
            if pc.all(each, min_count=0).as_py():
                continue
            bad = pc.unique(pc.list_parent_indices(flat).filter(pc.invert(each)))
            fine = pc.invert(pc.is_in(pa.array(range(len(flat)), bad.type), bad))
        else:
            fine = _between(values, low, high)
        fine = pc.fill_null(fine, column.name not in REQUIRED)
        lost = len(fine) - (pc.sum(fine).as_py() or 0)
        if lost:
            problems.append(
                f"{name}: {lost:,} rows with {column.name} that is not allowed, skipped;"
                f" {column.allowed}"
            )
            sound = fine if sound is None else pc.and_(sound, fine)
    return table if sound is None else table.filter(sound)


def _indices(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array([chunk.indices for chunk in column.chunks], pa.int32())


def _between(values: Any, low: float, high: float) -> Any:
    import pyarrow.compute as pc

    return pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high))


def _absent(name: str, length: int) -> Any:
    """A column that tables of an earlier version lack, filled with its default."""
    import pyarrow as pa

    default = DEFAULTS.get(name, "" if SCHEMA[name].kind == "str" else None)
    return pa.nulls(length) if default is None else pa.array([default] * length)


def write_tables(frame: pd.DataFrame, directory: Path, *, compress: bool = False) -> list[Path]:
    """Write `records.csv` and `records.parquet`, including samples (JSON lists in the CSV).

    Args:
        frame: A frame of records.
        directory: Directory of both files; created if missing.
        compress: Write `records.csv.gz`, compressed with gzip, instead of `records.csv`.

    Returns:
        The paths of the CSV and the Parquet file.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    directory.mkdir(parents=True, exist_ok=True)
    name = "records.csv.gz" if compress else "records.csv"
    written = [directory / name, directory / "records.parquet"]
    first, rest = _table_of(frame.iloc[:_ROWS]), range(_ROWS, len(frame), _ROWS)
    with (
        parquet.ParquetWriter(written[1], first.schema, compression="zstd") as table_file,
        pa.output_stream(written[0], compression="gzip" if compress else None) as out,
        csv.CSVWriter(out, _for_csv(first).schema) as csv_file,
    ):
        tables = itertools.chain(
            [first], (_table_of(frame.iloc[begin : begin + _ROWS]) for begin in rest)
        )
        for table in tables:  # few rows at a time, as the frame is not to be there twice
            table_file.write_table(table)
            csv_file.write_table(_for_csv(table))
    return written


def _table_of(frame: pd.DataFrame) -> pa.Table:
    """Rows of a frame of records as a table."""
    import pyarrow as pa

    plain = frame.copy(deep=False)
    plain.attrs = {}
    # pandas cannot read its own note on a column of Arrow's type for lists.
    schema = pa.schema([(name, arrow_type(name)) for name in plain.columns if name != "samples"])
    table = pa.Table.from_pandas(plain.drop(columns="samples"), schema, preserve_index=False)
    samples = pa.chunked_array(pa.array(frame["samples"], arrow_type("samples")))
    return table.add_column(frame.columns.get_loc("samples"), "samples", samples)


def _for_csv(table: pa.Table) -> pa.Table:
    """The table with texts alone in the columns that CSV has no type for, and without formulas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_list(column.type):
            numbers = pc.binary_join(column.cast(pa.list_(pa.string())), ",")
            column = pc.fill_null(pc.binary_join_element_wise("[", numbers, "]", ""), "")
        columns[name] = column
    return defused(pa.table(columns))
