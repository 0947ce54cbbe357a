r"""The selective state space of Mamba (Gu & Dao 2023, arXiv 2312.00752, section 3), its core alone.

With u the input (projected to H features by a Linear without bias where it has another number), N
states for each feature, and a step Δ of rank R = ⌈H/16⌉:

    (d_t, B_t, C_t) = W u_t                   R, N and N numbers
    Δ_t = softplus(W_Δ d_t + b_Δ)
    h_t = exp(Δ_t A) ⊙ h_{t-1} + Δ_t B_t u_t   (H, N); Euler's step for B, as in the reference
    y_t = h_t C_t + D ⊙ u_t

Initialisation (`mamba_simple.py`): A = -(1, …, N) for each feature, kept as log(-A); softplus b_Δ
log-uniform in [10⁻³, 10⁻¹]; W_Δ uniform within ±R^{-½}; W that of `nn.Linear`; D = 1. Parameters:
H(R + 2N) + RH + H + HN + H.

Operations per timestep, elementwise ones left out: 2H(R + 2N) + 2RH + 2HN.

Shape suffixes: B batch, T timesteps, F features of the input, H features, N states of each.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchsuite.models.kernels import state_space as kernel
from benchsuite.models.linear.scan import (
    LinearModel,
    precise,
    projection,
    real_state,
    recur,
    refuse_second_derivative,
)

_STEP = (1e-3, 1e-1)


class SelectiveScan(LinearModel):
    """(batch, time, F) and an optional state → (batch, time, H) and the state after it.

    The state is (batch, H, N).

    Args:
        input_size, hidden_size: F and H.
        state_size: N.
        execution: One of "loop", "scan", "hillis_steele", "chunked" and "native".

    Raises:
        ValueError: for another execution.
    """

    mathematics = "selective"
    source = kernel.SOURCE

    def __init__(
        self, input_size: int, hidden_size: int, state_size: int = 16, *, execution: str = "scan"
    ) -> None:
        super().__init__(execution)
        self.project = projection(input_size, hidden_size)
        rank = math.ceil(hidden_size / 16)
        self.sizes = [rank, state_size, state_size]
        self.from_input = nn.Linear(hidden_size, sum(self.sizes), bias=False)
        self.to_step = nn.Linear(rank, hidden_size)
        low, high = map(math.log, _STEP)
        with torch.no_grad():
            self.to_step.weight.uniform_(-(rank**-0.5), rank**-0.5)
            step = torch.exp(torch.rand(hidden_size) * (high - low) + low)
            self.to_step.bias.copy_(torch.log(torch.expm1(step)))
        log_A = torch.log(torch.arange(1, state_size + 1).float())
        self.log_A = nn.Parameter(log_A.repeat(hidden_size, 1))
        self.D = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x_BTF: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, F) and a state (B, H, N) → (B, T, H) and the state after it.

        Raises:
            ValueError: if the state has another shape.
            Unavailable: if execution is "native" and the kernel cannot be compiled here.
        """
        u_BTH = self.project(x_BTF)
        d_BTR, B_BTN, C_BTN = map(precise, self.from_input(u_BTH).split(self.sizes, -1))
        step_BTH = F.softplus(precise(self.to_step(d_BTR.to(u_BTH.dtype))))
        A_HN = -torch.exp(precise(self.log_A))
        h0 = None
        if state is not None:
            h0 = real_state(state, (len(u_BTH), *A_HN.shape))
        run = _by_kernel if self.execution == "native" else self._by_states
        y_BTH, h_BHN = run(precise(u_BTH), step_BTH, B_BTN, C_BTN, A_HN, h0)
        y_BTH = torch.addcmul(y_BTH.to(u_BTH.dtype), self.D, u_BTH)
        return y_BTH, h_BHN.to(u_BTH.dtype)

    def _by_states(
        self,
        u_BTH: Tensor,
        step_BTH: Tensor,
        B_BTN: Tensor,
        C_BTN: Tensor,
        A_HN: Tensor,
        h0: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """All states, and their sums."""
        a_BTHN = torch.exp(step_BTH.unsqueeze(3) * A_HN)
        b_BTHN = (step_BTH * u_BTH).unsqueeze(3) * B_BTN.unsqueeze(2)
        start = None if h0 is None else h0.flatten(1)
        flat = recur(a_BTHN.flatten(2), b_BTHN.flatten(2), start, self.execution)
        h_BTHN = flat.unflatten(2, A_HN.shape)
        return torch.matmul(h_BTHN, C_BTN.unsqueeze(3)).squeeze(3), h_BTHN[:, -1]


class _Native(torch.autograd.Function):
    """States and sums in one kernel, which keeps the state before every sixteenth timestep."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, h0, keep = inputs
        y, last, kept = kernel.selective(*tensors, h0, keep)
        ctx.save_for_backward(*tensors, kept)
        return y, last

    @staticmethod
    def backward(ctx: Any, g: Tensor, g_last: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("native")
        return *kernel.selective_backward(*ctx.saved_tensors, g, g_last), None


def _by_kernel(
    u_BTH: Tensor, step_BTH: Tensor, B_BTN: Tensor, C_BTN: Tensor, A_HN: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As the kernel has it: states (B, N, H)."""
    A_NH = A_HN.t()
    start = u_BTH.new_zeros(len(u_BTH), *A_NH.shape) if h0 is None else h0.transpose(1, 2)
    keep = torch.is_grad_enabled()
    y_BTH, last = _Native.apply(u_BTH, step_BTH, B_BTN, C_BTN, A_NH, start, keep)  # type: ignore[no-untyped-call]
    return y_BTH, last.transpose(1, 2)


selective_scan = functools.partial(SelectiveScan, execution="scan")
selective_native = functools.partial(SelectiveScan, execution="native")
