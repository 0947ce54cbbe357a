"""malloc of this process: which one it is, how it is set, and what its page faults cost.

glibc gives large blocks that are freed back to the kernel, and takes new pages for the next ones;
each of them is a page fault, in which the kernel clears 4 KB. Whether a step pays for that depends
on thresholds that glibc moves while a process runs, and on what lies at the top of the heap, so it
differs between processes of the same program. The axis `allocator` is the policy:

- `default`: malloc is left as it is. It is what a user's own program gets, with that variation.
- `held`: freed memory stays with the process, so that a step which has run before takes no pages.

Sources: mallopt(3); glibc's malloc/malloc.c, "dynamic mmap threshold".
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path

from benchsuite.errors import Unsupported

DEFAULT, HELD = "default", "held"
#: glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
#: Allocators that take malloc's place, by a part of their library's name.
_OTHERS = ("jemalloc", "tcmalloc", "mimalloc")
#: Share of a step's time from which page faults are worth a word.
NOTABLE = 0.1

_held = False


@functools.cache
def description() -> str:
    """Which malloc this process has and what the environment sets of it."""
    settings = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith("MALLOC_") or (name == "GLIBC_TUNABLES" and "glibc.malloc" in value)
    ]
    return ", ".join([_replaced_by() or " ".join(platform.libc_ver()).strip(), *settings])


def _replaced_by() -> str:
    """The library whose malloc is used instead of the C library's, if there is one."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    names = {line.rpartition("/")[2] for line in lines if "/" in line}
    return next((name for name in sorted(names) if any(own in name for own in _OTHERS)), "")


def use(policy: str) -> None:
    """Put this process under a policy of the axis `allocator`.

    Raises:
        Unsupported: for `held` where malloc is not glibc's, and for `default` once this process has
            held memory: glibc cannot be made to move its thresholds again.
    """
    global _held
    if policy == DEFAULT:
        if _held:
            raise Unsupported(
                "an earlier case of this process was measured with allocator=held, which cannot be"
                " undone; measure allocator=default in another process"
            )
        return
    if _held:
        return
    if _replaced_by() or platform.libc_ver()[0] != "glibc":
        raise Unsupported(f"allocator=held sets glibc's malloc; this process has {description()}")
    mallopt = ctypes.CDLL(None).mallopt
    # No block is mapped by itself, and the heap's end is never given back: -1 is the largest size.
    _held = bool(mallopt(_M_MMAP_MAX, 0)) & bool(mallopt(_M_TRIM_THRESHOLD, -1))
    if not _held:
        raise Unsupported("allocator=held: glibc's mallopt has refused the settings")


def fault_share(faults: float, fault_time: float, seconds: float) -> float:
    """Share of a step's time that its page faults take, at most 1.

    Args:
        faults: Page faults a step.
        fault_time: Seconds of one.
        seconds: Of the step.
    """
    return min(1.0, faults * fault_time / seconds) if seconds > 0 else 0.0


def fault_words(share: float, faults: float) -> str:
    """One sentence on a share that is notable: what it is and what helps."""
    return (
        f"About {share:.0%} of its time is page faults ({faults:,.0f} a step): freed memory goes"
        " back to the kernel; keeping it helps (-a allocator=held; in a program of your own"
        " MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ set high, or jemalloc)"
    )
