"""Record files as one tidy frame, and the frame as tables on disk."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError
from benchsuite.records.reading import (
    MEASUREMENT,
    Row,
    attempts,
    last_that_counts,
    read_rows,
    record_files,
)
from benchsuite.records.record import Record
from benchsuite.records.schema import INTERRUPTED, SCHEMA

if TYPE_CHECKING:
    import pandas as pd

#: Rows held as objects at a time: few enough for the processor's cache.
_BATCH = 1_000
_STORED = [column for column in SCHEMA.values() if column.stored and column.kind != "floats"]


def load_records(path: str | Path, *, every_attempt: bool = False) -> pd.DataFrame:
    """Read record files into a tidy frame: one row per case × measure, columns of `SCHEMA`.

    Args:
        path: A record file, a study's directory, or a directory with several of them.
        every_attempt: Keep superseded attempts too; otherwise the latest of each measurement stays.

    Returns:
        The frame; `frame.attrs["problems"]` lists lines that could not be read.

    Raises:
        UsageError: if there are no records.
    """
    problems: list[str] = []
    places: list[int] = []
    with _no_collection():
        frame = _columns(_ended(record_files(Path(path)), problems, places))
    if not places:
        first = f": {problems[0]}" if problems else ""
        raise UsageError(f"no readable record in {str(path)!r}{first}")
    last = dict(zip(places, range(len(places)), strict=True))
    frame = frame.iloc[[last[place] for place in sorted(last)]]
    if not every_attempt:
        key = frame.groupby(list(MEASUREMENT), dropna=False, sort=False).ngroup()
        frame = frame.iloc[last_that_counts(key, frame["reason"] != INTERRUPTED)]
    frame = _with_statistics(frame.reset_index(drop=True))
    frame.attrs["problems"] = problems
    return frame


@contextmanager
def _no_collection() -> Iterator[None]:
    """Rows hold no cycles: looking for some, again and again, takes a quarter of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _ended(files: list[Path], problems: list[str], places: list[int]) -> Iterator[Row]:
    """Attempts of files as they end; `places` gets the place of each in the order of beginning."""
    for file in files:
        before = len(places)  # no file has more attempts than ends
        for place, row in attempts(read_rows(file, problems)):
            places.append(before + place)
            yield row


def to_frame(rows: Iterable[Mapping[str, Any] | Record]) -> pd.DataFrame:
    """Rows or records as a frame with all columns of `SCHEMA`, statistics derived from samples."""
    return _with_statistics(
        _columns(item.to_row() if isinstance(item, Record) else item for item in rows)
    )


def _columns(rows: Iterator[Mapping[str, Any]]) -> pd.DataFrame:
    """The columns that are stored; texts that are missing are empty."""
    import pandas as pd
    import pyarrow as pa

    kinds = {"str": pa.large_string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(column.name, kinds[column.kind]) for column in _STORED])
    empty = {column.name: "" if column.kind == "str" else None for column in _STORED}
    batches, samples = [], []
    while batch := list(itertools.islice(rows, _BATCH)):
        columns = [[row.get(name, none) for row in batch] for name, none in empty.items()]
        arrays = [pa.array(c, kind) for c, kind in zip(columns, schema.types, strict=True)]
        batches.append(pa.record_batch(arrays, schema))
        samples += [None if (s := row.get("samples")) is None else list(s) for row in batch]
    # What may be missing needs a type of pandas' own: a whole number with gaps is no float.
    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    table = pa.Table.from_batches(batches, schema)
    frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get)
    frame["samples"] = pd.Series(samples, dtype=object)
    return frame


def _with_statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """With the interval, the quartiles and the number of samples; all samples of one count at once.

    An exact value is its own interval; one sample says nothing of its spread.
    """
    import numpy as np
    import pandas as pd

    from benchsuite.stats import stacked, summarise_columns

    value = frame["value"].to_numpy(float)
    ok = (frame["status"] == "ok").to_numpy(bool) & ~np.isnan(value)
    samples = [
        own if own and usable else () for own, usable in zip(frame["samples"], ok, strict=True)
    ]
    count = np.fromiter(map(len, samples), int, len(samples))
    exact = np.where(ok & (count == 0), value, np.nan)
    derived = {name: exact.copy() for name in ("ci_low", "ci_high", "q25", "q75")}
    for rows, sets in stacked(samples):
        if sets.shape[1] > 1:
            summary = summarise_columns(sets.T)
            for name, column in derived.items():
                column[rows] = getattr(summary, name)
    number = np.where(ok, np.maximum(count, 1), 0)
    return frame.assign(**derived, n_samples=pd.array(number, dtype="Int64"))[list(SCHEMA)]


def write_tables(frame: pd.DataFrame, directory: Path) -> list[Path]:
    """Write `records.csv` and `records.parquet` (samples too; in the CSV as JSON lists)."""
    directory.mkdir(parents=True, exist_ok=True)
    parquet, csv = directory / "records.parquet", directory / "records.csv"
    plain = frame.copy()
    plain.attrs = {}
    plain.to_parquet(parquet, index=False)
    plain["samples"] = [json.dumps(s) if isinstance(s, list) else "" for s in plain["samples"]]
    plain.to_csv(csv, index=False)
    return [csv, parquet]
