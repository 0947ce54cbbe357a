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
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import benchsuite
from benchsuite.catalog.registry import MACHINE, MODELS, MeasureSpec
from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget, Study
from benchsuite.records import Record

if TYPE_CHECKING:
    import torch


#: Environment variables that name the machine and the checkout under test.
MACHINE_NAME = "BENCHSUITE_MACHINE"
CHECKOUT = "BENCHSUITE_CHECKOUT"


_ASK_FOR_CUDA = "from benchsuite import device; print(device.cuda_problem())"
_ASK_SECONDS = 120.0

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


def default_device() -> str:
    """The device that `auto` stands for, everywhere: "cuda" where torch can use it, else "cpu"."""
    return "cpu" if cuda_problem() else "cuda"


def usable_device(name: str) -> str:
    """The device that one case runs on, `auto` resolved.

    Raises:
        UsageError: for cuda where torch cannot use it.
    """
    if name == "cuda" and (why := cuda_problem()):
        raise UsageError(f"device 'cuda' is not available on this machine: {why}; available: cpu")
    return default_device() if name == "auto" else name


def resolve_device(study: Study) -> Study:
    """The study with `auto` replaced by the device that it stands for."""
    if "auto" not in study.axes.get("device", ("auto",)):
        return study
    return study.with_device(default_device())


def require_some_device(study: Study) -> None:
    """Refuse a study of which nothing can be measured here: it is for CUDA, and there is none.

    Args:
        study: With its device resolved.

    Raises:
        UsageError: naming what there is.
    """
    if set(study.axes["device"]) == {"cuda"} and (why := cuda_problem()):
        raise UsageError(
            f"study {study.name!r} runs on device cuda alone, which is not available on this"
            f" machine: {why}; available: cpu (--device cpu)"
        )


@functools.cache
def cuda_problem() -> str:
    """Why torch cannot use a CUDA device on this machine; empty where it can.

    Where a driver is installed, a child process asks torch: this process may not import torch yet,
    and must not initialise CUDA if it is going to fork.
    """
    if not cuda_driver_present():
        return "it has no CUDA driver"
    package = Path(benchsuite.__file__).parent.parent
    paths = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK_FOR_CUDA],
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"asking torch for a CUDA device failed: {type(error).__name__}"
    return asked.stdout.strip()


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
