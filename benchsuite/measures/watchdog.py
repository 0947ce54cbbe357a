"""Ends a case at its limit in time, and notices that the system has suspended it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Seconds between two looks at the clock: one wake-up of a thread, some 50 µs.
_TICK = 1.0
#: A look that comes this late, in seconds, while the process did next to nothing: it was stopped.
_LATE = 2.0
#: The least share of that time that a process which was not stopped spends computing.
_BUSY = 0.25


class Watchdog:
    """A thread that calls a function when the process has been able to run for a limit.

    Time in which the whole process was stopped (SIGSTOP, a paused container, a machine that
    sleeps) does not count. A process that waits in the kernel is still woken each tick, so it is
    not taken for a stopped one; one that computes without giving a thread its turn spends CPU time.

    Args:
        limit: Seconds.
        give_up: Called in the thread, at most once.
        clock: Seconds on the clock, the machine's sleep included.
        cpu_time: CPU seconds of this process.
    """

    def __init__(
        self,
        limit: float,
        give_up: Callable[[], None],
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        cpu_time: Callable[[], float] = time.process_time,
    ) -> None:
        self._limit, self._give_up = limit, give_up
        self._clock, self._cpu_time = clock, cpu_time
        self._looked, self._computed = clock(), cpu_time()
        self._ran = self._suspended = 0.0
        self._lock, self._done = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> float:
        """Stop watching; seconds that the process was suspended for."""
        self._done.set()
        self.look()
        return self._suspended

    def look(self) -> bool:
        """Look at the clock; whether the limit has passed."""
        with self._lock:
            now, computed = self._clock(), self._cpu_time()
            passed, used = now - self._looked, computed - self._computed
            self._looked, self._computed = now, computed
            if passed > _TICK + _LATE and used < _BUSY * passed:
                self._suspended += passed - used
                self._ran += used
            else:
                self._ran += passed
            return self._ran >= self._limit

    def _watch(self) -> None:
        while not self._done.wait(max(0.0, min(_TICK, self._limit - self._ran))):
            if self.look() and not self._done.is_set():
                self._give_up()
                return
