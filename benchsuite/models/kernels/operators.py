"""Kernels as operators of torch, `torch.ops.benchsuite`.

Whatever watches operators sees them: the counts on the meta device, the derived field, and the
names of kernels. Where nothing watches, a call does not go through torch's dispatcher, which takes
about 20 µs to reach a function in Python. Those on the CPU run in one thread unless their
module states otherwise.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from benchsuite.models.kernels.compiler import load

#: Dtypes that kernels are compiled for: the ends of their functions' names.
_SUFFIX = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.complex64: "float32",
    torch.complex128: "float64",
}
#: Classes of arguments that do not intercept operators.
_PLAIN = {Tensor, torch.nn.Parameter, type(None), bool, int, float}
_LIBRARY = torch.library.Library("benchsuite", "FRAGMENT")


def define(
    schema: str,
    kernel: Callable[..., Any],
    results: Callable[..., Any],
    *,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Callable[..., Any]:
    """Define an operator of the namespace `benchsuite`.

    Args:
        schema: Its name, arguments and results, as torch writes them.
        kernel: Called with tensors of the device.
        results: Called with tensors on the meta device; returns results without values.
        device: The kind of device that the kernel runs on.

    Returns:
        The operator, which checks the device of its first argument.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    _LIBRARY.impl(name, kernel, device.upper())
    _LIBRARY.impl(name, results, "Meta")
    operator = getattr(torch.ops.benchsuite, name).default

    on_cpu = device == "cpu"

    def checked(first: Tensor, *rest: Any) -> Any:
        if first.is_cpu if on_cpu else first.is_cuda:
            return operator(first, *rest) if _watched(first, *rest) else kernel(first, *rest)
        if not first.is_meta:
            raise ValueError(f"the kernel {name} runs on {device}; the input is on {first.device}")
        return operator(first, *rest)

    return checked


def _watched(*arguments: Any) -> bool:
    """Whether anything observes or transforms torch's operators, or one of these tensors."""
    return (
        torch.compiler.is_compiling()  # first: what follows cannot be compiled
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._autograd._profiler_enabled()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._get_tracing_state() is not None
        or not {type(argument) for argument in arguments} <= _PLAIN
    )


def call(source: str, name: str, *arguments: int | Tensor | None) -> None:
    """Call a function of a C source; tensors have to be `plain` and to stay alive until it ends.

    The dtype of the first tensor decides between the function for float and the one for double.

    Raises:
        Unavailable: if the source cannot be compiled here.
        ValueError: if there is no function for the dtype.
        MemoryError: if the function reports that it cannot allocate its scratch memory.
    """
    dtype = next(a.dtype for a in arguments if isinstance(a, Tensor))
    if function(source, name, dtype)(*map(_passed, arguments)):
        raise MemoryError(f"no memory for the scratch of {name}")


def plain(tensor: Tensor) -> Tensor:
    """In memory as kernels read it: contiguous, and without a conjugation that is still to do."""
    return tensor.resolve_conj().contiguous()


@functools.cache
def function(source: str, name: str, dtype: torch.dtype) -> Any:
    """The function of a C source for a dtype; raises as `call` does."""
    if dtype not in _SUFFIX:
        allowed = ", ".join(str(known).removeprefix("torch.") for known in _SUFFIX)
        raise ValueError(f"native kernels compute in {allowed}, not in {dtype}")
    return load(source)[f"{name}_{_SUFFIX[dtype]}"]


def _passed(argument: int | Tensor | None) -> ctypes.c_void_p | ctypes.c_int64:
    if isinstance(argument, int):
        return ctypes.c_int64(argument)
    return ctypes.c_void_p(None if argument is None else argument.data_ptr())
