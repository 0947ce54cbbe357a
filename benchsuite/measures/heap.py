"""The heap during one step: every block that malloc hands out, whoever asks for it.

Autograd's nodes are C++ objects and a library's scratch is not a tensor either, so a count of
tensors misses both. memray puts its own functions in the place of `malloc`, `calloc`, `realloc`,
`posix_memalign`, `aligned_alloc`, `memalign` and `free` in every loaded library, while the step
runs and no longer. Mapped files do not count, and neither do Python's arenas, which are mapped too
and hold its objects of up to 512 bytes.
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

#: Blocks above this are a whole number of pages or nearly so: what was asked for is what is held.
_LARGE = 1 << 16
#: An array of so many bytes, which nothing else asks for, marks the step's start and end.
_MARK = 999_983


@dataclass(frozen=True, slots=True)
class Held:
    """Memory of one step, in bytes, beyond what was live before it.

    Attributes:
        peak: Most that was held at once; releasing what the step did not allocate does not count.
        left: What the step has allocated and not released when it ends.
    """

    peak: int
    left: int


def heap(step: Callable[[], object]) -> Held:
    """Run `step` twice and follow the heap during the second time.

    A block counts with the size that the allocator grants, which is above what was asked for.
    Python's collector of cycles runs after the step and not inside. What other threads allocate
    meanwhile counts too.

    Raises:
        RuntimeError: if a tracker of memray is active already.
    """
    import memray

    with _watched_by_python():  # code objects get their tables of lines, which memray looks into
        step()
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as directory, collector_paused():
        path = Path(directory) / "heap"
        # The interval is of resident sizes, which are not read.
        with memray.Tracker(path, memory_interval_ms=60_000):
            size = _mark()
            step()
            gc.collect(0)  # while the collector rests, all that the step made is of this generation
            _mark()
        with memray.FileReader(path) as reader:
            found = _follow(reader.get_allocation_records(), size, memray.AllocatorType)
    return found


def _mark() -> int:
    """Allocate and release an array of an unusual size; its bytes as the allocator sees them."""
    return bytearray(_MARK).__alloc__()


def _follow(records: Iterator[Any], mark: int, kinds: Any) -> Held:
    """The running sum between the two marks."""
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
    raise RuntimeError("the tracker has not seen the end of the step")


class _Granted(dict[int, int]):
    """What the allocator of this process grants to a request of so many bytes."""

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
    """With a profile function that does nothing."""
    before = sys.getprofile()
    sys.setprofile(lambda *_: None)
    try:
        yield
    finally:
        sys.setprofile(before)
