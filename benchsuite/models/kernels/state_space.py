"""Diagonal state spaces from inputs to outputs, by the kernels of state_space.c.

Tensors are float32 or float64. Only the state before every sixteenth timestep is kept for the way
back, and only if asked for.

Shape suffixes: B batch, T timesteps, H features, N states of each, K kept states.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from benchsuite.models.kernels.operators import call, define, plain

SOURCE = "state_space.c"
#: Timesteps from one kept state to the next; as in state_space.c.
BLOCK = 16


def _results(u: Tensor, h0: Tensor, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    blocks = -(-u.shape[1] // BLOCK) if keep else 0
    kept = h0.new_empty(len(h0), blocks, *h0.shape[1:])
    return torch.empty_like(u), torch.empty_like(h0), kept


def _sizes(u: Tensor, h0: Tensor) -> tuple[int, ...]:
    return (*u.shape, h0.shape[-2])


def _s4d(
    u: Tensor, factor: Tensor, c: Tensor, h0: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    u, factor, c, h0 = map(plain, (u, factor, c, h0))
    y, last, kept = _results(u, h0, keep)
    call(SOURCE, "s4d", *_sizes(u, h0), factor, c, u, h0, y, last, kept if keep else None)
    return y, last, kept


def _s4d_backward(
    u: Tensor, factor: Tensor, c: Tensor, kept: Tensor, g: Tensor, g_last: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    u, factor, c, kept, g = map(plain, (u, factor, c, kept, g))
    carry = g_last.clone(memory_format=torch.contiguous_format)
    dfactor, dc, du = torch.empty_like(carry), torch.empty_like(carry), torch.empty_like(u)
    given = (factor, c, u, kept, g)
    call(SOURCE, "s4d_backward", *_sizes(u, carry), *given, carry, dfactor, dc, du)
    return du, dfactor.sum(0), dc.sum(0), carry


def _selective(
    u: Tensor, step: Tensor, B: Tensor, C: Tensor, A: Tensor, h0: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    u, step, B, C, A, h0 = map(plain, (u, step, B, C, A, h0))
    y, last, kept = _results(u, h0, keep)
    given = (A, step, u, B, C, h0)
    call(SOURCE, "selective", *_sizes(u, h0), *given, y, last, kept if keep else None)
    return y, last, kept


def _selective_backward(
    u: Tensor,
    step: Tensor,
    B: Tensor,
    C: Tensor,
    A: Tensor,
    kept: Tensor,
    g: Tensor,
    g_last: Tensor,
) -> tuple[Tensor, ...]:
    u, step, B, C, A, kept, g = map(plain, (u, step, B, C, A, kept, g))
    carry = g_last.clone(memory_format=torch.contiguous_format)
    dA, du, dstep, dB, dC = map(torch.empty_like, (carry, u, step, B, C))
    given = (A, step, u, B, C, kept, g)
    sizes = _sizes(u, carry)
    call(SOURCE, "selective_backward", *sizes, *given, carry, dA, dstep, du, dB, dC)
    return du, dstep, dB, dC, dA.sum(0), carry


#: (u, factor, c, h0, keep) → (y, last, kept): u and y are (B, T, H), factor and c (2, N, H), h0 and
#: last (B, 2, N, H), kept (B, K, 2, N, H); two planes are real and imaginary parts.
s4d = define(
    "s4d(Tensor u, Tensor factor, Tensor c, Tensor h0, bool keep) -> (Tensor, Tensor, Tensor)",
    _s4d,
    lambda u, _factor, _c, h0, keep: _results(u, h0, keep),
)
#: (u, factor, c, kept, g, g_last) → (du, dfactor, dc, dh0): g is by y, g_last by the last state.
s4d_backward = define(
    "s4d_backward(Tensor u, Tensor factor, Tensor c, Tensor kept, Tensor g, Tensor g_last)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _s4d_backward,
    lambda u, factor, c, _kept, _g, g_last: tuple(map(torch.empty_like, (u, factor, c, g_last))),
)
#: (u, step, B, C, A, h0, keep) → (y, last, kept): u, step and y are (B, T, H), B and C (B, T, N),
#: A (N, H), h0 and last (B, N, H), kept (B, K, N, H).
selective = define(
    "selective(Tensor u, Tensor step, Tensor B, Tensor C, Tensor A, Tensor h0, bool keep)"
    " -> (Tensor, Tensor, Tensor)",
    _selective,
    lambda u, _step, _B, _C, _A, h0, keep: _results(u, h0, keep),
)
#: (u, step, B, C, A, kept, g, g_last) → (du, dstep, dB, dC, dA, dh0).
selective_backward = define(
    "selective_backward(Tensor u, Tensor step, Tensor B, Tensor C, Tensor A, Tensor kept, Tensor g,"
    " Tensor g_last) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _selective_backward,
    lambda u, step, B, C, A, _kept, _g, g_last: tuple(
        map(torch.empty_like, (u, step, B, C, A, g_last))
    ),
)


def _flops(u_shape: tuple[int, ...], state_shape: tuple[int, ...]) -> int:
    """Those of the sums over the states; what is elementwise does not count."""
    return 2 * math.prod(u_shape) * math.prod(state_shape[1:-1])


@register_flop_formula([torch.ops.benchsuite.s4d, torch.ops.benchsuite.selective])
def _forward_flops(u_shape: tuple[int, ...], *shapes: Any, **_results: Any) -> int:
    return _flops(u_shape, shapes[-2])


@register_flop_formula([torch.ops.benchsuite.s4d_backward, torch.ops.benchsuite.selective_backward])
def _backward_flops(u_shape: tuple[int, ...], *shapes: Any, **_results: Any) -> int:
    """A sum has two such products for its gradients."""
    return 2 * _flops(u_shape, shapes[-1])
