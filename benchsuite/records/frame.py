"""Loads record files as one tidy frame."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.errors import UsageError, unknown
from benchsuite.records.arrow import frame_of, read_parquet
from benchsuite.records.columns import Columns
from benchsuite.records.line import struct_of
from benchsuite.records.outcomes import outcome_of_killed, settled
from benchsuite.records.portions import gather
from benchsuite.records.record import Record
from benchsuite.records.rows import record_files
from benchsuite.records.schema import INTERRUPTED, SCHEMA
from benchsuite.records.upgrade import upgrade_needs, upgraded

if TYPE_CHECKING:
    import pandas as pd

#: Columns that distinguish measurements; a later attempt replaces an earlier one.
MEASUREMENT = (
    *("study", "case", "measure", "version", "machine", "commit", "tree", "torch"),
    *("source", "min_run_time"),
)
#: The largest number of a group.
_LARGEST = 1 << 62
#: Columns that the outcomes of attempts follow from.
_OUTCOME = ("uid", "status", "reason", "run", "started_at", "timeout", "schema")


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
        columns: The columns that are wanted, all by default. Others are neither kept nor validated,
            but for those that attempts are identified by. Without `samples` the statistics are
            derived while reading.

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
    names = upgrade_needs(
        {*wanted, *_OUTCOME, *MEASUREMENT, *(("run", "uid") if every_attempt else ())}
    )
    in_order = [name for name in SCHEMA if name in names]
    if path.suffix == ".parquet" and path.is_file():
        frame = read_parquet(path, in_order, problems)
    else:
        frame = _attempts_of(record_files(path), in_order, problems)
    frame = upgraded(frame)
    if not len(frame):
        first = f": {problems[0]}" if problems else ""
        raise UsageError(f"no readable record in {str(path)!r}{first}")
    frame = _take(frame, _latest(frame, of_each_run=every_attempt))
    frame = frame[wanted]
    frame.attrs["problems"] = problems
    return frame


def _latest(frame: pd.DataFrame, *, of_each_run: bool = False) -> Any:
    """Positions of each measurement's last attempt that was not interrupted, or of its first."""
    import numpy as np

    same, names = frame, [*MEASUREMENT]
    if of_each_run:
        runs = frame["run"].astype("object")
        same = frame[names].assign(run=runs.where(runs != "", frame["uid"].astype("object")))
        names.append("run")
    group = group_numbers(same, names)
    counts = (frame["reason"] != INTERRUPTED).to_numpy(bool)
    position = np.arange(len(frame))
    kept = np.empty(group.max(initial=-1) + 1, int)
    kept[group[::-1]] = position[::-1]
    kept[group[counts]] = position[counts]  # of equal indices the last assignment remains
    return kept


def group_numbers(frame: pd.DataFrame, names: Iterable[str]) -> Any:
    """The number of each row's group, in the order of the groups' first rows.

    As pandas' `groupby(…, dropna=False, sort=False).ngroup()`, in less time and memory, above all
    where many of the columns have one value.

    Args:
        frame: Rows.
        names: Columns whose values the rows of a group have in common.

    Returns:
        Integers from 0 on, (rows,).
    """
    import numpy as np
    import pandas as pd

    group, count = np.zeros(len(frame), np.int64), 1
    for name in names:
        code, distinct = pd.factorize(frame[name], use_na_sentinel=False)
        if count * len(distinct) > _LARGEST:
            group, found = pd.factorize(group)
            count = len(found)
        group, count = group * len(distinct) + code, count * len(distinct)
    return pd.factorize(group)[0]


def _take(frame: pd.DataFrame, positions: Any) -> pd.DataFrame:
    """The rows at these positions; no copy is made if these are all rows in their order."""
    import numpy as np

    if len(positions) == len(frame) and bool((positions == np.arange(len(frame))).all()):
        return frame
    taken: pd.DataFrame = frame.iloc[positions].reset_index(drop=True)
    return taken


def _attempts_of(files: list[Path], names: list[str], problems: list[str]) -> pd.DataFrame:
    """One row per attempt, in the order they began: `outcomes.settle`, but as columns."""
    import numpy as np

    columns = Columns(names)
    ends = []
    for file in files:
        gather(file, columns, problems)
        ends.append(len(columns))
    frame = frame_of(columns)
    started = (frame["status"] == "started").to_numpy(bool)
    uids = frame["uid"].array.__arrow_array__()
    kept, killed = [np.empty(0, int)], []
    # File by file: equal uids in two files are two attempts.
    for begin, end in itertools.pairwise([0, *ends]):
        of_file = settled(uids.slice(begin, end - begin), started[begin:end])
        kept.append(begin + of_file.rows)
        killed += [
            (int(begin + of_file.rows[place]), int(begin + after) if after >= 0 else -1)
            for place, after in zip(of_file.unfinished, of_file.after, strict=True)
        ]
    if killed:
        frame = _with_outcomes(frame, killed)
    return _take(frame, np.concatenate(kept))


def _with_outcomes(frame: pd.DataFrame, killed: list[tuple[int, int]]) -> pd.DataFrame:
    """The frame with status and reason of attempts that were killed.

    Args:
        frame: Rows.
        killed: Positions of the attempt's first row, and of the next attempt's or -1.
    """
    parts = frame[["started_at", "timeout", "run"]]
    firsts = parts.iloc[[row for row, _ in killed]].to_dict("records")
    nexts = parts.iloc[[max(after, 0) for _, after in killed]].to_dict("records")
    changes = [
        outcome_of_killed(_known(row), _known(following) if after >= 0 else None)
        for row, following, (_, after) in zip(firsts, nexts, killed, strict=True)
    ]
    frame = frame.copy(deep=False)
    for name in ("status", "reason"):
        column = frame[name].array.copy()
        column[[row for row, _ in killed]] = [change[name] for change in changes]
        frame[name] = column
    return frame


def _known(row: Mapping[Any, Any]) -> dict[Any, Any]:
    """The columns of a row that have a value."""
    return {name: value for name, value in row.items() if value == value}


def to_frame(rows: Iterable[Mapping[str, Any] | Record]) -> pd.DataFrame:
    """Rows or records as a frame with all columns of `SCHEMA`, statistics derived from samples."""
    dicts = (item.to_row() if isinstance(item, Record) else item for item in rows)
    columns = Columns(SCHEMA)
    row_type = struct_of(*columns.read)
    columns.extend(row_type(**{name: row[name] for name in row if name in SCHEMA}) for row in dicts)
    return frame_of(columns)
