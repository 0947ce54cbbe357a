"""Where a number comes from: machine, software, commit and working tree.

Nothing here imports torch before `provenance` is asked for, so that the command line can tell
which measurements are finished without it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import benchsuite
from benchsuite import allocator
from benchsuite.catalog.registry import MACHINE, MODELS, MeasureSpec
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.records import Record

if TYPE_CHECKING:
    import torch


#: Environment variables that name the machine and the checkout under test.
MACHINE_NAME = "BENCHSUITE_MACHINE"
CHECKOUT = "BENCHSUITE_CHECKOUT"


#: Parts of the package that measure nothing.
_APART = {"analysis", "cli", "report", "profiling"}


def machine_name() -> str:
    """`BENCHSUITE_MACHINE`, or the host's name (asv's own default)."""
    return os.environ.get(MACHINE_NAME) or platform.node() or "unnamed"


@functools.cache
def checkout() -> dict[str, Any]:
    """Commit under test and state of the working tree.

    asv says which commit it has installed (`ASV_COMMIT`); else it is that of the checkout around
    `BENCHSUITE_CHECKOUT` or the working directory. Outside a repository there is none.
    """
    if os.environ.get("ASV_COMMIT"):
        return {"commit": os.environ["ASV_COMMIT"], "dirty": False}
    root = Path(git(Path(os.environ.get(CHECKOUT) or "."), "rev-parse", "--show-toplevel") or ".")
    commit = git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = git(root, "diff", "HEAD") + _untracked_code(root)
    if not changes:
        return {"commit": commit, "dirty": False}
    return {"commit": commit, "dirty": True, "tree": _digest(changes.encode(errors="replace"))}


def _untracked_code(root: Path) -> str:
    """Names and times of Python files that git does not track: a model may live in one."""
    names = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py").split("\0")
    return "".join(
        f"{name}:{(root / name).stat().st_mtime_ns};"
        for name in names
        if name and (root / name).is_file()
    )


def git(root: Path, *words: str) -> str:
    """What git answers in a directory; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()


def cuda_driver_present() -> bool:
    """Whether a CUDA driver can be loaded; does not initialise it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@functools.cache
def source(model: str) -> str:
    """Digest of the code that measures, and of the file of a model from outside.

    A checkout tells of changes, but the suite and a model may live elsewhere.
    """
    package = Path(benchsuite.__file__).parent
    files = [f for f in sorted(package.rglob("*.py")) if f.parts[len(package.parts)] not in _APART]
    module = "" if model == MACHINE else MODELS.get(model).target.partition(":")[0]
    try:
        spec = find_spec(module)
    except Exception:  # not there, or a package around it fails: the attempt itself tells
        spec = None
    if spec is not None and spec.origin and Path(spec.origin) not in files:
        files.append(Path(spec.origin))
    return _digest(b"".join(f.read_bytes() for f in files if f.is_file()))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


@functools.cache
def software() -> dict[str, Any]:
    """Versions, processor and memory: what does not change while a process lives."""
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": float(page * pages),
        "malloc": allocator.description(),
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

    from benchsuite.runtime import device as devices

    return {
        **devices.tf32_flags(),
        **devices.describe(device),
        "load": os.getloadavg()[0],
        "governor": _governor(),
        "threads": torch.get_num_threads(),
    }


def begin(
    case: Case, spec: MeasureSpec, budget: Budget, *, study: str = "", run: str = ""
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
        timeout=budget.timeout,
        min_run_time=budget.min_run_time,
        provenance={
            **software(),
            **{key: value for key, value in tree.items() if key != "commit"},
            "source": source(case.model),
        },
    )
