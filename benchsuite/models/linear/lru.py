r"""The linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349).

With N complex states, H features and u the input (projected to H features by a Linear without bias
where it has another number):

    λ = exp(-exp ν + i exp θ)
    h_t = λ ⊙ h_{t-1} + exp(γ) ⊙ (B u_t)
    y_t = Re(C h_t) + D ⊙ u_t

Initialisation (section 3 and appendix A; `minimal-LRU`): |λ|² uniform in [r_min², r_max²], phase
exp θ uniform in [0, φ_max], γ = log √(1 - |λ|²), real and imaginary parts of B ~ N(0, 1/(2H)) and
of C ~ N(0, 1/N), D ~ N(0, 1). Parameters: 4NH + 3N + H.

Operations per timestep, elementwise ones left out: 8NH, in every execution.

Shape suffixes: B batch, T timesteps, F features of the input, H features, N states.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchsuite.models.linear.scan import (
    CONSTANT,
    LinearModel,
    complex_state,
    precise,
    projection,
    recur,
)


class LRU(LinearModel):
    """(batch, time, F) and an optional state → (batch, time, H) and the state after it.

    The state is (batch, N, 2), the real and imaginary parts of h. Complex parameters are such pairs
    too, so that `.double()` converts them.

    Args:
        input_size: F.
        hidden_size: H.
        state_size: N; H by default.
        execution: One of "loop", "scan", "hillis_steele", "chunked", "fft" and "native".
        r_min, r_max: Least and greatest |λ| at the start.
        max_phase: Greatest phase of λ at the start, φ_max.

    Raises:
        ValueError: for another execution.
    """

    mathematics = "lru"
    executions = CONSTANT

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        state_size: int | None = None,
        *,
        execution: str = "scan",
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * math.pi,
    ) -> None:
        super().__init__(execution)
        states = state_size or hidden_size
        self.project = projection(input_size, hidden_size)
        square = _positive(states) * (r_max**2 - r_min**2) + r_min**2
        self.nu = nn.Parameter(torch.log(-0.5 * torch.log(square)))
        self.theta = nn.Parameter(torch.log(max_phase * _positive(states)))
        self.gamma = nn.Parameter(0.5 * torch.log1p(-square))
        self.B = nn.Parameter(torch.randn(states, hidden_size, 2) / math.sqrt(2 * hidden_size))
        self.C = nn.Parameter(torch.randn(hidden_size, states, 2) / math.sqrt(states))
        self.D = nn.Parameter(torch.randn(hidden_size))

    def eigenvalues(self) -> Tensor:
        """λ (N), complex."""
        radius = torch.exp(-torch.exp(precise(self.nu)))
        return torch.polar(radius, torch.exp(precise(self.theta)))

    def forward(self, x_BTF: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, F) and a state (B, N, 2) → (B, T, H) and the state after it.

        Raises:
            ValueError: if the state has another shape.
            Unavailable: if execution is "native" and the kernel cannot be compiled here.
        """
        u_BTH = self.project(x_BTF)
        rows = (self.gamma.exp()[:, None, None] * self.B).transpose(1, 2).flatten(0, 1)
        b_BTN = torch.view_as_complex(precise(F.linear(u_BTH, rows)).unflatten(2, (-1, 2)))
        h0 = None if state is None else complex_state(state, (len(b_BTN), len(self.nu), 2))
        h_BTN = recur(self.eigenvalues(), b_BTN, h0, self.execution, overwrite=True)
        pairs = torch.view_as_real(h_BTN).to(u_BTH.dtype)
        # Re(C h) = Re C · Re h - Im C · Im h
        columns = torch.stack([self.C[..., 0], -self.C[..., 1]], -1).flatten(1)
        y_BTH = torch.addcmul(F.linear(pairs.flatten(2), columns), self.D, u_BTH)
        return y_BTH, pairs[:, -1]


def _positive(size: int) -> Tensor:
    """Uniform in (0, 1); zero, which has no logarithm, is left out."""
    return torch.rand(size).clamp_min(torch.finfo(torch.float32).eps)


lru_loop = functools.partial(LRU, execution="loop")
lru_scan = functools.partial(LRU, execution="scan")
lru_fft = functools.partial(LRU, execution="fft")
lru_native = functools.partial(LRU, execution="native")
