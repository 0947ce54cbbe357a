"""Memory management of this process: its malloc, and Python's collector of cycles.

glibc returns large blocks that are freed to the kernel, and takes new pages for the next ones; each
of them is a page fault, in which the kernel clears 4 KB. Whether a step pays for that depends on
thresholds that glibc moves while a process runs, and on what lies at the top of the heap, so it
differs between processes of the same program. The axis `allocator` is the policy:

- `default`: malloc keeps its settings, as in a user's own program, with that variation.
- `held`: freed memory stays with the process, so that a step which has run before takes no pages.

Sources: mallopt(3); glibc's malloc/malloc.c, "dynamic mmap threshold".
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchsuite.errors import Unsupported

DEFAULT, HELD = "default", "held"
#: Parameters of mallopt in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
#: Allocators that replace malloc, by a part of their library's name.
_REPLACEMENTS = ("jemalloc", "tcmalloc", "mimalloc")
#: Share of a step's time from which page faults are reported.
NOTABLE = 0.1

_held = False


@functools.cache
def description() -> str:
    """The malloc of this process, and its settings in the environment."""
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
    return next((name for name in sorted(names) if any(part in name for part in _REPLACEMENTS)), "")


def use(policy: str) -> None:
    """Apply a policy of the axis `allocator` to this process.

    Raises:
        Unsupported: for `held` where malloc is not glibc's, and for `default` once this process has
            held memory: glibc has no way to adapt its thresholds again.
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
    # No block is mapped separately, and the heap's end is never returned: -1 is the largest size.
    _held = bool(mallopt(_M_MMAP_MAX, 0)) & bool(mallopt(_M_TRIM_THRESHOLD, -1))
    if not _held:
        raise Unsupported("allocator=held: glibc's mallopt refused the settings")


def fault_share(faults: float, fault_time: float, seconds: float) -> float:
    """Share of a step's time that its page faults take, at most 1.

    Args:
        faults: Page faults per step.
        fault_time: Seconds per page fault.
        seconds: Duration of the step.
    """
    return min(1.0, faults * fault_time / seconds) if seconds > 0 else 0.0


def fault_words(share: float, faults: float) -> str:
    """A sentence about a notable share: how large it is and what reduces it, without full stop."""
    return (
        f"About {share:.0%} of its time is page faults ({faults:,.0f} a step): freed memory goes"
        " back to the kernel; keeping it helps (-a allocator=held; in a program of your own"
        " MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ set high, or jemalloc)"
    )


@contextmanager
def collector_paused() -> Iterator[None]:
    """Switch Python's collector of cycles off for a block."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
