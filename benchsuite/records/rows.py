"""Reads rows from record files, and validates every line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import DEFAULTS
from benchsuite.records.schema import SCHEMA, SCHEMA_VERSION, Column

FILE_NAME = "records.jsonl"

#: Surrogates, which cannot be encoded as UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Longest line that is read; every sample and every output of a test sequence is a number in it.
MAX_LINE = 16 << 20
#: Problems of one file that are reported one by one; of the others only the number is.
MOST_PROBLEMS = 20
_TOO_LONG = f"longer than {MAX_LINE >> 20} MiB, skipped"
#: Bytes that are read at a time; they should fit into the processor's cache.
_BLOCK = 1 << 20
#: Lines of a file differ little: most parts are within so many bytes of where they were before.
_NEAR = 64
#: Attempts that are read together where each has its first row and then its final one.
_PAIRS = 64
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
#: Columns in the order in which records are written: a decoder expects the next one first.
WRITTEN = tuple(
    dict.fromkeys(
        (
            *(*AXES, "case", "measure", "unit", "version", "status", "value", "samples", "number"),
            *("reason", "warning", "study", "machine", "commit", "run", "timeout", "min_run_time"),
            *("started_at", "duration", "setup_duration", "uid", *SCHEMA),
        )
    )
)


class RowBase(msgspec.Struct):
    """The methods of dict that `attempts` needs, for `Row`."""

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict; a column without a value counts as missing."""
        value = getattr(self, name)
        return default if value is None else value

    def __or__(self, changes: Mapping[str, Any]) -> Any:
        return msgspec.structs.replace(self, **changes)


@cache
def struct_of(*names: str) -> Any:
    """A struct of some columns; missing strings are empty, other missing values None."""
    missing = {name: DEFAULTS.get(name, _MISSING.get(SCHEMA[name].kind)) for name in names}
    return msgspec.defstruct(
        "Row",
        [
            (name, _COLUMNS[name]) if name in _REQUIRED else (name, _COLUMNS[name], missing[name])
            for name in sorted(names, key=WRITTEN.index)
        ],
        kw_only=True,
        bases=(RowBase,),
        gc=False,
    )


#: The type with all columns.
Row: Any = struct_of(*SCHEMA)
#: `SCHEMA` as a type of dicts, which hold only the columns that were written.
_DICT: Any = TypedDict(  # type: ignore[misc]
    "_DICT",
    {name: kind if name in _REQUIRED else NotRequired[kind] for name, kind in _COLUMNS.items()},
)


#: Called with the number of a line that is not a record, and the reason.
Report = Callable[[int, object], object]


def _decoder(row_type: Any, report: Report) -> Callable[[int, bytes], Any]:
    """A function of a line's number and bytes: its row, or None with a report of the reason.

    The type's decoder validates a line while parsing it, several times as fast as `json` only
    parses it. Lines that it rejects are examined again, to report the reason. Columns that the type
    does not have are parsed, but not validated.
    """
    decode: Any = msgspec.json.Decoder(row_type).decode

    def decoded(number: int, line: bytes) -> Any:
        try:
            return decode(line)
        except (ValueError, RecursionError):
            try:
                return _examined(line, row_type)
            except ValueError as fault:
                report(number, fault)
                return None

    return decoded


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

    def add_all(self, found: list[tuple[int, str]], count: int, after: int) -> None:
        """Report the lines of a later part of the file.

        Args:
            found: The first ones, each with its number in that part.
            count: How many there are.
            after: Number of lines before that part.
        """
        for number, fault in found:
            self.add(after + number, fault)
        self._count += count - len(found)

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
    with opened(path) as file:
        found = Problems(path.name, problems)
        decoded = _decoder(_DICT, found.add)
        for number, line in _numbered(file, found.add):
            if (row := decoded(number, line)) is not None:
                yield row
        found.close()


