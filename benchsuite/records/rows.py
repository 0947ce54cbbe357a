"""Reads rows from record files: validates lines, and derives the outcome of each attempt."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import DEFAULTS
from benchsuite.records.schema import CRASHED, INTERRUPTED, SCHEMA, SCHEMA_VERSION, Column

FILE_NAME = "records.jsonl"

#: After an attempt is killed at its limit, the next one of the run starts within this time.
_KILL_SECONDS = 120.0
#: Columns that distinguish measurements; a later attempt replaces an earlier one.
MEASUREMENT = (
    *("study", "case", "measure", "version", "machine", "commit", "tree", "torch"),
    *("source", "min_run_time"),
)
#: Surrogates, which cannot be encoded as UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Longest line that is read; every sample and every output of a test sequence is a number in it.
MAX_LINE = 16 << 20
#: Problems of one file that are reported one by one; of the others only the number is.
MOST_PROBLEMS = 20
#: In the first row of an attempt, as `RecordFile` writes it.
_STARTED = b'"status":"started"'


def _type_of(column: Column) -> Any:
    """A column's type for msgspec, with its bounds."""
    low, high = column.bounds
    if column.choices:
        return Literal[column.choices]
    match column.kind:
        case "str":
            return Annotated[str, Meta(min_length=int(low), max_length=int(high))]
        case "int":
            return Annotated[int, Meta(ge=int(low), le=int(high))]
        case "bool":
            return bool
        case "float":
            return Annotated[float, Meta(ge=float(low), le=float(high))]
        case "floats":
            return list[Annotated[float, Meta(ge=float(low), le=float(high))]]


_COLUMNS = {name: _type_of(column) for name, column in SCHEMA.items()}
#: Axes that rows of every schema version have; other axes get their default where missing.
_OLDEST_AXES = tuple(axis.name for axis in AXES.values() if axis.since == 1)
_REQUIRED = (*_OLDEST_AXES, "uid", "status", "schema")


_MISSING = {"str": ""}


class RowBase(msgspec.Struct):
    """The methods of dict that `attempts` needs, for `Row`."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict; a column without a value counts as missing."""
        value = getattr(self, name)
        return default if value is None else value

    def __or__(self, changes: Mapping[str, Any]) -> Any:
        return msgspec.structs.replace(self, **changes)


@cache
def row_type_of(lists: tuple[str, ...]) -> Any:
    """`SCHEMA` as a type, with these of the columns that hold lists of numbers."""
    return struct_of(*(n for n in _COLUMNS if SCHEMA[n].kind != "floats" or n in lists))


def struct_of(*names: str) -> Any:
    """A struct of some columns; missing strings are empty, other missing values None."""
    missing = {name: DEFAULTS.get(name, _MISSING.get(SCHEMA[name].kind)) for name in names}
    return msgspec.defstruct(
        "Row",
        [
            *((name, _COLUMNS[name]) for name in names if name in _REQUIRED),
            *((name, _COLUMNS[name], missing[name]) for name in names if name not in _REQUIRED),
        ],
        bases=(RowBase,),
        gc=False,
    )


#: The type with all columns.
Row: Any = row_type_of(tuple(SCHEMA))
#: `SCHEMA` as a type of dicts, which hold only the columns that were written.
_DICT: Any = TypedDict(  # type: ignore[misc]
    "_DICT",
    {name: kind if name in _REQUIRED else NotRequired[kind] for name, kind in _COLUMNS.items()},
)


#: What is needed of the first row of an attempt that has ended.
_Start: Any = msgspec.defstruct(
    "_Start",
    [
        *((name, _COLUMNS[name]) for name in ("uid", "status", "schema")),
        ("run", _COLUMNS["run"], ""),
        *((name, _COLUMNS[name], None) for name in ("started_at", "timeout")),
        ("line", Any, None),  # set after decoding: its number and its bytes
    ],
    bases=(RowBase,),
    gc=False,
)


class Problems:
    """Sentences on lines of one file that cannot be read, up to `MOST_PROBLEMS`.

    Args:
        name: Name of the file.
        sentences: The list to which they are appended, if any.
    """

    def __init__(self, name: str, sentences: list[str] | None) -> None:
        self._name, self._sentences, self._count = name, sentences, 0

    def add(self, number: int, fault: object) -> None:
        """Report a line by its number, counted from 1."""
        self._count += 1
        if self._sentences is not None and self._count <= MOST_PROBLEMS:
            self._sentences.append(f"{self._name}, line {number}: {fault}")

    def close(self) -> None:
        """Report how many more there were."""
        more = self._count - MOST_PROBLEMS
        if self._sentences is not None and more > 0:
            self._sentences.append(f"{self._name}: {more:,} more lines are not records, skipped")


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
    with _opened(path) as file:
        found = Problems(path.name, problems)
        for number, line in _lines(file, found):
            try:
                yield decode(line)
            except (ValueError, RecursionError):
                try:
                    row = _examined(line, row_type)
                except ValueError as fault:
                    found.add(number, fault)
                else:
                    if row is not None:
                        yield row
        found.close()


