"""Checks before a run: errors that stop it, and notes that do not."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchsuite import host
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.study import Study
from benchsuite.records import provenance
from benchsuite.records.home import StudyHome

#: Minimum free disk space, in bytes.
_LEAST_DISK = 1 << 16
#: Files that a run creates among the results, with some to spare.
RUN_INODES = 16


def resolve_device(study: Study) -> Study:
    """The study with `auto` replaced by the device that it stands for."""
    if "auto" not in study.axes.get("device", ("auto",)):
        return study
    return study.with_device(host.default_device())


def require_some_device(study: Study) -> None:
    """Refuse a study that is for CUDA alone on a machine without a CUDA device.

    Args:
        study: With its device resolved.

    Raises:
        UsageError: naming the devices there are.
    """
    if set(study.axes["device"]) == {"cuda"} and (why := host.cuda_problem()):
        raise UsageError(
            f"study {study.name!r} runs on device cuda alone, which is not available on this"
            f" machine: {why}; available: cpu (--device cpu)"
        )


def check_identity(study: Study, known: Iterable[tuple[str, str]]) -> None:
    """Refuse to mix results of different machines with one name, such as clones of an image.

    Args:
        study: The study.
        known: Machine and processor of its records.

    Raises:
        UsageError: if there are records with this machine's name and another processor.
    """
    name, cpu = host.machine_name(), host.hardware()["cpu"]
    others = {processor for machine, processor in known if machine == name} - {cpu, ""}
    if others:
        raise UsageError(
            f"study {study.name!r} has records of machine {name!r} with the processor"
            f" {', '.join(sorted(others))!r}, and this one is {cpu!r}: give this machine another"
            f" name with {host.MACHINE_NAME}, or choose another directory with --home"
        )


def check_storage(study_home: StudyHome, *, inodes: int = 1) -> None:
    """Report storage that cannot take another record, which causes various errors in a run.

    A file is written, flushed and removed again, and the record file is opened, as for a record.

    Args:
        study_home: The directory of the study's results.
        inodes: How many new files it must have room for.

    Raises:
        BenchsuiteError: with the cause: no space, no inodes, or what the system reports.
    """
    path = study_home.path
    again = (
        "choose another directory with --home, and run the same command again: existing records"
        " are kept"
    )
    try:
        space = os.statvfs(path)
        if space.f_bavail * space.f_frsize < _LEAST_DISK:
            raise BenchsuiteError(f"the disk of {path} is full; free some space, or {again}")
        if space.f_files and space.f_favail < inodes:
            raise BenchsuiteError(
                f"the disk of {path} has {space.f_favail} inodes left and {inodes} are"
                f" needed for new files; remove some files, or {again}"
            )
        _try_to_write(path)
        records = study_home.records.path
        if records.exists():
            path = records
            os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW))
    except OSError as error:
        immutable = " (lsattr shows whether it is immutable)" if error.errno == errno.EPERM else ""
        raise BenchsuiteError(
            f"cannot write to {path}: {error.strerror}{immutable}; fix that, or {again}"
        ) from error


def _try_to_write(directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory) as file:
        file.write(b"0" * 4096)
        file.flush()
        os.fsync(file.fileno())


def notes_on_checkout() -> list[str]:
    """Notes if the code under test cannot be identified by a commit."""
    tree = provenance.checkout()
    if problem := provenance.checkout_problem():
        return [
            f"the state of the working tree is unknown: {problem}; records carry a random digest,"
            " and no earlier measurement is used again"
        ]
    if not tree.get("commit"):
        return [
            "not inside a git repository (run git init and commit once): records have no commit,"
            " and asv stores no results of this run"
        ]
    if tree["dirty"]:
        return [
            "the working tree has uncommitted changes: records have a digest of them, but asv's"
            f" results are identified only by the commit {tree['commit'][:8]}"
        ]
    return []
