r"""minGRU and minLSTM (Feng et al. 2024, arXiv 2410.01201): gates that do not see the state.

minGRU, with I input features and H states:

    z_t = σ(W_z x_t + b_z)        h̃_t = g(W_h x_t + b_h)
    h_t = (1 - z_t) ⊙ h_{t-1} + z_t ⊙ h̃_t

minLSTM, whose gates are normalised to add up to one:

    f_t, i_t = σ(W_f x_t + b_f), σ(W_i x_t + b_i)
    f'_t, i'_t = f_t / (f_t + i_t), i_t / (f_t + i_t)
    h_t = f'_t ⊙ h_{t-1} + i'_t ⊙ g(W_h x_t + b_h)

where g(x) = x + ½ for x ≥ 0 and σ(x) otherwise is positive, so that a recurrence of positive states
can be computed in logarithms (appendix B; Heinsen 2023, arXiv 2311.06281), execution "log":

    A_t = Σ_{s≤t} log a_s        log h_t = A_t + logcumsumexp(log b - A)_t

with log a = -softplus(k) and log b = -softplus(-k) + log g in minGRU, k = W_z x + b_z; and, with
d = softplus(-k_f) - softplus(-k_i), log f' = -softplus(d) and log i' = -softplus(-d) in minLSTM.
Its error grows with |A_t|, that is with time, and its states have to be positive; those of the
other executions may be any.

Initialisation: that of `nn.Linear`. Parameters: 2IH + 2H and 3IH + 3H.

Operations per timestep, elementwise ones left out: 4IH and 6IH, in every execution.

Shape suffixes: B batch, T timesteps, F features of the input, H states.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchsuite.models.kernels import minimal as kernel
from benchsuite.models.linear.scan import (
    VARYING,
    LinearModel,
    precise,
    real_state,
    recur,
    refuse_second_derivative,
)


class _Minimal(LinearModel, ABC):
    """(batch, time, F) and an optional state → (batch, time, H) and the state after it.

    The state is (batch, H), the last output.

    Args:
        input_size, hidden_size: F and H.
        execution: One of "loop", "scan", "hillis_steele", "chunked", "native" and "log".

    Raises:
        ValueError: for another execution.
    """

    executions = (*VARYING, "log")
    source = kernel.SOURCE
    #: Rows of the Linear: gates, then the candidate state.
    rows: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int, *, execution: str = "scan") -> None:
        super().__init__(execution)
        self.from_input = nn.Linear(input_size, self.rows * hidden_size)

    @abstractmethod
    def weights(self, gates: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The weights of the state and of the candidate, from the gates before σ."""

    @abstractmethod
    def log_weights(self, gates: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """The logarithms of `weights`, without computing these."""

    def forward(self, x_BTF: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, T, F) and a state (B, H) → (B, T, H) and the state after it.

        Raises:
            ValueError: if the state has another shape, or is negative with execution "log".
            Unavailable: if execution is "native" and the kernel cannot be compiled here.
        """
        inputs = precise(self.from_input(x_BTF))
        *gates, candidate = inputs.chunk(self.rows, -1)
        h0 = None if state is None else real_state(state, candidate[:, 0].shape)
        if self.execution == "native":
            zeros = torch.zeros_like(candidate[:, 0]) if h0 is None else h0
            h_BTH = _Native.apply(inputs, zeros)  # type: ignore[no-untyped-call]
        elif self.execution == "log":
            log_a, log_i = self.log_weights(tuple(gates))
            h_BTH = _in_logarithms(log_a, log_i + _log_positive(candidate), h0)
        else:
            a, i = self.weights(tuple(gates))
            h_BTH = recur(a, i * positive(candidate), h0, self.execution)
        y_BTH = h_BTH.to(x_BTF.dtype)
        return y_BTH, y_BTH[:, -1]


class _Native(torch.autograd.Function):
    """Gates and recurrence in one kernel; saves its inputs and the states."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, h0: Tensor) -> Tensor:
        h = kernel.minimal(inputs, h0)
        ctx.save_for_backward(inputs, h0, h)
        return h  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        refuse_second_derivative("native")
        return kernel.minimal_backward(*ctx.saved_tensors, g)  # type: ignore[no-any-return]


class MinGRU(_Minimal):
    """minGRU; arguments, shapes and errors as in `_Minimal`."""

    mathematics = "mingru"
    rows = 2

    def weights(self, gates: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """1 - z and z."""
        (k,) = gates
        return torch.sigmoid(-k), torch.sigmoid(k)

    def log_weights(self, gates: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log (1 - z) and log z."""
        (k,) = gates
        return F.logsigmoid(-k), F.logsigmoid(k)


class MinLSTM(_Minimal):
    """minLSTM; arguments, shapes and errors as in `_Minimal`."""

    mathematics = "minlstm"
    rows = 3

    def weights(self, gates: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """f' and i', as σ(±(log f - log i)): f + i may underflow."""
        difference = F.logsigmoid(gates[0]) - F.logsigmoid(gates[1])
        return torch.sigmoid(difference), torch.sigmoid(-difference)

    def log_weights(self, gates: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """log f' and log i'."""
        difference = F.logsigmoid(gates[0]) - F.logsigmoid(gates[1])
        return F.logsigmoid(difference), F.logsigmoid(-difference)


def positive(x: Tensor) -> Tensor:
    """g(x) = x + ½ for x ≥ 0, else σ(x); continuous, with a continuous derivative but at 0."""
    return torch.where(x >= 0, x + 0.5, torch.sigmoid(x))


def _log_positive(x: Tensor) -> Tensor:
    """log g(x); relu keeps the gradient of the branch that is not taken finite."""
    return torch.where(x >= 0, torch.log(F.relu(x) + 0.5), F.logsigmoid(x))


def _in_logarithms(log_a: Tensor, log_b: Tensor, h0: Tensor | None) -> Tensor:
    """The recurrence of positive states from logarithms; h_0 is one more timestep before."""
    if h0 is not None:
        if not h0.is_meta and bool((h0 < 0).any()):
            raise ValueError("execution 'log' needs states that are not negative; use another one")
        log_b = torch.cat([torch.log(h0).unsqueeze(1), log_b], 1)
        log_a = torch.cat([torch.zeros_like(log_a[:, :1]), log_a], 1)
    sums = torch.cumsum(log_a, 1)
    h = torch.exp(sums + torch.logcumsumexp(log_b - sums, 1))
    return h if h0 is None else h[:, 1:]


mingru_loop = functools.partial(MinGRU, execution="loop")
mingru_scan = functools.partial(MinGRU, execution="scan")
mingru_native = functools.partial(MinGRU, execution="native")
minlstm_loop = functools.partial(MinLSTM, execution="loop")
minlstm_scan = functools.partial(MinLSTM, execution="scan")
minlstm_native = functools.partial(MinLSTM, execution="native")
