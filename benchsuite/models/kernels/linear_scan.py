"""The operators `benchsuite::linear_scan` and its backward, on the kernels of linear_scan.c.

They are operators of torch, so that whatever watches operators sees them: the counts on the meta
device, the derived field, and the names of kernels. They run in one thread.

Shape suffixes: B batch, T timesteps, N states.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from benchsuite.models.kernels.compiler import load

SOURCE = "linear_scan.c"
#: Dtypes that the kernels have, and the suffix of their functions.
_REAL = {torch.float32: "float32", torch.float64: "float64"}
_COMPLEX = {torch.complex64: "float32", torch.complex128: "float64"}
_SIZE, _FLAG, _DATA = ctypes.c_int64, ctypes.c_int, ctypes.c_void_p
_SHAPE = (_SIZE, _SIZE, _SIZE, _FLAG, _DATA, _SIZE, _SIZE)

_OPERATORS = torch.library.Library("benchsuite", "FRAGMENT")
_OPERATORS.define("linear_scan(Tensor a, Tensor b, Tensor? h0) -> Tensor")
_OPERATORS.define(
    "linear_scan_backward(Tensor a, Tensor h, Tensor? h0, Tensor g) -> (Tensor, Tensor)"
)


def linear_scan(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """h_t = a_t ⊙ h_{t-1} + b_t, of float32, float64, complex64 or complex128 on the CPU.

    Args:
        a: (B, T, N), or (N,) where it is the same at every timestep.
        b: (B, T, N).
        h0: The state before the first timestep, (B, N); zeros if None.

    Returns:
        h (B, T, N).

    Raises:
        Unavailable: if the kernel cannot be compiled here.
        ValueError: if the kernels do not have the dtype or the device.
    """
    if b.device.type not in {"cpu", "meta"}:
        raise ValueError(f"native kernels run on the CPU; the input is on {b.device}")
    h: Tensor = torch.ops.benchsuite.linear_scan(a, b, h0)
    return h


def linear_scan_backward(
    a: Tensor, h: Tensor, h0: Tensor | None, g: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients (da, db) of `linear_scan`, given its result and the gradient by it.

    Where `a` is (N,), `da` is (B, N), for each row. Arguments and errors are as in `linear_scan`.
    """
    da, db = torch.ops.benchsuite.linear_scan_backward(a, h, h0, g)
    return da, db


@functools.cache
def _function(name: str, dtype: torch.dtype, pointers: int) -> tuple[Callable[..., int], int]:
    """A kernel for a dtype, with its last `pointers` arguments; and whether that is complex."""
    suffix = (_REAL | _COMPLEX).get(dtype)
    if suffix is None:
        allowed = ", ".join(str(known).removeprefix("torch.") for known in _REAL | _COMPLEX)
        raise ValueError(f"native kernels compute in {allowed}, not in {dtype}")
    function = load(SOURCE)[f"{name}_{suffix}"]
    function.argtypes = [*_SHAPE, *[_DATA] * pointers]
    return function, int(dtype in _COMPLEX)


def _call(name: str, a: Tensor, *tensors: Tensor | None) -> None:
    """Call a kernel; the first of `tensors` is (B, T, N), and all of them are contiguous."""
    first = tensors[0]
    assert first is not None
    batch, steps, states = first.shape
    function, is_complex = _function(name, first.dtype, len(tensors))
    scale = 2 if is_complex else 1
    row, step = (0, 0) if a.dim() == 1 else (scale * steps * states, scale * states)
    pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
    if function(batch, steps, states, is_complex, a.data_ptr(), row, step, *pointers):
        raise MemoryError(f"no memory for {states} sums")


def _plain(tensor: Tensor) -> Tensor:
    """In memory as the kernels read it: contiguous, and conjugated for real."""
    return tensor.resolve_conj().contiguous()


def _scan(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    a, b, h0 = _plain(a), _plain(b), None if h0 is None else _plain(h0)
    h = torch.empty_like(b)
    _call("linear_scan", a, b, h0, h)
    return h


def _scan_backward(a: Tensor, h: Tensor, h0: Tensor | None, g: Tensor) -> tuple[Tensor, Tensor]:
    a, h, g, h0 = _plain(a), _plain(h), _plain(g), None if h0 is None else _plain(h0)
    da, db = _like_gradients(a, g)
    _call("linear_scan_backward", a, h, h0, g, da, db)
    return da, db


def _like_gradients(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    da = g.new_empty(len(g), len(a)) if a.dim() == 1 else torch.empty_like(a)
    return da, torch.empty_like(g)


_OPERATORS.impl("linear_scan", _scan, "CPU")
_OPERATORS.impl("linear_scan_backward", _scan_backward, "CPU")
_OPERATORS.impl("linear_scan", lambda _a, b, _h0: torch.empty_like(b), "Meta")
_OPERATORS.impl("linear_scan_backward", lambda a, _h, _h0, g: _like_gradients(a, g), "Meta")
