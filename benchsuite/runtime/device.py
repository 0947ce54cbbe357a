"""Devices: availability, synchronisation, clocks and memory. No other module names torch.cuda.

No function here touches CUDA for a CPU device, so a forkserver's parent may call it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from benchsuite import host
from benchsuite.errors import Unsupported

OutOfMemory = torch.OutOfMemoryError

#: Runs of a module before it is captured, in which libraries choose their algorithms.
_WARM_UPS = 3


def cuda_problem() -> str:
    """Why torch cannot use a CUDA device on this machine; empty if it can.

    This may initialise CUDA; `host.cuda_problem` returns the same answer without doing so.
    """
    if torch.cuda.is_available():
        return ""
    if not torch.backends.cuda.is_built():
        return f"torch {torch.__version__} is built without CUDA"
    return "torch finds no CUDA device"


def require(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        Unsupported: if this machine does not have it.
    """
    if name == "cuda" and (why := cuda_problem()):
        raise Unsupported(f"device cuda is not available on this machine: {why}")
    return torch.device(name)


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> Callable[[], float]:
    """A wall clock that waits for the device before each reading."""
    if device.type != "cuda":
        return time.perf_counter

    def synchronised() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return synchronised


class EventTimer:
    """Times blocks on the device's clock, by pairs of events; waits only once, at the end."""

    def __init__(self, device: torch.device) -> None:
        if device.type != "cuda":
            raise Unsupported("device_time needs a CUDA device")
        self._device = device
        self._pairs: list[tuple[Any, Any]] = []

    @contextmanager
    def block(self) -> Iterator[None]:
        """Record an event before and after the work launched inside."""
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


def graphed(module: nn.Module, x_BTF: Tensor, *, train: bool) -> Callable[[Tensor], Tensor]:
    """Capture a module in CUDA graphs, and return a function that replays them.

    Args:
        module: A module on a CUDA device; it is not changed.
        x_BTF: An example input; later ones must have its shape.
        train: Capture the backward pass too.

    Raises:
        RuntimeError: if the module cannot be captured.
    """
    if train:  # the callable is replaced in place, so it is another one with the same parameters
        captured: Any = torch.cuda.make_graphed_callables(_Shell(module), (x_BTF.clone(),))
        return captured  # type: ignore[no-any-return]
    static = x_BTF.clone()
    stream = torch.cuda.Stream(x_BTF.device)
    stream.wait_stream(torch.cuda.current_stream(x_BTF.device))
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                module(static)
        torch.cuda.current_stream(x_BTF.device).wait_stream(stream)
        with torch.cuda.graph(graph):
            output: Tensor = module(static)

    def replay(x_BTF: Tensor) -> Tensor:
        static.copy_(x_BTF)
        graph.replay()
        return output

    return replay


class _Shell(nn.Module):
    """A module around another one."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.train(inner.training)

    def forward(self, x_BTF: Tensor) -> Tensor:
        output: Tensor = self.inner(x_BTF)
        return output


def peak_bytes(device: torch.device, step: Callable[[], object]) -> int:
    """Most bytes that the caching allocator held during `step`, beyond those held before."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def free_memory(device: torch.device) -> int:
    """Bytes that new tensors can take on the device."""
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
    """Whether float32 kernels may round to TF32, which only matters on CUDA."""
    return {
        "tf32_matmul": torch.backends.cuda.matmul.fp32_precision == "tf32",
        "tf32_cudnn": getattr(torch.backends.cudnn, "rnn").fp32_precision == "tf32",  # noqa: B009
    }


def surroundings(device: torch.device) -> dict[str, Any]:
    """Device, flags and current load, as columns of `records.SCHEMA`."""
    return {
        **tf32_flags(),
        **describe(device),
        "load": os.getloadavg()[0],
        "governor": host.governor(),
        "threads": torch.get_num_threads(),
    }
