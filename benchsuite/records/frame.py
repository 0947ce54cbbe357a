"""Loads record files as one tidy frame."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError
from benchsuite.records.arrow import LISTS, frame_of, read_parquet, stored_schema
from benchsuite.records.record import Record
from benchsuite.records.rows import (
    MEASUREMENT,
    Row,
    last_that_counts,
    outcomes_in,
    record_files,
)
from benchsuite.records.schema import INTERRUPTED, SCHEMA
from benchsuite.records.upgrade import upgraded

if TYPE_CHECKING:
    import pandas as pd

#: Number of rows held as objects at a time; they should fit into the processor's cache.
_BATCH = 1_000


def load_records(path: str | Path, *, every_attempt: bool = False) -> pd.DataFrame:
    """Read record files into a tidy frame: one row per case × measure, columns of `SCHEMA`.

    Args:
        path: A record file, a study's directory, a directory with several of them, or the
            `records.parquet` of a report.
        every_attempt: Keep superseded attempts too, not only the latest of each measurement.

    Returns:
        The frame; `frame.attrs["problems"]` lists lines that could not be read.

    Raises:
        UsageError: if there are no records.
    """
    path = Path(path)
    problems: list[str] = []
    if path.suffix == ".parquet" and path.is_file():
        frame = read_parquet(path)
    else:
        frame = _attempts_of(record_files(path), problems)
    frame = upgraded(frame)
    if not len(frame):
        first = f": {problems[0]}" if problems else ""
        raise UsageError(f"no readable record in {str(path)!r}{first}")
    if not every_attempt:
        key = frame.groupby(list(MEASUREMENT), dropna=False, sort=False).ngroup()
        frame = frame.iloc[last_that_counts(key, frame["reason"] != INTERRUPTED)]
    frame = _with_statistics(frame.reset_index(drop=True))
    frame.attrs["problems"] = problems
    return frame


def _attempts_of(files: list[Path], problems: list[str]) -> pd.DataFrame:
    """One row per attempt, in the order they began: `rows.settle`, but as columns."""
    indices: list[int] = []

    def ended() -> Iterator[Any]:
        for file in files:
            before = len(indices)  # attempts of this file come after all earlier ones
            for index, row in outcomes_in(file, Row, problems):
                indices.append(before + index)
                yield row

    with _no_collection():
        frame = _columns(ended())
    last = dict(zip(indices, range(len(indices)), strict=True))
    return frame.iloc[[last[index] for index in sorted(last)]]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch off garbage collection: rows have no cycles, and it takes a quarter of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def to_frame(rows: Iterable[Mapping[str, Any] | Record]) -> pd.DataFrame:
    """Rows or records as a frame with all columns of `SCHEMA`, statistics derived from samples."""
    dicts = (item.to_row() if isinstance(item, Record) else item for item in rows)
    return _with_statistics(
        _columns(Row(**{name: row[name] for name in row if name in SCHEMA}) for row in dicts)
    )


def _columns(rows: Iterator[Any]) -> pd.DataFrame:
    """The stored columns of objects of type `Row`."""
    import pyarrow as pa

    schema = stored_schema()
    columns = [(attrgetter(column.name), column.type) for column in schema]
    batches: list[pa.RecordBatch] = []
    lists: dict[str, list[list[float] | None]] = {name: [] for name in LISTS}
    while batch := list(itertools.islice(rows, _BATCH)):
        arrays = [pa.array(list(map(get, batch)), dtype) for get, dtype in columns]
        batches.append(pa.record_batch(arrays, schema))
        for name, values in lists.items():
            get = attrgetter(name)
            values += [None if get(row) is None else list(get(row)) for row in batch]
    return frame_of(pa.Table.from_batches(batches, schema), lists)


def _with_statistics(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the interval, the quartiles and the number of samples.

    The interval of an exact value is the value itself; a single sample has no interval. Rows with
    equally many samples are computed together.
    """
    import numpy as np
    import pandas as pd

    from benchsuite.stats import stacked, summarise_columns

    value = frame["value"].to_numpy(float)
    ok = (frame["status"] == "ok").to_numpy(bool) & ~np.isnan(value)
    samples = [
        values if values and usable else ()
        for values, usable in zip(frame["samples"], ok, strict=True)
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
