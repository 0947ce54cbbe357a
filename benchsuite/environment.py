"""Where a number comes from: machine, software, commit and working tree.

Nothing here imports torch before `provenance` is asked for, so that the command line can tell
which measurements are finished without it.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import benchsuite
from benchsuite.case import Case
from benchsuite.records import Record
from benchsuite.registry import MeasureSpec

if TYPE_CHECKING:
    import torch


#: Environment variables that name the machine and the checkout under test.
MACHINE = "BENCHSUITE_MACHINE"
CHECKOUT = "BENCHSUITE_CHECKOUT"


def machine_name() -> str:
    """`BENCHSUITE_MACHINE`, or the host's name (asv's own default)."""
    return os.environ.get(MACHINE) or platform.node() or "unnamed"


@functools.cache
def checkout() -> dict[str, Any]:
    """Commit under test and state of the working tree.

    asv says which commit it has installed (`ASV_COMMIT`); else it is that of the checkout around
    `BENCHSUITE_CHECKOUT` or the working directory. Outside a repository there is none.
    """
    if os.environ.get("ASV_COMMIT"):
        return {"commit": os.environ["ASV_COMMIT"], "dirty": False}
    root = Path(os.environ.get(CHECKOUT) or ".")
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _git(root, "diff", "HEAD") + _untracked_code(root)
    if not changes:
        return {"commit": commit, "dirty": False}
    digest = hashlib.sha256(changes.encode(errors="replace")).hexdigest()[:12]
    return {"commit": commit, "dirty": True, "tree": digest}


def _untracked_code(root: Path) -> str:
    """Names and times of Python files that git does not track: a model may live in one."""
    names = _git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py").split("\0")
    return "".join(
        f"{name}:{(root / name).stat().st_mtime_ns};"
        for name in names
        if name and (root / name).is_file()
    )


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@functools.cache
def software() -> dict[str, Any]:
    """Versions, processor and memory: what does not change while a process lives."""
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": float(page * pages),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "benchsuite": benchsuite.__version__,
        "asv_runner": _version("asv_runner"),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _governor() -> str:
    try:
        path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def provenance(device: torch.device) -> dict[str, Any]:
    """Device, flags and load at this moment, as columns of `records.SCHEMA`."""
    import torch

    from benchsuite import device as devices

    return {
        **devices.tf32_flags(),
        **devices.describe(device),
        "load": os.getloadavg()[0],
        "governor": _governor(),
        "threads": torch.get_num_threads(),
    }


def begin(
    case: Case, spec: MeasureSpec, *, study: str = "", run: str = "", timeout: float | None = None
) -> Record:
    """The record of an attempt before it has begun; its `key` tells whether one is finished."""
    tree = checkout()
    return Record(
        case=case,
        measure=spec.name,
        unit=spec.unit,
        version=spec.version,
        study=study,
        run=run,
        machine=machine_name(),
        commit=tree.get("commit", ""),
        timeout=timeout,
        provenance={**software(), **{k: v for k, v in tree.items() if k != "commit"}},
    )
