"""Loads record files as one tidy frame."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.allocator import collector_paused
from benchsuite.errors import UsageError, unknown
from benchsuite.records.arrow import LISTS, frame_of, lengths_of, read_parquet, stored_schema
from benchsuite.records.record import Record
from benchsuite.records.rows import (
    MEASUREMENT,
    Row,
    outcomes_in,
    record_files,
    row_type_of,
)
from benchsuite.records.schema import INTERRUPTED, SCHEMA
from benchsuite.records.upgrade import upgraded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Columns that follow from a row's value and samples.
DERIVED = tuple(name for name, column in SCHEMA.items() if not column.stored)
#: Number of rows held as objects at a time; they should fit into the processor's cache.
_BATCH = 1_000


def load_records(
    path: str | Path, *, every_attempt: bool = False, columns: Iterable[str] | None = None
) -> pd.DataFrame:
    """Read record files into a tidy frame: one row per case × measure, columns of `SCHEMA`.

    The column `samples` is of Arrow's type for lists of floats: an item is a list, or NA.

    Args:
        path: A record file, a study's directory, a directory with several of them, or the
            `records.parquet` of a report.
        every_attempt: Keep the latest attempt of each measurement in each run, not only in the
            last one; an attempt without a run counts as a run.
        columns: The columns that are wanted, all by default. Lists of numbers that are not wanted
            are not read, and neither is `samples` without the statistics derived from it.

    Returns:
        The frame; `frame.attrs["problems"]` lists lines that could not be read.

    Raises:
        UsageError: if there are no records, or for a column that `SCHEMA` does not have.
    """
    path = Path(path)
    problems: list[str] = []
    wanted = list(SCHEMA) if columns is None else list(columns)
    for name in wanted:
        if name not in SCHEMA:
            raise unknown("column of records", name, SCHEMA)
    lists = [
        name
        for name in LISTS
        if name in wanted or (name == "samples" and not set(wanted).isdisjoint(DERIVED))
    ]
    if path.suffix == ".parquet" and path.is_file():
        frame = read_parquet(path, lists, problems)
    else:
        frame = _attempts_of(record_files(path), lists, problems)
    frame = upgraded(frame)
    if not len(frame):
        first = f": {problems[0]}" if problems else ""
        raise UsageError(f"no readable record in {str(path)!r}{first}")
    frame = _take(frame, _latest(frame, of_each_run=every_attempt))
    frame = _with_statistics(frame, wanted)
    frame.attrs["problems"] = problems
    return frame


def _latest(frame: pd.DataFrame, *, of_each_run: bool = False) -> Any:
    """Positions of each measurement's last attempt that was not interrupted, or of its first."""
    import numpy as np

    same = [frame[name] for name in MEASUREMENT]
    if of_each_run:
        runs = frame["run"].astype("object")
        same.append(runs.where(runs != "", frame["uid"].astype("object")))
    group = frame.groupby(same, dropna=False, sort=False).ngroup().to_numpy()
    counts = (frame["reason"] != INTERRUPTED).to_numpy(bool)
    position = np.arange(len(frame))
    kept = np.empty(group.max(initial=-1) + 1, int)
    kept[group[::-1]] = position[::-1]
    kept[group[counts]] = position[counts]  # of equal indices the last assignment remains
    return kept


def _take(frame: pd.DataFrame, positions: Any) -> pd.DataFrame:
    """The rows at these positions; no copy is made if these are all rows in their order."""
    import numpy as np

    if len(positions) == len(frame) and bool((positions == np.arange(len(frame))).all()):
        return frame
    taken: pd.DataFrame = frame.iloc[positions].reset_index(drop=True)
    return taken