def outcomes_in(path: Path, row_type: Any, problems: list[str] | None) -> Iterator[tuple[int, Any]]:
    """The attempts of a file as `attempts` yields them, read faster than all rows are.

    The first row of an attempt is not decoded if the attempt's final row is the next line, and
    otherwise only what `attempts` needs of it; the rest is decoded and validated where the attempt
    has no other row.

    Args:
        path: A record file.
        row_type: A struct with the columns of `SCHEMA` that are wanted.
        problems: A list to which one sentence per unreadable line is appended.

    Raises:
        UsageError: if the file cannot be read.
    """
    decode, start_of = (msgspec.json.Decoder(kind).decode for kind in (row_type, _Start))
    with _opened(path) as file:
        found = Problems(path.name, problems)

        def decoded(number: int, line: bytes) -> Any:
            try:
                if _STARTED in line and (start := start_of(line)).status == "started":
                    start.line = number, line
                    return start
                return decode(line)
            except (ValueError, RecursionError):
                try:
                    return _examined(line, row_type)
                except ValueError as fault:
                    found.add(number, fault)
                    return None

        def rows() -> Iterator[Any]:
            held: tuple[int, bytes] | None = None  # a first row whose next line is not read yet
            for number, line in _lines(file, found):
                if held is None and _STARTED in line:
                    held = number, line
                    continue
                row = decoded(number, line)
                if held is not None:
                    ended = row is not None and row.status != "started"
                    if not (ended and b'"uid":"%b"' % row.uid.encode() in held[1]):
                        start = decoded(*held)
                        if start is not None:
                            yield start
                    held = None
                if row is not None:
                    yield row
            if held is not None and (row := decoded(*held)) is not None:
                yield row

        for index, outcome in attempts(rows()):
            if isinstance(outcome, _Unfinished):
                number, line = outcome.start.line
                try:
                    row = _examined(line, row_type)
                except ValueError as fault:
                    found.add(number, fault)
                else:
                    yield index, row | outcome.changes
            else:
                yield index, outcome
        found.close()


def tail_rows(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Rows that were appended to a file after an offset, and the offset of what is not read yet.

    Lines that are not records are skipped; a last line without an end is being written, and is
    left for the next call.

    Args:
        path: A record file; it need not exist.
        offset: Bytes that were read before.

    Raises:
        UsageError: if the file cannot be read.
    """
    if not path.exists():
        return [], offset
    decode: Any = msgspec.json.Decoder(_DICT).decode
    rows: list[dict[str, Any]] = []
    with _opened(path) as file:
        file.seek(offset)
        while line := file.readline(MAX_LINE + 1):
            if not line.endswith(b"\n") and len(line) <= MAX_LINE:
                break
            offset += len(line)
            try:
                rows.append(decode(line))
            except (ValueError, RecursionError):
                with suppress(ValueError):
                    row = _examined(line, _DICT)
                    rows += [] if row is None else [row]
    return rows, offset


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file for reading.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _lines(file: IO[bytes], problems: Problems) -> Iterator[tuple[int, bytes]]:
    """Lines of a file with their numbers; one longer than `MAX_LINE` is reported and skipped."""
    read = file.readline
    number = 0
    while line := read(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            problems.add(number, f"longer than {MAX_LINE >> 20} MiB, skipped")
            while line and not line.endswith(b"\n"):
                line = read(MAX_LINE)
        else:
            yield number, line


def _examined(line: bytes, row_type: Any) -> Any:
    """A line that the decoder has rejected as a row of that type, or None for an empty line.

    Raises:
        ValueError: with the reason why it is not a record.
    """
    if not line.strip():
        return None
    return msgspec.convert(_parse(line), row_type)


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
    version = row.get("schema")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        shown = version if version is None or type(version) is int else _short(version)
        return f"schema {shown} is newer than {SCHEMA_VERSION}; update benchsuite"
    for name, value in row.items():
        column = SCHEMA.get(name)
        if column is None:
            continue
        if not _is_of(value, column.kind):
            return f"{name} = {_short(value)} is not of type {column.kind}"
        if not _is_within(value, column):
            return f"{name} = {_short(value)} is not allowed; {column.allowed}"
    missing = next((name for name in _OLDEST_AXES if name not in row), None)
    return f"{missing} is missing" if missing else ""


def _short(value: object) -> str:
    """A value for a message: its beginning, and nothing that a terminal cannot show."""
    return ascii(str(value)[:40] if not isinstance(value, int) or abs(value) < 1 << 70 else "huge")


def _is_of(value: object, kind: str) -> bool:
    match kind:
        case "floats":
            return isinstance(value, list) and all(_is_of(item, "float") for item in value)
        case "str":
            return isinstance(value, str) and not _SURROGATE.search(value)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _is_within(value: Any, column: Column) -> bool:
    """Whether a value of the right type is within the bounds of its column; NaN is not."""
    low, high = column.bounds
    if column.choices:
        return value in column.choices
    match column.kind:
        case "floats":
            return all(low <= item <= high for item in value)
        case "str":
            return low <= len(value) <= high
        case _:
            return bool(low <= value <= high)


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """An attempt of which only the first row exists: that row, and the outcome."""

    start: Any
    changes: dict[str, str]


def attempts(rows: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """Outcomes of all attempts: index in the order in which they began, and final row.

    Finished attempts are yielded as they are read, so that only unfinished ones are kept in memory.
    If an attempt has several final rows, the last one counts. Unfinished attempts are yielded at
    the end. If the next attempt began only after the time limit, asv killed the process there and
    the status is `timeout`; otherwise it is `crashed`.

    Args:
        rows: Rows, all of type `Row` or all dicts; unfinished ones of type `_Start` are yielded
            as `_Unfinished`.
    """
    indices: dict[str, int] = {}
    begun: dict[int, tuple[Any, Any]] = {}  # unfinished attempts, and the one that began next
    count = 0
    for row in rows:
        index = indices.setdefault(row["uid"], count)
        new = index == count
        count += new
        if new and begun and index - 1 in begun:
            begun[index - 1] = (begun[index - 1][0], row)
        if row["status"] != "started":
            if begun:
                begun.pop(index, None)
            yield index, row
        elif new:
            begun[index] = (row, None)
    for index, (row, after) in begun.items():
        changes = _outcome_of_killed(row, after)
        yield index, _Unfinished(row, changes) if isinstance(row, _Start) else row | changes


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
