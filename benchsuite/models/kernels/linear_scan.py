"""h_t = a_t ⊙ h_{t-1} + b_t and its gradients, by the kernels of linear_scan.c.

Tensors are float32, float64, complex64 or complex128.

Shape suffixes: B batch, T timesteps, N states.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchsuite.models.kernels.operators import call, define, plain

SOURCE = "linear_scan.c"


def _kernel(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    return _written(a, plain(b), h0, torch.empty(b.shape, dtype=b.dtype))


def _kernel_in_place(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    if plain(b) is not b:
        return b.copy_(_kernel(a, b, h0))
    return _written(a, b, h0, b)


def _written(a: Tensor, b: Tensor, h0: Tensor | None, h: Tensor) -> Tensor:
    a, h0 = plain(a), None if h0 is None else plain(h0)
    call(SOURCE, "linear_scan", *_sizes(b), a, *_strides(a, b), b, h0, h)
    return h


def _backward_kernel(a: Tensor, h: Tensor, h0: Tensor | None, g: Tensor) -> tuple[Tensor, Tensor]:
    a, h, g, h0 = plain(a), plain(h), plain(g), None if h0 is None else plain(h0)
    da, db = _gradients(a, h, h0, g)
    sizes, strides = _sizes(g), _strides(a, g)
    call(SOURCE, "linear_scan_backward", *sizes, a, *strides, h, h0, g, da, db)
    return da, db


def _sizes(b: Tensor) -> tuple[int, ...]:
    return (*b.shape, int(b.is_complex()))


def _strides(a: Tensor, b: Tensor) -> tuple[int, int]:
    """Numbers from one row of `a` to the next, and from one timestep to the next."""
    if a.dim() == 1:
        return 0, 0
    _, steps, states = b.shape
    width = 2 * states if a.is_complex() else states
    return steps * width, width


def _gradients(a: Tensor, _h: Tensor, _h0: Tensor | None, g: Tensor) -> tuple[Tensor, Tensor]:
    da = g.new_empty(len(g), len(a)) if a.dim() == 1 else torch.empty_like(a)
    return da, torch.empty_like(g)


#: (a, b, h0) → h (B, T, N), where a is (B, T, N), or (N,) if it is the same at every timestep, b is
#: (B, T, N), and h0 (B, N) or None, for zeros.
linear_scan = define(
    "linear_scan(Tensor a, Tensor b, Tensor? h0) -> Tensor",
    _kernel,
    lambda _a, b, _h0: torch.empty_like(b),
)
#: As `linear_scan`, with the result in the memory of b, which saves the pages of a new one.
linear_scan_ = define(
    "linear_scan_(Tensor a, Tensor(a!) b, Tensor? h0) -> Tensor(a!)",
    _kernel_in_place,
    lambda _a, b, _h0: b,
)
#: (a, h, h0, g) → (da, db), where g is the gradient by h. If `a` is (N,), da is (B, N): row by row.
linear_scan_backward = define(
    "linear_scan_backward(Tensor a, Tensor h, Tensor? h0, Tensor g) -> (Tensor, Tensor)",
    _backward_kernel,
    _gradients,
)
