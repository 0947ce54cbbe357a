"""Reads rows from record files: validates lines, and derives the outcome of each attempt."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import DEFAULTS
from benchsuite.records.schema import CRASHED, INTERRUPTED, SCHEMA, SCHEMA_VERSION

FILE_NAME = "records.jsonl"

#: After an attempt is killed at its limit, the next one of the run starts within this time.
_KILL_SECONDS = 120.0
#: Columns that distinguish measurements; a later attempt replaces an earlier one.
MEASUREMENT = (
    *("study", "case", "measure", "version", "machine", "commit", "tree", "torch"),
    *("source", "min_run_time"),
)
#: The largest integer that a frame can hold.
_LARGEST_INT = (1 << 63) - 1
#: Surrogates, which cannot be encoded as UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")

_TYPES: dict[str, Any] = {
    "str": str,
    "int": Annotated[int, msgspec.Meta(ge=-_LARGEST_INT, le=_LARGEST_INT)],
    "float": float,
    "bool": bool,
    "floats": list[float],
}
_COLUMNS = {name: _TYPES[column.kind] for name, column in SCHEMA.items()}
_COLUMNS["schema"] = Annotated[int, msgspec.Meta(le=SCHEMA_VERSION)]
#: Axes that rows of every schema version have; other axes get their default where missing.
_OLDEST_AXES = tuple(axis.name for axis in AXES.values() if axis.since == 1)
_REQUIRED = (*_OLDEST_AXES, "uid", "status", "schema")


class _RowBase(msgspec.Struct):
    """The methods of dict that `attempts` needs, for `Row`."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        value = getattr(self, name)
        return default if value is None else value

    def __or__(self, changes: Mapping[str, Any]) -> Any:
        return msgspec.structs.replace(self, **changes)


#: `SCHEMA` as a type, for loading frames fast; missing strings are empty, other values None.
Row: Any = msgspec.defstruct(
    "Row",
    [
        *((name, _COLUMNS[name]) for name in _REQUIRED),
        *(
            (name, kind, DEFAULTS.get(name, "" if SCHEMA[name].kind == "str" else None))
            for name, kind in _COLUMNS.items()
            if name not in _REQUIRED
        ),
    ],
    bases=(_RowBase,),
    gc=False,
)
#: `SCHEMA` as a type of dicts, which hold only the columns that were written.
_DICT: Any = TypedDict(  # type: ignore[misc]
    "_DICT",
    {name: kind if name in _REQUIRED else NotRequired[kind] for name, kind in _COLUMNS.items()},
)


