r"""The real-gated linear recurrent unit of Griffin (De et al. 2024, arXiv 2402.19427, section 2.4).

With u the input (projected to H features by a Linear without bias where it has another number), and
W_r and W_i block-diagonal with `heads` blocks:

    r_t, i_t = σ(W_r u_t + b_r), σ(W_i u_t + b_i)
    log a_t = -8 r_t ⊙ softplus(Λ)
    h_t = a_t ⊙ h_{t-1} + √(1 - a_t²) ⊙ (i_t ⊙ u_t)        y_t = h_t

At the first timestep of a sequence, where there is no state, the factor √(1 - a²) is 1, as in
`recurrentgemma`. The derivative of the root is limited to that at 1 - a² = 10⁻⁶ / 4, since it grows
without bound as a approaches 1.

Initialisation, as in `recurrentgemma`: e^{-softplus Λ}, which is a^{1/(8r)}, uniform by area on the
ring [0.9, 0.999]; blocks ~ N(0, heads/H), biases zero. Parameters: 2H²/heads + 3H.

Operations per timestep, elementwise ones left out: 4H²/heads, in every execution.

Shape suffixes: B batch, T timesteps, F features of the input, H states, K features of a head,
N timesteps of all rows, G gates.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchsuite.models.linear.scan import LinearModel, precise, projection, real_state, recur

_C = 8.0
_RING = (0.9, 0.999)
#: Greatest derivative of the root.
_STEEPEST = 1000.0


class RGLRU(LinearModel):
    """(batch, time, F) and an optional state → (batch, time, H) and the state after it.

    The state is (batch, H), the last output.

    Args:
        input_size, hidden_size: F and H.
        heads: Blocks of the gates' matrices; H is a multiple of it.
        execution: One of "loop", "scan", "hillis_steele", "chunked" and "native".

    Raises:
        ValueError: for another execution, or if H is not a multiple of `heads`.
    """

    mathematics = "rglru"

    def __init__(
        self, input_size: int, hidden_size: int, heads: int = 1, *, execution: str = "scan"
    ) -> None:
        super().__init__(execution)
        if hidden_size % heads:
            raise ValueError(f"hidden_size = {hidden_size} is not a multiple of heads = {heads}")
        self.project = projection(input_size, hidden_size)
        size = hidden_size // heads
        # Columns of r, then those of i.
        self.weight = nn.Parameter(torch.randn(heads, size, 2 * size) / math.sqrt(size))
        self.bias = nn.Parameter(torch.zeros(2, hidden_size))
        low, high = (radius**2 for radius in _RING)
        radius = torch.sqrt(torch.rand(hidden_size) * (high - low) + low)
        # softplus(Λ) = -log radius
        self.Lambda = nn.Parameter(torch.log(torch.expm1(-torch.log(radius))))

    def gates(self, u_BTH: Tensor) -> tuple[Tensor, Tensor]:
        """The gates r and i, each (B, T, H)."""
        u_NHK = u_BTH.flatten(0, 1).unflatten(1, (len(self.weight), -1))
        both_HNK = torch.bmm(u_NHK.transpose(0, 1), self.weight).unflatten(2, (2, -1))
        both_GNH = both_HNK.permute(2, 1, 0, 3).flatten(2) + self.bias.unsqueeze(1)
        r, i = torch.sigmoid(both_GNH).unflatten(1, u_BTH.shape[:2])
        return r, i

    def decay(self, r_BTH: Tensor) -> Tensor:
        """log a (B, T, H)."""
        return -_C * precise(r_BTH) * F.softplus(precise(self.Lambda))

    def forward(self, x_BTF: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, F) and a state (B, H) → (B, T, H) and the state after it.

        Raises:
            ValueError: if the state has another shape.
            Unavailable: if execution is "native" and the kernel cannot be compiled here.
        """
        u_BTH = self.project(x_BTF)
        r_BTH, i_BTH = self.gates(u_BTH)
        log_a = self.decay(r_BTH)
        scale = _BoundedRoot.apply(-torch.expm1(2 * log_a))  # type: ignore[no-untyped-call]
        if state is None:
            scale = torch.cat([torch.ones_like(scale[:, :1]), scale[:, 1:]], 1)
        h0 = None if state is None else real_state(state, (len(u_BTH), u_BTH.shape[2]))
        b_BTH = scale * precise(i_BTH * u_BTH)
        h_BTH = recur(torch.exp(log_a), b_BTH, h0, self.execution, overwrite=True)
        y_BTH = h_BTH.to(u_BTH.dtype)
        return y_BTH, y_BTH[:, -1]


class _BoundedRoot(torch.autograd.Function):
    """√x, with a derivative of at most `_STEEPEST`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sqrt(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g / torch.sqrt(torch.clamp(4 * x, min=_STEEPEST**-2))


rglru_scan = functools.partial(RGLRU, execution="scan")
rglru_native = functools.partial(RGLRU, execution="native")
