r"""S4D, a diagonal state space for each feature (Gu et al. 2022, arXiv 2206.11893).

Each of H features u (the input, projected by a Linear without bias where it has another number) has
a state of N/2 complex numbers, of which the conjugates are left out, discretised by zero-order hold
with a step Δ:

    A_n = -½ + iπn at the start,    λ = e^{ΔA},    C' = C (λ - 1) / A
    h_t = λ ⊙ h_{t-1} + u_t         y_t = 2 Re Σ_n C'_n h_{t,n} + D u_t

which is the convolution y = K * u + D u with K_l = 2 Re Σ_n C'_n λ_n^l.

Initialisation ("S4D-Lin", `models/s4/s4d.py`): Re A = -exp(log ½), Δ log-uniform in [10⁻³, 10⁻¹],
real and imaginary parts of C ~ N(0, ½), D ~ N(0, 1). Parameters of these equations: 2NH + 2H.

Operations per timestep, elementwise ones left out: 2NH for the sum over n. By FFT they are 4NH: the
kernel and the last state are sums of that size, and the transforms are not counted.

Shape suffixes: B batch, T timesteps, F features of the input, H features, M = N/2 states of each.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor, nn

from benchsuite.models.fftconv import causal_fft_convolution
from benchsuite.models.kernels import state_space as kernel
from benchsuite.models.linear.scan import (
    CONSTANT,
    LinearModel,
    complex_state,
    powers,
    precise,
    projection,
    recur,
    refuse_second_derivative,
)

_STEP = (1e-3, 1e-1)


class S4D(LinearModel):
    """(batch, time, F) and an optional state → (batch, time, H) and the state after it.

    The state is (batch, H, N/2, 2), the real and imaginary parts of h. Complex parameters are such
    pairs too, so that `.double()` converts them.

    Args:
        input_size, hidden_size: F and H.
        state_size: N, an even number.
        execution: One of "loop", "scan", "hillis_steele", "chunked", "fft" and "native".

    Raises:
        ValueError: for another execution, or an odd `state_size`.
    """

    mathematics = "s4d"
    executions = CONSTANT
    source = kernel.SOURCE

    def __init__(
        self, input_size: int, hidden_size: int, state_size: int = 64, *, execution: str = "scan"
    ) -> None:
        super().__init__(execution)
        if state_size % 2 or state_size < 2:
            raise ValueError(f"state_size = {state_size} is not an even number from 2")
        self.project = projection(input_size, hidden_size)
        shape = (hidden_size, state_size // 2)
        low, high = map(math.log, _STEP)
        self.log_step = nn.Parameter(torch.rand(hidden_size) * (high - low) + low)
        self.log_decay = nn.Parameter(torch.full(shape, math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(shape[1]).repeat(hidden_size, 1))
        self.C = nn.Parameter(torch.randn(*shape, 2) * math.sqrt(0.5))
        self.D = nn.Parameter(torch.randn(hidden_size))

    def discretised(self) -> tuple[Tensor, Tensor]:
        """λ and C', each (H, M) and complex."""
        A = torch.complex(-torch.exp(precise(self.log_decay)), precise(self.frequency))
        scaled = torch.exp(precise(self.log_step))[:, None] * A
        factor = torch.exp(scaled)
        return factor, torch.view_as_complex(precise(self.C)) * (factor - 1) / A

    def forward(self, x_BTF: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, F) and a state (B, H, M, 2) → (B, T, H) and the state after it.

        Raises:
            ValueError: if the state has another shape.
            Unavailable: if execution is "native" and the kernel cannot be compiled here.
        """
        projected = self.project(x_BTF)
        u_BTH = precise(projected)
        factor_HM, c_HM = self.discretised()
        h0 = None
        if state is not None:
            h0 = complex_state(state, (len(u_BTH), *factor_HM.shape, 2))
        kinds = {"fft": _by_fft, "native": _by_kernel}
        run = kinds.get(self.execution, self._by_states)
        y_BTH, h_BHM = run(u_BTH, factor_HM, c_HM, h0)
        y_BTH = torch.addcmul(y_BTH.to(x_BTF.dtype), self.D, projected)
        return y_BTH, torch.view_as_real(h_BHM).to(x_BTF.dtype)

    def _by_states(
        self, u_BTH: Tensor, factor_HM: Tensor, c_HM: Tensor, h0: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """All states, and their sums; each feature's input goes to all of its states."""
        zero = torch.zeros_like(factor_HM.real)
        b_BTHM = torch.complex(u_BTH.unsqueeze(3) + zero, zero.expand(*u_BTH.shape, -1))
        flat = recur(
            factor_HM.flatten(),
            b_BTHM.flatten(2),
            None if h0 is None else h0.flatten(1),
            self.execution,
        )
        h_BTHM = flat.unflatten(2, factor_HM.shape)
        return _twice_real("bthmp,hmp->bth", h_BTHM, c_HM), h_BTHM[:, -1]


def _by_fft(
    u_BTH: Tensor, factor_HM: Tensor, c_HM: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The convolution, and the last state, which is a sum over all timesteps."""
    power_THM = powers(factor_HM, u_BTH.shape[1])
    kernel_HT = _twice_real("thmp,hmp->ht", power_THM, c_HM)
    y_BTH = causal_fft_convolution(u_BTH.mT, kernel_HT).mT
    pairs = torch.view_as_real(power_THM.flip(0))
    h_BHM = torch.view_as_complex(torch.einsum("thmp,bth->bhmp", pairs, u_BTH).contiguous())
    if h0 is not None:
        y_BTH = y_BTH + _twice_real("thmp,bhmp->bth", power_THM, c_HM * factor_HM * h0)
        h_BHM = h_BHM + power_THM[-1] * factor_HM * h0
    return y_BTH, h_BHM


class _Native(torch.autograd.Function):
    """States and sums in one kernel, which keeps the state before every sixteenth timestep."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, factor: Tensor, c: Tensor, h0: Tensor, keep: bool
    ) -> tuple[Tensor, Tensor]:
        y, last, kept = kernel.s4d(u, factor, c, h0, keep)
        ctx.save_for_backward(u, factor, c, kept)
        return y, last

    @staticmethod
    def backward(ctx: Any, g: Tensor, g_last: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("native")
        return *kernel.s4d_backward(*ctx.saved_tensors, g, g_last), None


def _by_kernel(
    u_BTH: Tensor, factor_HM: Tensor, c_HM: Tensor, h0: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As the kernel has it: planes (2, M, H) of real and imaginary parts."""
    factor, c = (
        torch.stack([part.real, part.imag]).transpose(1, 2) for part in (factor_HM, 2 * c_HM)
    )
    if h0 is None:
        start = u_BTH.new_zeros(len(u_BTH), *factor.shape)
    else:
        start = torch.view_as_real(h0).permute(0, 3, 2, 1)
    y_BTH, last = _Native.apply(u_BTH, factor, c, start, torch.is_grad_enabled())  # type: ignore[no-untyped-call]
    return y_BTH, torch.view_as_complex(last.permute(0, 3, 2, 1).contiguous())


def _twice_real(sums: str, states: Tensor, weights: Tensor) -> Tensor:
    """2 Re Σ w h as a product of real numbers: `sums` is an einsum over pairs p."""
    signs = torch.stack([2 * weights.real, -2 * weights.imag], -1)
    return torch.einsum(sums, torch.view_as_real(states), signs)


s4d_scan = functools.partial(S4D, execution="scan")
s4d_fft = functools.partial(S4D, execution="fft")
s4d_native = functools.partial(S4D, execution="native")
