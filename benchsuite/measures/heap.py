"""The heap during one step: every block that malloc returns, to any caller.

Autograd's nodes are C++ objects and a library's scratch is not a tensor either, so a count of
tensors misses both. While the step runs, memray replaces `malloc`, `calloc`, `realloc`,
`posix_memalign`, `aligned_alloc`, `memalign` and `free` in every loaded library. Mapped files do
not count, and neither do Python's arenas, which are mapped too and hold its objects of up to 512
bytes.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchsuite.allocator import collector_paused

#: Bytes above which a block is held with its requested size: nearly a whole number of pages.
_LARGE = 1 << 16
#: Size of the array that marks the step's start and end; nothing else has this size.
_MARK = 999_983


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of one step, in bytes, beyond what was live before it.

    Attributes:
        peak: Most bytes held at once.
        left: Bytes allocated and not released when the step ends.
    """

    peak: int
    left: int


def heap(step: Callable[[], object]) -> Held:
    """Run `step` twice and follow the heap during the second time.

    A block counts with the size that the allocator grants, which exceeds the requested size.
    Releasing blocks from before the step does not count. Python's collector of cycles runs after
    the step and not during it. Allocations of other threads during the step count too.

    Raises:
        RuntimeError: if a tracker of memray is active already.
    """
    import memray

    with _watched_by_python():  # code objects get their line tables, which memray reads
        step()
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as directory, collector_paused():
        path = Path(directory) / "heap"
        # The interval is that of sampling resident sizes, which are not used.
        with memray.Tracker(path, memory_interval_ms=60_000):
            size = _mark()
            step()
            gc.collect(0)  # while it is paused, all new objects are of this generation
            _mark()
        with memray.FileReader(path) as reader:
            held = _follow(reader.get_allocation_records(), size, memray.AllocatorType)
    return held


def _mark() -> int:
    """Allocate and release an array of `_MARK` bytes, and return its size for the allocator."""
    return bytearray(_MARK).__alloc__()


def _follow(records: Iterator[Any], mark: int, kinds: Any) -> Held:
    """Peak and end of the running sum between the two marks."""
    free, mapped = int(kinds.FREE), {int(kinds.MMAP), int(kinds.MUNMAP)}
    granted = _Granted()
    held: dict[int, int] = {}
    total = peak = 0
    inside = False
    for record in records:
        kind = record.allocator
        if kind == free:
            total -= held.pop(record.address, 0)
        elif kind not in mapped:
            size = record.size
            if size == mark:
                if inside:
                    return Held(peak, total)
                inside, total, peak = True, 0, 0
                held.clear()
                continue
            size = granted[size]
            held[record.address] = size
            total += size
            if total > peak:
                peak = total
    raise RuntimeError("the tracker did not record the end of the step")


class _Granted(dict[int, int]):
    """Requested size → size that the allocator of this process grants."""

    def __init__(self) -> None:
        super().__init__()
        library = ctypes.CDLL(None)
        self._malloc, self._usable, self._free = (
            library.malloc,
            library.malloc_usable_size,
            library.free,
        )
        for function in (self._malloc, self._usable, self._free):
            function.argtypes = [ctypes.c_size_t]
            function.restype = ctypes.c_size_t

    def __missing__(self, size: int) -> int:
        self[size] = size if size > _LARGE else self._ask(size)
        return self[size]

    def _ask(self, size: int) -> int:
        block = self._malloc(size)
        granted = int(self._usable(block))
        self._free(block)
        return granted


@contextmanager
def _watched_by_python() -> Iterator[None]:
    """Run a block with a profile function that does nothing."""
    before = sys.getprofile()
    sys.setprofile(lambda *_: None)
    try:
        yield
    finally:
        sys.setprofile(before)