def read_rows(path: Path, problems: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one file as they were written; lines that are not records are reported and skipped.

    Args:
        path: A record file.
        problems: A list to which one sentence per unreadable line is appended.

    Raises:
        UsageError: if the file cannot be read.
    """
    return rows_as(_DICT, path, problems)


def rows_as(row_type: Any, path: Path, problems: list[str] | None = None) -> Iterator[Any]:
    """Rows of one file, as `read_rows`, but as objects of a type made from `SCHEMA`.

    The type's decoder validates a line while parsing it, several times as fast as `json` only
    parses it. Lines that it rejects are examined again, to report the reason.
    """
    decode = msgspec.json.Decoder(row_type).decode
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = decode(line)
                except (ValueError, RecursionError):
                    if not line.strip():
                        continue
                    try:
                        row = msgspec.convert(_parse(line), row_type)
                    except ValueError as fault:
                        if problems is not None:
                            problems.append(f"{path.name}, line {number}: {fault}")
                        continue
                yield row
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _parse(line: bytes) -> dict[str, Any]:
    """Parse a rejected line; it may still be a record, with a column that is not in the schema.

    Raises:
        ValueError: with the reason why it is not a record.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        torn = "" if line.endswith(b"\n") else " (the last line, only partially written)"
        raise ValueError(f"not a record, skipped{torn}") from None
    fault = _fault_of(row)
    if fault:
        raise ValueError(f"{fault}, skipped")
    return row  # type: ignore[no-any-return]


def _fault_of(row: object) -> str:
    """Why a parsed line is not a valid record, or an empty string."""
    if not isinstance(row, dict) or "uid" not in row or "status" not in row:
        return "not a record"
    if not isinstance(row.get("schema"), int) or row["schema"] > SCHEMA_VERSION:
        return f"schema {row.get('schema')!r} is newer than {SCHEMA_VERSION}; update benchsuite"
    for name, value in row.items():
        column = SCHEMA.get(name)
        if column is not None and not _fits(value, column.kind):
            return f"{name} = {str(value)[:40]!r} is not of type {column.kind}"
    missing = next((name for name in _OLDEST_AXES if name not in row), None)
    return f"{missing} is missing" if missing else ""


def _fits(value: object, kind: str) -> bool:
    match kind:
        case "floats":
            return isinstance(value, list) and all(_fits(item, "float") for item in value)
        case "str":
            return isinstance(value, str) and not _SURROGATE.search(value)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return (
                isinstance(value, int)
                and not isinstance(value, bool)
                and abs(value) <= _LARGEST_INT
            )
        case _:
            return (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and abs(value) <= sys.float_info.max
            )


def attempts(rows: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Outcomes of all attempts: index in the order in which they began, and final row.

    Finished attempts are yielded as they are read, so that only unfinished ones are kept in memory.
    If an attempt has several final rows, the last one counts. Unfinished attempts are yielded at
    the end. If the next attempt began only after the time limit, asv killed the process there and
    the status is `timeout`; otherwise it is `crashed`.

    Args:
        rows: Rows, all of type `Row` or all dicts.
    """
    indices: dict[str, int] = {}
    begun: dict[int, tuple[Any, Any]] = {}  # unfinished attempts, and the one that began next
    for row in rows:
        count = len(indices)
        index = indices.setdefault(row["uid"], count)
        if index == count and index - 1 in begun:
            begun[index - 1] = (begun[index - 1][0], row)
        if row["status"] != "started":
            begun.pop(index, None)
            yield index, row
        elif index == count:
            begun[index] = (row, None)
    for index, (row, after) in begun.items():
        yield index, row | _outcome_of_killed(row, after)


def settle(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per attempt with its outcome, in the order in which the attempts began."""
    outcomes = dict(attempts(rows))
    return [outcomes[index] for index in sorted(outcomes)]


def _outcome_of_killed(row: Any, after: Any) -> dict[str, str]:
    """Status and reason of an attempt without a final row, derived from it and the next one."""
    began = row.get("started_at", 0.0)
    limit = row.get("timeout", math.inf)
    gap = (
        after.get("started_at", 0.0) - began if after and after.get("run") == row.get("run") else 0
    )
    if limit < gap < limit + _KILL_SECONDS:
        return {"status": "timeout", "reason": f"killed after its limit of {limit:g} s"}
    started = datetime.fromtimestamp(began, UTC)
    why = f"{CRASHED} (started {started:%Y-%m-%d %H:%M:%S} UTC)"
    return {"status": "crashed", "reason": why}


def latest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last attempt of each measurement, of any status; interrupted ones do not count."""
    rows = list(rows)
    keys = [tuple(str(row.get(name, "")) for name in MEASUREMENT) for row in rows]
    kept = last_that_counts(keys, (row.get("reason") != INTERRUPTED for row in rows))
    return [rows[index] for index in kept]


def last_that_counts(keys: Iterable[Hashable], counts: Iterable[bool]) -> list[int]:
    """For each key, the index of its last item that counts, or of its first if none does."""
    indices: dict[Hashable, int] = {}
    for index, (key, relevant) in enumerate(zip(keys, counts, strict=True)):
        if relevant or key not in indices:
            indices[key] = index
    return list(indices.values())


def record_files(path: Path) -> list[Path]:
    """The record files in a study's directory or a directory of results, or the given file.

    Raises:
        UsageError: if there are none.
    """
    if path.is_file():
        return [path]
    files = sorted(path.rglob(FILE_NAME)) if path.is_dir() else []
    if not files:
        raise UsageError(
            f"no records in {str(path)!r}; measure first with `benchsuite run`, or name a"
            f" {FILE_NAME} or a directory that holds one"
        )
    return files
