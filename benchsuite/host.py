"""The machine this process runs on: name, processor, memory, CUDA driver and git; no torch."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchsuite.errors import UsageError

#: Environment variable that names the machine.
MACHINE_NAME = "BENCHSUITE_MACHINE"
_ASK_FOR_CUDA = "from benchsuite.runtime import device; print(device.cuda_problem())"
_ASK_SECONDS = 120.0
#: Files with limit and use of the control group's memory, version 2 and version 1.
_CGROUP_MEMORY = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def machine_name() -> str:
    """`BENCHSUITE_MACHINE`, or the host's name (asv's own default)."""
    return os.environ.get(MACHINE_NAME) or platform.node() or "unnamed"


@functools.cache
def hardware() -> dict[str, Any]:
    """Processor, usable cores and memory, as columns of `records.SCHEMA`."""
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": float(page * pages),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def governor() -> str:
    """The frequency governor of the first processor; empty if it cannot be read."""
    try:
        path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def free_memory() -> int:
    """Bytes of memory that this process can still take, within its control group's limit."""
    known = []
    with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123 - not a real file
        known += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for limit, used in _CGROUP_MEMORY:
        try:
            with open(limit, encoding="ascii") as a, open(used, encoding="ascii") as b:  # noqa: PTH123
                known.append(int(a.read()) - int(b.read()))
        except (OSError, ValueError):
            continue  # no such control group, or the limit is "max"
    return min(known, default=1 << 62)


def cuda_driver_present() -> bool:
    """Whether a CUDA driver can be loaded; does not initialise it."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def default_device() -> str:
    """The device that `auto` stands for, everywhere: "cuda" where torch can use it, else "cpu"."""
    return "cpu" if cuda_problem() else "cuda"


def usable_device(name: str) -> str:
    """The device that one case runs on, with `auto` resolved.

    Raises:
        UsageError: for cuda if torch cannot use it.
    """
    if name == "cuda" and (why := cuda_problem()):
        raise UsageError(f"device 'cuda' is not available on this machine: {why}; available: cpu")
    return default_device() if name == "auto" else name


@functools.cache
def cuda_problem() -> str:
    """Why torch cannot use a CUDA device on this machine; empty if it can.

    If a driver is installed, a child process asks torch: this process may not have to import torch,
    and must not initialise CUDA if it is going to fork.
    """
    if not cuda_driver_present():
        return "it has no CUDA driver"
    package = Path(__file__).parent.parent
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


def git(root: Path, *words: str) -> str:
    """The output of a git command in a directory; empty if git or the repository is missing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace").strip()
