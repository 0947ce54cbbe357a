"""Arrow tables of records: conversion to frames, and reading and writing of table files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchsuite.errors import UsageError
from benchsuite.grid.case import DEFAULTS
from benchsuite.records.schema import SCHEMA

if TYPE_CHECKING:
    import pandas as pd


#: Columns that hold a list of numbers in each row.
LISTS = tuple(column.name for column in SCHEMA.values() if column.kind == "floats")


def stored_schema() -> Any:
    """The `pyarrow.Schema` of the stored columns except `LISTS`, which stay Python lists."""
    import pyarrow as pa

    kinds = {"str": pa.large_string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.schema(
        [(c.name, kinds[c.kind]) for c in SCHEMA.values() if c.stored and c.kind in kinds]
    )


def frame_of(table: Any, lists: Mapping[str, list[list[float] | None]]) -> pd.DataFrame:
    """A table of `stored_schema` as a frame; integers with missing values stay integers."""
    import pandas as pd
    import pyarrow as pa

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)
    return frame.assign(**{n: pd.Series(rows, dtype=object) for n, rows in lists.items()})


def read_parquet(path: Path) -> pd.DataFrame:
    """Read the stored columns of a `records.parquet`.

    Raises:
        UsageError: if it is not such a file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = stored_schema()
    try:
        table = parquet.read_table(path, partitioning=None)
        for name in (n for n in (*schema.names, *LISTS) if n not in table.column_names):
            if SCHEMA[name].since == 1:
                raise KeyError(f"column {name!r} is missing")
            table = table.append_column(name, _absent(name, len(table)))
        lists = {n: table[n].cast(pa.list_(pa.float64())).to_pandas() for n in LISTS}
        stored = table.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UsageError(
            f"{str(path)!r} is not a table of records ({str(error).splitlines()[0]}); name a"
            " records.parquet written by `benchsuite report`, or a records.jsonl"
        ) from error
    return frame_of(
        stored,
        {n: [None if v is None else v.tolist() for v in values] for n, values in lists.items()},
    )


def _absent(name: str, length: int) -> Any:
    """A column that tables of an earlier version lack, filled with its default."""
    import pyarrow as pa

    default = DEFAULTS.get(name, "" if SCHEMA[name].kind == "str" else None)
    return pa.nulls(length) if default is None else pa.array([default] * length)


def write_tables(frame: pd.DataFrame, directory: Path, *, compress: bool = False) -> list[Path]:
    """Write `records.csv` and `records.parquet`, including samples (JSON lists in the CSV).

    Arrow writes CSV ten times as fast as pandas.

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
    plain = frame.copy(deep=False)
    plain.attrs = {}
    table = pa.Table.from_pandas(plain, preserve_index=False)
    parquet.write_table(table, written[1], compression="zstd")
    for name in LISTS:
        texts = [
            msgspec.json.encode(values).decode() if isinstance(values, list) else ""
            for values in frame[name]
        ]
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.array(texts, pa.string()))
    with pa.output_stream(written[0], compression="gzip" if compress else None) as out:
        csv.write_csv(table, out)
    return written
