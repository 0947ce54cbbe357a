r"""A GRU written by hand, a drop-in replacement for `torch.nn.GRU`.

One step (Cho et al. 2014, in torch's and cuDNN's form with the reset gate after the product):

    r_t = σ(W_xr x_t + W_hr h_{t-1} + b_r)
    z_t = σ(W_xz x_t + W_hz h_{t-1} + b_z)
    n_t = tanh(W_xn x_t + b_n + r_t ⊙ (W_hn h_{t-1} + b_hn))
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

Shape suffixes: T timesteps, B batch, F features, H hidden units.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from benchsuite.models import newton
from benchsuite.models.kernels import recurrent, recurrent_operators
from benchsuite.models.kernels.compiler import problem_on
from benchsuite.models.recurrence import (
    Cell,
    Recurrence,
    State,
    Weights,
    autocast_dtype,
    linear,
    scan_runs,
)

Variant = Literal["plain", "native", "newton"]
VARIANTS: tuple[str, ...] = get_args(Variant)


class Gate(NamedTuple):
    """The two Linears of a gate."""

    from_input: nn.Linear
    from_hidden: nn.Linear


class Gates(NamedTuple):
    """The gates of a cell, in torch's order of rows."""

    r: Gate
    z: Gate
    n: Gate


class GRUCell(Cell[Gates]):
    """Two Linears per gate, six per step; the biases of r and z are added before the loop."""

    def prepare(self, weights: Weights) -> Gates:
        """Views of each gate's rows, made once before the loop."""
        rows = zip(weights.weight_ih.chunk(3), weights.weight_hh.chunk(3), strict=True)
        biases: tuple[tuple[Tensor | None, Tensor | None], ...] = ((None, None),) * 3
        if weights.bias_ih is not None and weights.bias_hh is not None:
            size = len(weights.bias_ih) // 3
            rz_ih, n_ih = weights.bias_ih.split([2 * size, size])
            rz_hh, n_hh = weights.bias_hh.split([2 * size, size])
            r, z = (rz_ih + rz_hh).chunk(2)
            biases = (r, None), (z, None), (n_ih, n_hh)
        return Gates(
            *(
                Gate(linear(w_x, b_x), linear(w_h, b_h))
                for (w_x, w_h), (b_x, b_h) in zip(rows, biases, strict=True)
            )
        )

    def project(self, x_TBF: Tensor, weights: Gates) -> Tensor:  # noqa: ARG002
        """Return the input unchanged: (…, F) → (…, F)."""
        return x_TBF

    def step(self, x_BG: Tensor, state: State, weights: Gates) -> State:
        """(B, F) and (h,) → (h,), each (B, H)."""
        (h_BH,) = state
        r = torch.sigmoid(weights.r.from_input(x_BG) + weights.r.from_hidden(h_BH))
        z = torch.sigmoid(weights.z.from_input(x_BG) + weights.z.from_hidden(h_BH))
        n = torch.tanh(weights.n.from_input(x_BG) + r * weights.n.from_hidden(h_BH))
        return ((1 - z) * n + z * h_BH,)


class NativeGRUCell(GRUCell):
    """The same equations in a kernel in C: one call for all timesteps.

    Under autocast the loop runs instead, because the kernel has no lower precision.
    """

    def scan(
        self, x_TBF: Tensor, state: State, weights: Weights, *, reverse: bool = False
    ) -> tuple[Tensor, State]:
        """As `Cell.scan`."""
        if autocast_dtype(x_TBF.device.type) is not None:
            return super().scan(x_TBF, state, weights, reverse=reverse)
        y_TBH, h_BH = recurrent.gru(
            x_TBF,
            state[0],
            weights.weight_ih,
            weights.weight_hh,
            weights.bias_ih,
            weights.bias_hh,
            reverse=reverse,
        )
        return y_TBH, (h_BH,)

    scan_packed = scan_runs


class NewtonGRUCell(GRUCell):
    """The same equations solved for all timesteps at once, by iterations; see `newton`.

    A single timestep is a step of the loop, and so is every one under autocast.
    """

    def __init__(self, iterations: newton.Iterations) -> None:
        self.iterations = iterations

    def scan(
        self, x_TBF: Tensor, state: State, weights: Weights, *, reverse: bool = False
    ) -> tuple[Tensor, State]:
        """As `Cell.scan`.

        Raises:
            NotConverged: if a sequence needs more iterations than allowed.
        """
        if newton.in_one_step(x_TBF, self.iterations):
            return super().scan(x_TBF, state, weights, reverse=reverse)
        return newton.gru(x_TBF, state, weights, self.iterations, reverse=reverse)

    scan_packed = scan_runs


class GRU(Recurrence):
    """A drop-in replacement for `torch.nn.GRU`, by default unrolled in Python.

    Parameters, state dict, outputs, gradients, errors and warnings are those of `torch.nn.GRU`:
    from the same seed both start equal, and the same training keeps them equal up to rounding.
    Differences:

    - It is an `nn.RNNBase` and not an `nn.GRU`, which `torch.compile` refuses to trace.
    - `flatten_parameters` does nothing: no kernel reads the parameters as one buffer.
    - Under autocast products are computed in the lower precision. On CPU the state keeps the
      input's dtype (float32 in, float32 out), as torch's does. On other devices the output and the
      state have the lower precision, as cuDNN's have.
    - A state of another dtype than the input raises a RuntimeError that names both; torch leaves
      this to the kernel.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
        device, dtype: As in `torch.nn.GRU`.
        variant: "plain", "native" (a kernel in C, on CPU; half precision is computed in float32;
            with gradients of the first order) or "newton" (parallel in time, with the same
            restrictions on any device).
        tolerance: Of variant "newton", as in `newton.Iterations`.
        max_iterations: Of variant "newton": a call that needs more raises `newton.NotConverged`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        variant: Variant = "plain",
        tolerance: float | None = None,
        max_iterations: int = 100,
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant = {variant!r} is not one of {', '.join(VARIANTS)}")
        if proj_size:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__(
            "GRU",
            (lambda: NewtonGRUCell(newton.Iterations(tolerance, max_iterations)))
            if variant == "newton"
            else (NativeGRUCell if variant == "native" else GRUCell),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )
        self.variant = variant

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - torch's name
        hx: Tensor | None = None,
    ) -> tuple[Any, Tensor]:
        """(T, B, F) and optional h_0 → output (T, B, D·H) and h_n.

        Shapes follow `torch.nn.GRU`: `batch_first`, inputs without a batch, and a `PackedSequence`,
        whose output is one too.

        Raises:
            ValueError: if the input is not 2-D or 3-D, or not of the parameters' dtype.
            RuntimeError: if a size does not fit.
        """
        output, (h_n,) = self.run(input, None if hx is None else (hx,))
        return output, h_n

    def kernel_problem(self, device: str) -> str:
        """Why the native kernel cannot run on a device; empty if it can, or is not used."""
        return problem_on(device, recurrent_operators.SOURCE) if self.variant == "native" else ""

    def extra_repr(self) -> str:
        """torch's text, and the variant unless it is the plain one."""
        words = super().extra_repr()
        return words if self.variant == "plain" else f"{words}, variant={self.variant!r}"


def gru_cell(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> GRU:
    """(batch, time, F) → (batch, time, D·H)."""
    return GRU(input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional)


def gru_native(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> GRU:
    """The kernel in C: (batch, time, F) → (batch, time, D·H)."""
    return GRU(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        variant="native",
    )


def gru_newton(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> GRU:
    """Parallel in time: (batch, time, F) → (batch, time, D·H)."""
    return GRU(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        variant="newton",
    )
