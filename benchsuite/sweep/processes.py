"""Processes of a run: ending with their parent, time they could run, and memory.

asv runs in a process, its forkserver in a second, and each case in a third. Any of them may be
killed, and none may outlive its parent: it would go on measuring beside the next run.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from benchsuite import host
from benchsuite.errors import UsageError

#: File in a run's private directory: measure → asv's indices of the points to measure.
LEFT = "left.json"

_PR_SET_PDEATHSIG = 1
#: The longest directory that a socket's path may begin with: the kernel allows 107 bytes, and asv
#: adds a directory of 24 and a name of 7.
_LONGEST_DIRECTORY = 60
_SHORT_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm")
#: Share of free memory that a case may take before its allocations fail.
_MEMORY_SHARE = 0.9


def end_with_parent(parent: int, sign: signal.Signals = signal.SIGKILL) -> None:
    """Make the kernel send this process a signal when the thread that started it ends.

    Args:
        parent: Process id of the parent; if it ended before this call, this process ends at once.
        sign: The signal.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(sign))
    if os.getppid() != parent:
        os._exit(1)


def kill_first() -> None:
    """Make the kernel's OOM killer choose this process before the others of the run."""
    with suppress(OSError):  # a read-only /proc; the kernel then takes the largest process
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def limit_memory() -> None:
    """Make allocations fail before the machine runs out of memory, so that one case fails alone."""
    with Path("/proc/self/status").open(encoding="ascii") as lines:
        used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    limit = used + int(_MEMORY_SHARE * host.free_memory())
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


class RunningClock:
    """Seconds during which this process could run, for a caller that asks often.

    Between two calls at most `step` seconds count, so a process that was stopped (SIGSTOP, a paused
    container or virtual machine) has not used up its time.

    Args:
        step: Seconds; the caller must ask more often than that.
        clock: Seconds on the clock.
    """

    def __init__(self, step: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._step, self._clock = step, clock
        self._last = clock()
        self._ran = 0.0

    def __call__(self) -> float:
        """Seconds that the process could run since the clock was made."""
        now = self._clock()
        self._ran += min(now - self._last, self._step)
        self._last = now
        return self._ran


def oom_kills() -> int | None:
    """Number of processes that the kernel has killed for memory; None if it cannot be read.

    The sum of the counts of this process's control group (versions 1 and 2) and of the machine.
    Only a difference of two readings has a meaning.
    """
    counts = [
        count
        for path in (*_memory_events(), Path("/proc/vmstat"))
        if (count := _count_in(path)) is not None
    ]
    return sum(counts) if counts else None


def _memory_events() -> list[Path]:
    """Files of this process's control groups that may have the count."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return []
    paths = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            paths.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
        elif "memory" in controllers.split(","):
            paths.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
    return paths


def _count_in(path: Path) -> int | None:
    try:
        for line in path.read_text("ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    except (OSError, ValueError):
        pass
    return None


def private_directory() -> Path:
    """A new directory for the files of one run, with a path short enough for sockets in it.

    Raises:
        UsageError: if none can be created.
    """
    problem = ""
    candidates = [tempfile.gettempdir(), *_SHORT_DIRECTORIES]
    for directory in dict.fromkeys(candidates):
        if len(os.fsencode(directory)) > _LONGEST_DIRECTORY:
            problem = problem or f"the path of {directory} is too long for a socket"
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="benchsuite-", dir=directory))
        except OSError as error:
            problem = f"{directory}: {error.strerror}"
    raise UsageError(
        f"cannot create a temporary directory ({problem}); set TMPDIR to a directory that can be"
        f" written to, with a path of at most {_LONGEST_DIRECTORY} bytes"
    )
