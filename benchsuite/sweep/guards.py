"""What a run refuses to go on with, and what it goes on with but tells."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from benchsuite import host
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.study import Study
from benchsuite.records import Record, provenance
from benchsuite.records.home import StudyHome

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
    """Keep apart what different machines measured under one name, such as that of an image.

    Raises:
        UsageError: if this machine's name has records of another processor.
    """
    name, cpu = host.machine_name(), host.hardware()["cpu"]
    others = {str(r.provenance.get("cpu", cpu)) for r in known if r.machine == name} - {cpu}
    if others:
        raise UsageError(
            f"study {study.name!r} has records of machine {name!r} with the processor"
            f" {', '.join(sorted(others))!r}, and this one is {cpu!r}: name this machine with"
            f" {host.MACHINE_NAME}, or choose another place with --home"
        )


def check_disk(place: StudyHome) -> None:
    """Name a full disk, which shows in the processes as this and that.

    Raises:
        BenchsuiteError: if there is no room for another record.
    """
    if shutil.disk_usage(place.path).free < _LEAST_DISK:
        raise BenchsuiteError(
            f"the disk of {place.path} is full; free some space, or choose another place with"
            " --home, and run the same command again: what was recorded stays"
        )


def notes_on_checkout() -> list[str]:
    """What of the code under test neither records nor asv can name by a commit."""
    tree = provenance.checkout()
    if not tree.get("commit"):
        return [
            "not inside a git repository (git init and commit once): records carry no commit,"
            " and asv keeps no results of this run"
        ]
    if tree["dirty"]:
        return [
            "the working tree has uncommitted changes: records carry a digest of them, but asv's"
            f" own results go by the commit {tree['commit'][:8]} alone"
        ]
    return []
