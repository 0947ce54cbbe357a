"""Kernels: the libraries that a forward pass calls, and those that are compiled first."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchsuite.errors import Unsupported

#: Part of the name of an operator, or of a convolution's backend → library.
_LIBRARIES = {
    "cudnn": "cuDNN",
    "mkldnn": "oneDNN",
    "miopen": "MIOpen",
    "_triton": "Triton",  # before "benchsuite", which is in these names too
    "benchsuite": "native",
}


class KernelWatch(TorchDispatchMode):
    """Records the kernel libraries that the dispatched operators call.

    The operator of a library's recurrent layer names the library. That of a convolution does not;
    torch is asked which backend it selects for the same arguments. Fourier transforms run in the
    library that torch was built with.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.libraries: set[str] = set()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        name = func.name()
        if name == "aten::convolution":
            backend = str(torch._C._select_conv_backend(*args)).rpartition(".")[2].lower()
            self.libraries.add(next((n for s, n in _LIBRARIES.items() if s in backend), "ATen"))
        elif name.startswith("aten::_fft_"):
            self.libraries.add(_transforms_of(args[0]))
        else:
            self.libraries.update([n for s, n in _LIBRARIES.items() if s in name][:1])
        return func(*args, **(kwargs or {}))

    @property
    def kernel(self) -> str:
        """The libraries by name, such as "oneDNN"; "ATen" if no other one was called."""
        return " + ".join(sorted(self.libraries)) or "ATen"

    def looped(self, module: nn.Module, seq_len: int) -> bool:
        """Whether Python called operators timestep by timestep."""
        layers = any(isinstance(part, nn.LSTM | nn.GRU | nn.RNN) for part in module.modules())
        return self.calls > 4 * seq_len and not layers


def require_kernels(model: str, module: nn.Module, device: str) -> None:
    """Have the kernels of a module compiled, so that no step has to.

    Args:
        model: Its name.
        module: A module whose parts may have a method `kernel_problem(device)`, which compiles the
            kernels that the part needs, and returns why it cannot run; empty if it can.
        device: Where it is going to run.

    Raises:
        Unsupported: if a part cannot run on this machine or device.
    """
    for part in module.modules():
        problem = getattr(part, "kernel_problem", lambda _: "")(device)
        if problem:
            raise Unsupported(f"{model} {problem}")


def _transforms_of(tensor: torch.Tensor) -> str:
    """The library of the Fourier transforms of a tensor's device."""
    if tensor.is_cuda:
        return "cuFFT"
    return "MKL" if torch.backends.mkl.is_available() else "PocketFFT"
