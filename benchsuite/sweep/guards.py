"""Checks before a run: errors that stop it, and notes that do not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from benchsuite import host
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.study import Study
from benchsuite.records import Record, provenance
from benchsuite.records.home import StudyHome

#: Minimum free disk space, in bytes.
_LEAST_DISK = 1 << 16


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


def check_identity(study: Study, known: Iterable[Record]) -> None:
    """Refuse to mix results of different machines with one name, such as clones of an image.

    Raises:
        UsageError: if there are records with this machine's name and another processor.
    """
    name, cpu = host.machine_name(), host.hardware()["cpu"]
    others = {str(r.provenance.get("cpu", cpu)) for r in known if r.machine == name} - {cpu}
    if others:
        raise UsageError(
            f"study {study.name!r} has records of machine {name!r} with the processor"
            f" {', '.join(sorted(others))!r}, and this one is {cpu!r}: give this machine another"
            f" name with {host.MACHINE_NAME}, or choose another directory with --home"
        )


def check_disk(study_home: StudyHome) -> None:
    """Report a full disk, which causes various other errors in the processes of a run.

    Raises:
        BenchsuiteError: if there is no space for another record.
    """
    if shutil.disk_usage(study_home.path).free < _LEAST_DISK:
        raise BenchsuiteError(
            f"the disk of {study_home.path} is full; free some space, or choose another directory"
            " with --home, and run the same command again: existing records are kept"
        )


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
