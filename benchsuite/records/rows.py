"""Reads rows from record files, and validates every line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import IO, Any

import msgspec

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
#: Attempts that are read together where each has its first row and then its final one.
_PAIRS = 64
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
        self._decoded = decoder(row_type, report)
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
