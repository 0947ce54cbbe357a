"""The directory of results: one subdirectory per study below `--home`.

HOME/STUDY/study.toml      the study as it was measured last
HOME/STUDY/records.jsonl   all attempts, append-only
HOME/STUDY/asv/            asv's configuration, results, published pages and log
HOME/STUDY/report/         the report
HOME/STUDY/traces/         one directory per traced case
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchsuite.errors import UsageError
from benchsuite.grid.study import Study
from benchsuite.records import FILE_NAME, RecordFile
from benchsuite.records.lock import locked

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
        """The report's directory.

        Raises:
            UsageError: if there is a symbolic link in its place.
        """
        _refuse_link(path := self.path / "report")
        return path

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
            UsageError: if the directory cannot be written to, or has a symbolic link in it.
            BenchsuiteError: if another run holds the lock.
        """
        with self._writing():
            self.asv.mkdir(parents=True, exist_ok=True)
        self._refuse_links()
        with ExitStack() as held:
            with self._writing():
                with suppress(FileExistsError):  # results are not part of the tree under test
                    _write_new(self.path / ".gitignore", "*\n")
                lock = held.enter_context(locked(self.path))
                replace_text(self.definition, study.to_toml())
            yield lock

    def _refuse_links(self) -> None:
        """Refuse symbolic links at paths that a run writes to: their targets would be changed."""
        names = [self.path / name for name in (".gitignore", ".lock")]
        names += [self.definition, self.records.path, self.asv, self.asv / "asv.log"]
        for directory, folders, files in os.walk(self.asv / "results"):
            names += [Path(directory), *(Path(directory, name) for name in (*folders, *files))]
        for path in names:
            _refuse_link(path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.path}: {error.strerror}; choose another directory with"
                " --home"
            ) from error


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise UsageError(
            f"{path} is a symbolic link, and results are not written through one: remove it, or"
            " choose another directory with --home"
        )


def remove_links(directory: Path, suffixes: Collection[str]) -> None:
    """Remove symbolic links in a directory at names that are about to be written.

    Raises:
        OSError: if one cannot be removed.
    """
    for path in directory.iterdir():
        if path.is_symlink() and path.suffix in suffixes:
            path.unlink()


def replace_text(path: Path, text: str) -> None:
    """Write a text file completely under a temporary name, and then rename it.

    A symbolic link at the path is replaced, never followed.

    Raises:
        OSError: if it cannot be written.
    """
    descriptor, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write_new(path: Path, text: str) -> None:
    """Create a text file.

    Raises:
        FileExistsError: if there is anything at the path, a symbolic link included.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
