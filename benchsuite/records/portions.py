"""Large record files, read by several processes: each one parses a portion into columns.

The portions of a file follow one another. This process parses the first one while others parse the
rest; when it has finished, they send their columns through a pipe. A portion whose process has
failed, for whatever reason, is parsed here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO

from benchsuite.records.columns import Columns, Gathered, Repeated
from benchsuite.records.line import struct_of
from benchsuite.records.rows import (
    MOST_PROBLEMS,
    Problems,
    begins_attempt,
    opened,
    rows_that_count,
)

#: Fewest bytes of a portion: parsing them takes longer than starting a process.
LEAST = 64 << 20
#: Most processes: each needs some memory, and the columns pass through this one.
_MOST = 8
#: Bytes in which the beginning of a portion is looked for.
_WINDOW = 1 << 20
#: What a process of `_Worker` runs. It imports what this one would, and nothing from elsewhere.
_CODE = """
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
job = json.loads(sys.argv[1])
sys.path[:] = job.pop("path")
from benchsuite.records.portions import serve
serve(**job)
"""


def gather(path: Path, columns: Columns, problems: list[str]) -> None:
    """Append the rows of a file that the outcomes of its attempts follow from.

    Args:
        path: A record file.
        columns: What they are appended to.
        problems: A list to which sentences on lines that are not records are appended.

    Raises:
        UsageError: if the file cannot be read.
    """
    found = Problems(path.name, problems)
    with opened(path) as file:
        bounds = [*_beginnings(file, _processes()), None]
        with contextlib.ExitStack() as running:
            workers = [
                running.enter_context(_Worker(file, begin, end, columns))
                for begin, end in itertools.pairwise(bounds)
                if begin
            ]
            first = _parse(file, 0, bounds[1], columns)
            found.add_all(first.found, first.problems, 0)
            lines = first.lines
            for worker in workers:
                part = worker.columns()
                if part is None:
                    portion = _parse(file, worker.begin, worker.end, columns)
                else:
                    portion, gathered = part
                    columns.absorb(gathered, portion.rows)
                found.add_all(portion.found, portion.problems, lines)
                lines += portion.lines
    found.close()


def _processes() -> int:
    """Processes that can run at a time."""
    return min(len(os.sched_getaffinity(0)), _MOST) if sys.executable else 1


def _beginnings(file: IO[bytes], most: int) -> list[int]:
    """Offsets of at most so many portions; an attempt begins there, if one can be found."""
    size = os.fstat(file.fileno()).st_size
    number = max(1, min(most, size // LEAST))
    found = [0]
    for target in (size * k // number for k in range(1, number)):
        lines = BytesIO(os.pread(file.fileno(), _WINDOW, target)).readlines()
        ends = list(itertools.accumulate(map(len, lines)))[:-1]  # the last line may be partial
        starts = [end for end, line in zip(ends, lines[1:], strict=True) if begins_attempt(line)]
        found += [target + end for end in (*starts, *ends)[:1] if target + end > found[-1]]
    return found


@dataclass(slots=True)
class _Portion:
    """What parsing a portion has found, besides its columns.

    Attributes:
        rows: Number of rows.
        lines: Number of lines.
        found: The first lines that are not records, by number, with the reason.
        problems: Number of lines that are not records.
    """

    rows: int = 0
    lines: int = 0
    found: list[tuple[int, str]] = field(default_factory=list)
    problems: int = 0

    def report(self, number: int, fault: object) -> None:
        """Count a line that is not a record."""
        self.problems += 1
        if len(self.found) < MOST_PROBLEMS:
            self.found.append((number, str(fault)))

    def count(self, lines: int) -> None:
        """Set the number of lines."""
        self.lines = lines


def _parse(file: IO[bytes], begin: int, end: int | None, columns: Columns) -> _Portion:
    """Parse a portion in this process."""
    portion, before = _Portion(), len(columns)
    file.seek(begin)
    row_type = struct_of(*columns.read)
    columns.extend(rows_that_count(row_type, file, portion.report, end=end, counted=portion.count))
    portion.rows = len(columns) - before
    return portion


class _Worker:
    """A process that parses a portion of a file; it is killed at the end of the `with` block."""

    def __init__(self, file: IO[bytes], begin: int, end: int | None, columns: Columns) -> None:
        self.begin, self.end = begin, end
        self._names = columns.names
        job = {
            "path": [os.path.abspath(entry) for entry in sys.path],  # noqa: PTH100 - of ""
            "parent": os.getpid(),
            "descriptor": file.fileno(),
            "begin": begin,
            "end": end,
            "names": self._names,
        }
        self._process: subprocess.Popen[bytes] | None = None
        with contextlib.suppress(OSError):  # no process can be started
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CODE, json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(file.fileno(),),
            )

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with self._process:  # closes the pipe and waits
                self._process.kill()

    def columns(self) -> tuple[_Portion, dict[str, Gathered]] | None:
        """What the process has found, and its columns; None if it has failed."""
        import pyarrow as pa

        if self._process is None or self._process.stdout is None:
            return None
        pipe = self._process.stdout
        try:
            head = json.loads(pipe.readline())
            portion = _Portion(**head["portion"])
            portion.found = [(number, fault) for number, fault in portion.found]
            gathered: dict[str, Gathered] = {}
            for name in self._names:
                if name in head["repeated"]:
                    gathered[name] = Repeated(head["repeated"][name], portion.rows)
                else:
                    with pa.ipc.open_stream(pipe) as stream:
                        gathered[name] = [batch.column(0) for batch in stream]
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
            return None
        return portion, gathered


def serve(*, parent: int, descriptor: int, begin: int, end: int | None, names: list[str]) -> None:
    """Parse a portion and write it to standard output: the body of a `_Worker`'s process.

    Args:
        parent: The process that waits for it; this one ends if that one has ended.
        descriptor: The file.
        begin: Offset of the portion.
        end: Offset of its end; None for the file's.
        names: Columns, in the order in which they are written.
    """
    import pyarrow as pa

    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    columns = Columns(names)
    with open(f"/proc/self/fd/{descriptor}", "rb") as file:  # noqa: PTH123 - it has its own offset
        portion = _parse(file, begin, end, columns)
    content = {name: columns.pop(name) for name in names}
    repeated = {n: part.value for n, part in content.items() if isinstance(part, Repeated)}
    out = sys.stdout.buffer
    head = {"portion": dataclasses.asdict(portion), "repeated": repeated}
    out.write(json.dumps(head).encode() + b"\n")
    for name in names:
        part = content.pop(name)
        if not isinstance(part, Repeated):
            table = pa.table({name: part}).combine_chunks()
            with pa.ipc.new_stream(out, table.schema) as stream:
                stream.write_table(table)


def _end_with(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
