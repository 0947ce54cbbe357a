"""Finding the records that a command reads: of a study that was run, a path, or asv's results."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchsuite.errors import UsageError, unknown

if TYPE_CHECKING:
    import pandas as pd

    from benchsuite.records.home import StudyHome


#: Names that an error lists, and names that are compared with one that does not exist.
_MOST_NAMES, _MOST_COMPARED = 20, 1000


def measured_studies(home: Path) -> list[str]:
    """Names of the studies that have records, the one measured last at the end."""
    from benchsuite.records import FILE_NAME

    found = []
    with suppress(OSError), os.scandir(home) as entries:  # there may be no home yet
        for entry in entries:
            with suppress(OSError, ValueError):  # not a directory, without records, or removed
                file = os.path.join(entry.path, FILE_NAME)  # noqa: PTH118 - 10,000 paths take long
                found.append((os.stat(file).st_mtime, entry.name))  # noqa: PTH116
    return [name for _, name in sorted(found)]


def find_records(source: str | None, home: Path) -> tuple[Path, StudyHome | None]:
    """The path of a study's or path's records, and the study's home if it is one.

    Args:
        source: A study that was run, its study file, or a path; None for the study measured last.
        home: The directory of all results.

    Raises:
        UsageError: if there are no records.
    """
    from benchsuite.records.home import StudyHome

    names = measured_studies(home)
    if source is None:
        if not names:
            raise UsageError(f"nothing was measured yet in {home}; start with `benchsuite run`")
        source = names[-1]
    if source in names:
        study_home = StudyHome.of(home, source)
        return study_home.records.path, study_home
    if source.endswith(".toml") and os.path.isfile(source):  # noqa: PTH113
        from benchsuite.grid.study_file import load_study

        name = load_study(source).name
        if name in names:
            study_home = StudyHome.of(home, name)
            return study_home.records.path, study_home
        raise UsageError(
            f"study {name!r} of {source} was not measured yet in {home}; run it with"
            f" `benchsuite run {source}`"
        )
    if os.path.exists(source):  # noqa: PTH110 - unlike Path's, it accepts a name of any length
        return Path(source), None
    close = difflib.get_close_matches(source, names[-_MOST_COMPARED:], n=1, cutoff=0.5)
    shown = list(dict.fromkeys([*close, *reversed(names)]))[:_MOST_NAMES]
    more = f"{len(names) - len(shown):,} more studies were measured; " * (len(names) > len(shown))
    raise unknown(
        "study or path",
        source,
        shown or ["(none measured yet)"],
        f"{more}a study is measured with `benchsuite run`; looked in {home}",
    )


def load_source(
    path: Path, *, every_attempt: bool = False, columns: Iterable[str] | None = None
) -> pd.DataFrame:
    """Load record files or asv's results into a frame, of records only the given columns."""
    from benchsuite.history.results import is_asv_results, load_asv_results
    from benchsuite.records import load_records

    if is_asv_results(path):
        return load_asv_results(path)
    return load_records(path, every_attempt=every_attempt, columns=columns)
