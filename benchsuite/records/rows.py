"""Reads rows from record files, and validates every line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from benchsuite.errors import UsageError
from benchsuite.records.line import Report, RowDict, decoder

FILE_NAME = "records.jsonl"

#: Longest line that is read; every sample and every output of a test sequence is a number in it.
MAX_LINE = 16 << 20
#: Problems of one file that are reported one by one; of the others only the number is.
MOST_PROBLEMS = 20
_TOO_LONG = f"longer than {MAX_LINE >> 20} MiB, skipped"
#: Bytes that are read at a time; they should fit into the processor's cache.
_BLOCK = 1 << 20
#: Lines of a file differ little: most parts are within so many bytes of where they were before.
_NEAR = 64
#: In the first row of an attempt, as `RecordFile` writes it.
_STARTED = b'"status":"started"'


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
        decoded = decoder(RowDict, found.add)
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
    decoded = decoder(row_type, report)
    is_start, is_same = _Finder(), _Finder()
    held: tuple[int, bytes] | None = None  # a first row whose next line is not read yet
    number = 0
    for number, line in _numbered(file, report, end):
        if held is None:
            if is_start.has(line, _STARTED):
                held = number, line
            elif (row := decoded(number, line)) is not None:
                yield row
            continue
        before, held = held, None
        row = decoded(number, line)
        ended = row is not None and row.status != "started"
        if not (ended and is_same.has(before[1], b'"uid":"%b"' % row.uid.encode())):
            start = decoded(*before)
            if start is not None:
                yield start
        if ended:
            yield row
        elif row is not None:
            held = number, line
    if held is not None and (row := decoded(*held)) is not None:
        yield row
    counted(number)


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
    decoded = decoder(RowDict, lambda *_: None)
    rows: list[dict[str, Any]] = []
    with opened(path) as file:
        file.seek(offset)
        while line := file.readline(MAX_LINE + 1):
            if not line.endswith(b"\n") and len(line) <= MAX_LINE:
                break
            offset += len(line)
            if (row := decoded(0, line)) is not None:
                rows.append(row)
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


def _numbered(
    file: IO[bytes], report: Report, end: int | None = None
) -> Iterator[tuple[int, bytes]]:
    """Lines of a file with their numbers, from 1; one longer than `MAX_LINE` is reported instead.

    A file is read in blocks, which takes a third of the time of reading lines.
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
        for line in lines:
            number += 1
            if len(line) <= MAX_LINE:
                yield number, line
            else:
                report(number, _TOO_LONG)
        if skipping:
            rest = b""
        elif len(rest) > MAX_LINE:
            number += 1
            report(number, _TOO_LONG)
            rest, skipping = b"", True
    if rest:
        yield number + 1, rest


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
