"""minGRU and minLSTM from the inputs of their gates to all states, by the kernels of minimal.c.

Tensors are float32 or float64.

Shape suffixes: B batch, T timesteps, N states, P = G N + N inputs of G gates and of the candidate.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchsuite.models.kernels.operators import call, define, plain

SOURCE = "minimal.c"


def _kernel(p: Tensor, h0: Tensor) -> Tensor:
    p, h0 = plain(p), plain(h0)
    h = _states(p, h0)
    call(SOURCE, "minimal", *_sizes(p, h0), p, h0, h)
    return h


def _backward_kernel(p: Tensor, h0: Tensor, h: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    p, h0, h, g = map(plain, (p, h0, h, g))
    dp, dh0 = _gradients(p, h0, h, g)
    call(SOURCE, "minimal_backward", *_sizes(p, h0), p, h0, h, g, dp, dh0)
    return dp, dh0


def _sizes(p: Tensor, h0: Tensor) -> tuple[int, ...]:
    batch, steps, width = p.shape
    states = h0.shape[1]
    return batch, steps, states, width // states - 1


def _states(p: Tensor, h0: Tensor) -> Tensor:
    return p.new_empty(*p.shape[:2], h0.shape[1])


def _gradients(p: Tensor, h0: Tensor, _h: Tensor, _g: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(p), torch.empty_like(h0)


#: (p, h0) → h (B, T, N), where p is (B, T, P): z and the candidate of minGRU, or f, i and the
#: candidate of minLSTM, before their nonlinearities; and h0 is (B, N).
minimal = define("minimal(Tensor p, Tensor h0) -> Tensor", _kernel, _states)
#: (p, h0, h, g) → (dp, dh0), where g is the gradient by h.
minimal_backward = define(
    "minimal_backward(Tensor p, Tensor h0, Tensor h, Tensor g) -> (Tensor, Tensor)",
    _backward_kernel,
    _gradients,
)