def _attempts_of(files: list[Path], lists: list[str], problems: list[str]) -> pd.DataFrame:
    """One row per attempt, in the order they began: `rows.settle`, but as columns."""
    import numpy as np

    indices = array("q")

    def ended() -> Iterator[Any]:
        row_type = row_type_of(tuple(lists))
        for file in files:
            before = len(indices)  # attempts of this file come after all earlier ones
            for index, row in outcomes_in(file, row_type, problems):
                indices.append(before + index)
                yield row

    with collector_paused():  # rows hold no cycles: looking for some takes a quarter of the time
        # Nothing else refers to the table, so that each column is released once it is converted.
        frame = frame_of(_columns(ended(), lists))
    index = np.frombuffer(indices, np.int64) if indices else np.empty(0, np.int64)
    last = np.full(index.max(initial=-1) + 1, -1)
    last[index] = np.arange(len(index))  # of equal indices the last assignment remains
    return _take(frame, last[last >= 0])


def to_frame(rows: Iterable[Mapping[str, Any] | Record]) -> pd.DataFrame:
    """Rows or records as a frame with all columns of `SCHEMA`, statistics derived from samples."""
    dicts = (item.to_row() if isinstance(item, Record) else item for item in rows)
    found = (Row(**{name: row[name] for name in row if name in SCHEMA}) for row in dicts)
    return _with_statistics(frame_of(_columns(found, LISTS)), SCHEMA)


def _columns(rows: Iterator[Any], lists: Iterable[str]) -> pa.Table:
    """The stored columns of objects of type `Row`; texts are dictionaries, to take little space."""
    import pyarrow as pa

    schema = stored_schema(lists)
    chunks: list[list[pa.Array]] = [[] for _ in schema]
    read = attrgetter(*schema.names)
    while batch := list(map(read, itertools.islice(rows, _BATCH))):
        for chunk, column, values in zip(chunks, schema, zip(*batch, strict=True), strict=True):
            if pa.types.is_large_string(column.type) and column.name != "uid":
                chunk.append(_encoded(values))
            else:
                chunk.append(pa.array(values, column.type))
    text = pa.dictionary(pa.int32(), pa.large_string())
    columns = []
    for column in schema:
        chunk = chunks.pop(0)  # the chunks of one column at a time exist twice
        if column.type == pa.large_string() and column.name != "uid":
            columns.append(pa.chunked_array(chunk, None if chunk else text).unify_dictionaries())
        else:
            columns.append(pa.chunked_array(chunk, column.type))
    return pa.table(columns, names=schema.names)


def _encoded(values: tuple[str, ...]) -> pa.DictionaryArray:
    """Texts as an array with a dictionary; most columns have one value in a whole batch."""
    import pyarrow as pa

    if values.count(values[0]) == len(values):
        zeros = pa.repeat(pa.scalar(0, pa.int32()), len(values))
        return pa.DictionaryArray.from_arrays(zeros, pa.array(values[:1], pa.large_string()))
    return pa.array(values, pa.large_string()).dictionary_encode()


def _with_statistics(frame: pd.DataFrame, wanted: Iterable[str]) -> pd.DataFrame:
    """The wanted columns, with the interval, the quartiles and the number of samples.

    The interval of an exact value is the value itself; a single sample has no interval. Rows with
    equally many samples are computed together.
    """
    import numpy as np
    import pandas as pd

    from benchsuite.stats import stacked, summarise_columns

    names = list(wanted)
    if set(names).isdisjoint(DERIVED):
        return frame[names]
    value = frame["value"].to_numpy(float)
    ok = (frame["status"] == "ok").to_numpy(bool) & ~np.isnan(value)
    count = np.where(ok, lengths_of(frame["samples"]), 0)
    exact = np.where(ok & (count == 0), value, np.nan)
    derived = {name: exact.copy() for name in DERIVED if name != "n_samples"}
    for rows, sets in stacked(frame["samples"]):
        usable = ok[rows]
        if sets.shape[1] > 1 and usable.any():
            summary = summarise_columns(sets[usable].T)
            for name, column in derived.items():
                column[rows[usable]] = getattr(summary, name)
    number = np.where(ok, np.maximum(count, 1), 0)
    return frame.assign(**derived, n_samples=pd.array(number, dtype="Int64"))[names]
