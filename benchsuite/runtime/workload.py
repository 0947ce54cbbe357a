"""Workloads: the live objects of one case, built once per process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchsuite import units
from benchsuite.grid.case import Case
from benchsuite.runtime import count, device
from benchsuite.runtime.build import SequenceModel, build, build_on_meta
from benchsuite.runtime.match import matched


class TooLargeError(MemoryError):
    """The case cannot fit in memory, known before anything was allocated."""


class Workload:
    """Module, input and step function of a case.

    Creating one checks the device and solves the match; `build` allocates. Exact measures, which
    count on the meta device, need no building.

    Attributes:
        case: The case.
        sizes: The sizes the model is built with, after matching.
        match_deviation: By what fraction the matched quantity misses its target.
        device: The torch device.
        kernel: Kernel library that ran in the forward pass, known after `build`.
        output_size: Features of the output per timestep, known after `build`.

    Raises:
        Unsupported: if this machine has no such device or the model no such option.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.device = device.require(case.device)
        self.sizes, self.match_deviation = matched(case)
        self.dtype: torch.dtype = getattr(torch, case.dtype)
        self.kernel = ""
        self.output_size: int | None = None
        self._module: SequenceModel | None = None
        self._x_BTF: Tensor | None = None

    @property
    def module(self) -> SequenceModel:
        """The model on its device, in the mode of the case."""
        self.build()
        assert self._module is not None
        return self._module

    @property
    def x_BTF(self) -> Tensor:  # noqa: N802 - shape-suffixed
        """The input: (batch, time, features), standard normal."""
        self.build()
        assert self._x_BTF is not None
        return self._x_BTF

    def build(self) -> None:
        """Allocate module and input, run the forward pass once and see which kernels it takes.

        Raises:
            TooLargeError: if it cannot fit in free memory.
        """
        if self._module is not None:
            return
        self._refuse_if_too_large()
        case = self.case
        torch.set_num_threads(case.num_threads)
        # Drawn on the CPU in float32, so that every device and dtype sees the same numbers.
        torch.manual_seed(case.seed)
        module = build(case.model, self.sizes).to(self.device, self.dtype)
        x_BTF = torch.randn(case.batch_size, case.seq_len, case.input_size)
        self._x_BTF = x_BTF.to(self.device, self.dtype)
        self._module = module.train(case.mode == "train")
        with torch.set_grad_enabled(case.mode == "train"), _KernelWatch() as watch:
            output = self._module(self._x_BTF)
        device.synchronize(self.device)
        self.output_size = output.shape[-1]
        self.kernel = watch.summary(self._module, case.seq_len)

    @functools.cached_property
    def step(self) -> Callable[[], object]:
        """One step of the case's mode.

        infer: the forward pass in inference mode. train: forward, mean square of the output,
        backward; gradients are dropped at the end, so that nothing is alive between steps. The
        optimiser is left out: its cost is one of parameters, not of sequence length or kernel.
        """
        module, x_BTF = self.module, self.x_BTF
        if self.case.mode == "infer":
            return torch.inference_mode()(lambda: module(x_BTF))

        def train() -> None:
            module(x_BTF).square().mean().backward()
            module.zero_grad(set_to_none=True)

        return train

    def _refuse_if_too_large(self) -> None:
        case = self.case
        weights = count.parameters(build_on_meta(case.model, self.sizes))
        per_step = case.input_size + self.sizes.hidden_size * (2 if case.bidirectional else 1)
        elements = weights * (2 if case.mode == "train" else 1)
        elements += case.batch_size * case.seq_len * per_step
        need, free = elements * self.dtype.itemsize, device.free_memory(self.device)
        if need > free:
            raise TooLargeError(
                f"refused: parameters, input and output alone need {units.show(need, 'B')},"
                f" {units.show(free, 'B')} are free"
            )

    def provenance(self) -> dict[str, Any]:
        """What is known of this workload, as columns of `records.SCHEMA`."""
        return {
            "kernel": self.kernel,
            "width": self.sizes.hidden_size,
            "match_deviation": self.match_deviation,
            "output_size": self.output_size,
        }


@functools.lru_cache(maxsize=1)
def prepare(case: Case) -> Workload:
    """The workload of a case; asking again for the last one returns the same objects."""
    return Workload(case)


#: What names a library in an operator's name, or in that of a convolution's backend.
_LIBRARIES = {"cudnn": "cuDNN", "mkldnn": "oneDNN", "miopen": "MIOpen"}


class _KernelWatch(TorchDispatchMode):
    """Notes which kernel libraries the dispatched operators end in.

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

    def summary(self, module: nn.Module, seq_len: int) -> str:
        """The libraries in words, and whether Python called them timestep by timestep."""
        libraries = " + ".join(sorted(self.libraries)) or "ATen"
        layers = any(isinstance(part, nn.LSTM | nn.GRU | nn.RNN) for part in module.modules())
        looped = self.calls > 4 * seq_len and not layers
        return f"Python loop ({libraries})" if looped else libraries
