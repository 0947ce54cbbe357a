"""The one place that knows devices: what there is, how to wait for it, what it holds.

No function here touches CUDA for a CPU case: a forkserver's parent may call those safely.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from benchsuite import host
from benchsuite.errors import Unsupported

OutOfMemory = torch.OutOfMemoryError


def cuda_problem() -> str:
    """Why torch cannot use a CUDA device here, found out by asking it; empty where it can.

    This may initialise CUDA; `host.cuda_problem` gives the same answer without.
    """
    if torch.cuda.is_available():
        return ""
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built without CUDA"
    return "torch finds no CUDA device"


def require(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        Unsupported: if this machine has none.
    """
    if name == "cuda" and (why := cuda_problem()):
        raise Unsupported(f"device cuda is not available on this machine: {why}")
    return torch.device(name)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> Callable[[], float]:
    """A wall clock whose every reading has first waited for the device, for the edges of blocks."""
    if device.type != "cuda":
        return time.perf_counter

    def synchronised() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return synchronised


class EventTimer:
    """Times blocks on the device's own clock, by pairs of events; waits only once, at the end."""

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise Unsupported("device_time needs a CUDA device")
        self._device = device
        self._pairs: list[tuple[Any, Any]] = []

    @contextmanager
    def block(self) -> Iterator[None]:
        """Put an event before and after what is launched inside."""
        with torch.cuda.device(self._device):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            end.record()
        self._pairs.append((start, end))

    def seconds(self) -> list[float]:
        """Device seconds of each block so far."""
        torch.cuda.synchronize(self._device)
        return [start.elapsed_time(end) / 1e3 for start, end in self._pairs]


def peak_bytes(device: torch.device, step: Callable[[], object]) -> int:
    """Most bytes that the caching allocator held during `step`, beyond what it held before."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_memory(device: torch.device) -> int:
    """Bytes that a new tensor could take on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return host.free_memory()


def describe(device: torch.device) -> dict[str, Any]:
    """Provenance of a CUDA device (empty for a CPU): name, memory, driver, CUDA and cuDNN."""
    if device.type != "cuda":
        return {}
    properties = torch.cuda.get_device_properties(device)
    return {
        "gpu": properties.name,
        "gpu_memory": float(properties.total_memory),
        "driver": _driver_version(),
        "cuda": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or ""),
    }


def _driver_version() -> str:
    try:
        with open("/sys/module/nvidia/version", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def tf32_flags() -> dict[str, bool]:
    """Which float32 kernels may round to TF32; it only matters on CUDA."""
    return {
        "tf32_matmul": torch.backends.cuda.matmul.fp32_precision == "tf32",
        "tf32_cudnn": getattr(torch.backends.cudnn, "rnn").fp32_precision == "tf32",  # noqa: B009
    }


def surroundings(device: torch.device) -> dict[str, Any]:
    """Device, flags and load at this moment, as columns of `records.SCHEMA`."""
    return {
        **tf32_flags(),
        **describe(device),
        "load": os.getloadavg()[0],
        "governor": host.governor(),
        "threads": torch.get_num_threads(),
    }