def rows_that_count(
    row_type: Any,
    file: IO[bytes],
    report: Report,
    *,
    end: int | None = None,
    counted: Callable[[int], object] = lambda _: None,
) -> Iterator[Any]:
    """Rows that the outcomes of attempts follow from, read faster than all rows are.

    The first row of an attempt is skipped, without being validated, where the attempt's final row
    is the next line; nearly all attempts are written so.

    Args:
        row_type: A struct of columns, `uid` and `status` among them.
        file: A record file, at the beginning of a line.
        report: Called with the number of a line that is not a record, and the reason.
        end: Offset of the line to stop before; the file's end by default.
        counted: Called at the end with the number of lines.
    """
    attempts = _Attempts(row_type, report)
    number = 0
    for begin, lines in _blocks(file, report, end):
        number, at = begin + len(lines), 0
        while at < len(lines):
            pairs = [] if attempts.begun else lines[at : at + 2 * _PAIRS]
            if rows := attempts.finished(pairs[: len(pairs) // 2 * 2]):
                yield from rows
                at += 2 * len(rows)
                continue
            for line in pairs or lines[at : at + 1]:
                at += 1
                yield from attempts.next(begin + at, line)
    yield from attempts.end()
    counted(number)


class _Attempts:
    """Rows that count, of lines in their order.

    Args:
        row_type: A struct of columns, `uid` and `status` among them.
        report: Called with the number of a line that is not a record, and the reason.
    """

    def __init__(self, row_type: Any, report: Report) -> None:
        self._decoded = _decoder(row_type, report)
        self._decode: Any = msgspec.json.Decoder(row_type).decode
        self._is_start, self._is_same = _Finder(), _Finder()
        self._held: tuple[int, bytes] | None = None  # a first row whose next line is not read yet

    @property
    def begun(self) -> bool:
        """Whether the next line may be the final row of the line before."""
        return self._held is not None

    def finished(self, lines: list[bytes]) -> list[Any]:
        """The final rows, if every two lines are the first and the final row of an attempt.

        Otherwise there are none, and the lines have to be read one by one. Nearly all lines are so,
        and reading them together takes half the time.
        """
        firsts, finals = lines[::2], lines[1::2]
        if not finals or not self._is_start.has_each(firsts, repeat(_STARTED)):
            return []
        try:
            rows = list(map(self._decode, finals))
        except (ValueError, RecursionError):
            return []
        uids = (b'"uid":"%b"' % row.uid.encode() for row in rows)
        ended = "started" not in [row.status for row in rows]
        return rows if ended and self._is_same.has_each(firsts, uids) else []

    def next(self, number: int, line: bytes) -> Iterator[Any]:
        """The rows that count once a further line is read."""
        if self._held is None:
            if self._is_start.has(line, _STARTED):
                self._held = number, line
            elif (row := self._decoded(number, line)) is not None:
                yield row
            return
        before, self._held = self._held, None
        row = self._decoded(number, line)
        ended = row is not None and row.status != "started"
        if not (ended and self._is_same.has(before[1], b'"uid":"%b"' % row.uid.encode())):
            start = self._decoded(*before)
            if start is not None:
                yield start
        if ended:
            yield row
        elif row is not None:
            self._held = number, line

    def end(self) -> Iterator[Any]:
        """The row that counts because no line follows."""
        if self._held is not None and (row := self._decoded(*self._held)) is not None:
            yield row


class _Finder:
    """Looks for something in lines, first near the place where it was in the line before."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = 0

    def has(self, line: bytes, part: bytes) -> bool:
        """Whether the part is somewhere in the line."""
        last = self._last
        at = line.find(part, max(last - _NEAR, 0), last + _NEAR)
        if at < 0:
            at = line.find(part)
            if at < 0:
                return False
        self._last = at
        return True

    def has_each(self, lines: Iterable[bytes], parts: Iterable[bytes]) -> bool:
        """Whether each line has its part, near the place where the first line has its."""
        low = high = -1
        for line, part in zip(lines, parts, strict=False):
            if high < 0:
                if not self.has(line, part):
                    return False
                low, high = max(self._last - _NEAR, 0), self._last + len(part) + _NEAR
            elif line.find(part, low, high) < 0:
                return False
        return True


def begins_attempt(line: bytes) -> bool:
    """Whether a line is the first row of an attempt, as `RecordFile` writes it."""
    return _STARTED in line


def rows_of_attempts(row_type: Any, path: Path) -> Iterator[Any]:
    """`rows_that_count` of a whole file; lines that are not records are skipped.

    Raises:
        UsageError: if the file cannot be read.
    """
    with opened(path) as file:
        yield from rows_that_count(row_type, file, lambda *_: None)


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
    with opened(path) as file:
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
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file for reading.

    Raises:
        UsageError: if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _numbered(file: IO[bytes], report: Report) -> Iterator[tuple[int, bytes]]:
    """Lines of a file with their numbers, from 1."""
    for begin, lines in _blocks(file, report):
        yield from enumerate(lines, begin + 1)


def _blocks(
    file: IO[bytes], report: Report, end: int | None = None
) -> Iterator[tuple[int, list[bytes]]]:
    """Lines of a file, many at a time, with the number of lines before them.

    A line longer than `MAX_LINE` is reported instead. A file is read in blocks, which takes a third
    of the time of reading lines.
    """
    number, rest, skipping = 0, b"", False  # whether `rest` belongs to a line that is too long
    left = sys.maxsize if end is None else end - file.tell()
    while block := file.read(min(_BLOCK, left)):
        left -= len(block)
        lines = BytesIO(rest + block if rest else block).readlines()
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        if skipping and lines:
            del lines[0]
            skipping = False
        begin = 0
        if max(map(len, lines), default=0) > MAX_LINE:
            for at in [at for at, line in enumerate(lines) if len(line) > MAX_LINE]:
                if begin < at:
                    yield number + begin, lines[begin:at]
                report(number + at + 1, _TOO_LONG)
                begin = at + 1
        if begin < len(lines):
            yield number + begin, lines[begin:]
        number += len(lines)
        if skipping:
            rest = b""
        elif len(rest) > MAX_LINE:
            number += 1
            report(number, _TOO_LONG)
            rest, skipping = b"", True
    if rest:
        yield number, [rest]


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
