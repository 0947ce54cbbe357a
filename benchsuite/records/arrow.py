"""Columns of records as Arrow tables: the way into a frame, and files of tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchsuite.errors import UsageError
from benchsuite.grid.case import AXES, DEFAULTS
from benchsuite.records.schema import SCHEMA

if TYPE_CHECKING:
    import pandas as pd


#: Columns that hold a list of numbers in each row.
LISTS = tuple(column.name for column in SCHEMA.values() if column.kind == "floats")

#: Columns that tables of earlier versions do not have, and what stands for them.
_YOUNGER: dict[str, Any] = {
    **dict.fromkeys(("predicted", "expected", "page_faults", "fault_time")),
    "malloc": "",
    **{name: DEFAULTS[name] for name, axis in AXES.items() if axis.younger},
}


def stored_schema() -> Any:
    """The `pyarrow.Schema` of the columns that are stored; not of `LISTS`, which stay lists."""
    import pyarrow as pa

    kinds = {"str": pa.large_string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.schema(
        [(c.name, kinds[c.kind]) for c in SCHEMA.values() if c.stored and c.kind in kinds]
    )


def frame_of(table: Any, lists: Mapping[str, list[list[float] | None]]) -> pd.DataFrame:
    """A table of `stored_schema` as a frame; whole numbers with gaps stay whole."""
    import pandas as pd
    import pyarrow as pa

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)
    return frame.assign(**{n: pd.Series(own, dtype=object) for n, own in lists.items()})


def read_parquet(path: Path) -> pd.DataFrame:
    """The stored columns of a `records.parquet`.

    Raises:
        UsageError: if it is no such file.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = stored_schema()
    try:
        table = parquet.read_table(path, partitioning=None)
        for name in (n for n in _YOUNGER if n not in table.column_names):
            table = table.append_column(name, pa.array([_YOUNGER[name]] * len(table)))
        lists = {n: table[n].cast(pa.list_(pa.float64())).to_pandas() for n in LISTS}
        stored = table.select(schema.names).cast(schema)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise UsageError(
            f"{str(path)!r} is no table of records ({str(error).splitlines()[0]}); name a"
            " records.parquet that `benchsuite report` has written, or a records.jsonl"
        ) from error
    return frame_of(
        stored,
        {n: [None if v is None else v.tolist() for v in values] for n, values in lists.items()},
    )


def write_tables(frame: pd.DataFrame, directory: Path, *, compress: bool = False) -> list[Path]:
    """Write `records.csv` and `records.parquet`, samples too; in the CSV as JSON lists.

    By Arrow: ten times as fast as pandas writes CSV. `compress` gzips it, as `records.csv.gz`.
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
            msgspec.json.encode(own).decode() if isinstance(own, list) else ""
            for own in frame[name]
        ]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pa.array(texts, pa.string()))
    with pa.output_stream(written[0], compression="gzip" if compress else None) as out:
        csv.write_csv(table, out)
    return written
