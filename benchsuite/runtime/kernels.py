"""Which kernel libraries a forward pass really ends in."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

#: What names a library in an operator's name, or in that of a convolution's backend.
_LIBRARIES = {"cudnn": "cuDNN", "mkldnn": "oneDNN", "miopen": "MIOpen"}


class KernelWatch(TorchDispatchMode):
    """Records which kernel libraries the dispatched operators end in.

    A library's recurrent layer is dispatched under its own name. A convolution is dispatched under
    a common one; torch is asked which backend it selects for those very arguments.
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
        else:
            self.libraries.update(n for s, n in _LIBRARIES.items() if s in name)
        return func(*args, **(kwargs or {}))

    @property
    def kernel(self) -> str:
        """The libraries in words, such as "oneDNN"; "ATen" where no other one was called."""
        return " + ".join(sorted(self.libraries)) or "ATen"

    def looped(self, module: nn.Module, seq_len: int) -> bool:
        """Whether Python called operators timestep by timestep."""
        layers = any(isinstance(part, nn.LSTM | nn.GRU | nn.RNN) for part in module.modules())
        return self.calls > 4 * seq_len and not layers
