"""The directory of results: one subdirectory per study below `--home`.

HOME/STUDY/study.toml      the study as it was measured last
HOME/STUDY/records.jsonl   all attempts, append-only
HOME/STUDY/asv/            asv's configuration, results, published pages and log
HOME/STUDY/report/         the report
HOME/STUDY/traces/         one directory per traced case
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.study import Study
from benchsuite.records import FILE_NAME, RecordFile

DEFAULT = ".benchsuite"
#: Environment variable that names the directory of all results.
VARIABLE = "BENCHSUITE_HOME"


def home_of(option: str | Path | None) -> Path:
    """The directory of all results: the option, `BENCHSUITE_HOME`, or `./.benchsuite`."""
    return Path(option or os.environ.get(VARIABLE) or DEFAULT).absolute()


@dataclass(frozen=True, slots=True)
class StudyHome:
    """The directory of one study's results."""

    path: Path

    @classmethod
    def of(cls, home: Path, study: str) -> StudyHome:
        """The directory of a study by name; `Study` checks names, so they cannot leave `home`."""
        return cls(home / study)

    @property
    def records(self) -> RecordFile:
        """The file of all attempts."""
        return RecordFile(self.path / FILE_NAME)

    @property
    def definition(self) -> Path:
        """The study file."""
        return self.path / "study.toml"

    @property
    def asv(self) -> Path:
        """The directory of asv's files."""
        return self.path / "asv"

    @property
    def report(self) -> Path:
        """The report's directory."""
        return self.path / "report"

    @property
    def traces(self) -> Path:
        """The directories of traced cases."""
        return self.path / "traces"

    @contextmanager
    def held_for(self, study: Study) -> Iterator[int]:
        """Create the directory, lock it for one run, and write the study file.

        Yields:
            The lock's file descriptor; a child process that inherits it holds the lock too.

        Raises:
            UsageError: if the directory cannot be written to.
            BenchsuiteError: if another run holds the lock.
        """
        with self._writing():
            self.asv.mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():  # results are not part of the tree under test
                ignore.write_text("*\n", encoding="utf-8")
            lock = (self.path / ".lock").open("w")
        with lock:
            self._lock(lock)
            with self._writing():
                self.definition.write_text(study.to_toml(), encoding="utf-8")
            yield lock.fileno()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.path}: {error.strerror}; choose another directory with"
                " --home"
            ) from error

    def _lock(self, lock: IO[str]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchsuiteError(
                f"study {self.path.name!r} is being run by another process; wait for it, or give"
                " this run another name with --name"
            ) from None
