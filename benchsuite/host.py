"""The machine this process runs on: name, processor, memory, CUDA driver and git; no torch."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchsuite.errors import UsageError

#: Environment variable that names the machine.
MACHINE_NAME = "BENCHSUITE_MACHINE"
#: A name that is also a directory and a word of asv's command line; undecodable bytes do not match.
_MACHINE = re.compile(r"[^\W_][\w .+-]{0,99}")
#: Limit of one git command; a state that takes longer to determine is unknown.
GIT_SECONDS = 30.0
_ASK_FOR_CUDA = "from benchsuite.runtime import device; print(device.cuda_problem())"
_ASK_SECONDS = 120.0
#: Files with limit and use of the control group's memory, version 2 and version 1.
_CGROUP_MEMORY = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def machine_name() -> str:
    """`BENCHSUITE_MACHINE`, or the host's name (asv's own default).

    Raises:
        UsageError: if it cannot be the name of a directory, in which asv keeps the results.
    """
    given = os.environ.get(MACHINE_NAME)
    name = given or platform.node() or "unnamed"
    if _MACHINE.fullmatch(name):
        return name
    source = f"{MACHINE_NAME}={name!r}" if given else f"the host's name {name!r}"
    raise UsageError(
        f"{source} is not allowed as the name of a machine; up to 100 letters, digits, spaces and"
        f" _.+- starting with a letter or digit{'' if given else f' (set {MACHINE_NAME})'}"
    )


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


def descendants(pid: int) -> list[int]:
    """All processes that a process has started, and theirs; groups and sessions do not matter."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in children:
            pids += [child, *descendants(child)]
    return pids


class GitError(Exception):
    """A git command that failed; the message is one line with the reason.

    Attributes:
        finished: Whether git ended by itself, with an exit code.
        no_repository: Whether git is missing or the directory is not in a repository.
    """

    def __init__(self, reason: str, *, finished: bool = False, no_repository: bool = False) -> None:
        super().__init__(reason)
        self.finished = finished
        self.no_repository = no_repository


def run_git(root: Path, *words: str) -> bytes:
    """The output of a git command in a directory.

    Raises:
        GitError: if git is missing, fails, is killed, or needs more than `GIT_SECONDS`.
    """
    name = f"git {words[0]}"
    # In the C locale, messages can be recognised; without locks, a run does not disturb others.
    variables = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
            env=variables,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"{name} took longer than {GIT_SECONDS:g} s") from None
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise GitError(f"{name}: {error.strerror}", no_repository=missing) from error
    if done.returncode == 0:
        return done.stdout
    if done.returncode < 0:
        raise GitError(f"{name} was killed by signal {-done.returncode}")
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    reason = next((line for line in lines if line.startswith(("fatal:", "error:"))), "no message")
    outside = any(words in reason for words in ("not a git repository", "run in a work tree"))
    raise GitError(f"{name} failed: {reason}", finished=True, no_repository=outside)


def git(root: Path, *words: str) -> str:
    """The output of a git command in a directory; empty if it fails for any reason."""
    try:
        return run_git(root, *words).decode(errors="replace").strip()
    except GitError:
        return ""
