r"""LSTMs written by hand, drop-in replacements for `torch.nn.LSTM`, some with peepholes.

With σ the logistic function and ⊙ the elementwise product, one step is

    i_t = σ(W_xi x_t + W_hi h_{t-1} + p_i(c_{t-1}) + b_i)
    f_t = σ(W_xf x_t + W_hf h_{t-1} + p_f(c_{t-1}) + b_f)
    g_t = tanh(W_xg x_t + W_hg h_{t-1} + b_g)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    o_t = σ(W_xo x_t + W_ho h_{t-1} + p_o(c_t) + b_o)
    h_t = o_t ⊙ tanh(c_t)          (W_hr h_t with a projection)

where the peephole p is absent (Hochreiter & Schmidhuber 1997 with forget gates; `torch.nn.LSTM`), a
full matrix W_c c (Adaloglou & Karagiannakos 2020), or diagonal, w ⊙ c (Graves 2013, arXiv
1308.0850, equations 7 to 11). Input and forget gate read the old cell state, the output gate the
new one.

Shape suffixes: T timesteps, B batch, F features, H hidden units, P features of the output.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from benchsuite.models import newton
from benchsuite.models.kernels import recurrent, recurrent_operators, triton_lstm
from benchsuite.models.kernels.compiler import problem_on
from benchsuite.models.recurrence import (
    Cell,
    Recurrence,
    State,
    Weights,
    autocast_dtype,
    linear,
    rebound,
    scan_runs,
)

Variant = Literal[
    "plain", "stacked", "fused", "peephole", "peephole_diag", "native", "triton", "newton"
]
VARIANTS: tuple[str, ...] = get_args(Variant)
#: Indices of the gates with a peephole, in torch's order of rows: i, f, g, o.
_WITH_PEEPHOLE = (0, 1, 3)


class Diagonal(nn.Module):
    """w ⊙ c, the peephole of Graves 2013: (B, H) → (B, H)."""

    weight: Tensor

    def forward(self, c_BH: Tensor) -> Tensor:
        """(B, H) → (B, H)."""
        return self.weight * c_BH


_DIAGONAL = Diagonal()


class Gate(NamedTuple):
    """The two Linears of a gate, and its peephole, if it has one."""

    from_input: nn.Linear
    from_hidden: nn.Linear
    from_cell: nn.Module | None = None

    def __call__(self, x_BF: Tensor, h_BP: Tensor, c_BH: Tensor) -> Tensor:
        """The input of the gate's nonlinearity: (B, H)."""
        total: Tensor = self.from_input(x_BF) + self.from_hidden(h_BP)
        return total if self.from_cell is None else total + self.from_cell(c_BH)


class Gates(NamedTuple):
    """The gates of a cell, and the projection of its hidden state."""

    i: Gate
    f: Gate
    g: Gate
    o: Gate
    projection: nn.Linear | None


class LSTMCell(Cell[Gates]):
    """The textbook cell: two Linears per gate, eight per step, and peepholes if there are any."""

    def prepare(self, weights: Weights) -> Gates:
        """Views of each gate's rows, made once before the loop."""
        bias = weights.bias()
        rows = zip(
            weights.weight_ih.chunk(4),
            weights.weight_hh.chunk(4),
            (None,) * 4 if bias is None else bias.chunk(4),
            strict=True,
        )
        gates = [Gate(linear(w_x, b), linear(w_h)) for w_x, w_h, b in rows]
        if weights.weight_ch is not None:
            for index, w_c in zip(_WITH_PEEPHOLE, weights.weight_ch.chunk(3), strict=True):
                peephole = linear(w_c) if w_c.dim() == 2 else rebound(_DIAGONAL, weight=w_c)
                gates[index] = gates[index]._replace(from_cell=peephole)
        projection = weights.weight_hr
        i, f, g, o = gates
        return Gates(i, f, g, o, None if projection is None else linear(projection))

    def project(self, x_TBF: Tensor, weights: Gates) -> Tensor:  # noqa: ARG002
        """Return the input unchanged: (…, F) → (…, F)."""
        return x_TBF

    def step(self, x_BG: Tensor, state: State, weights: Gates) -> State:
        """(B, F) and (h, c) → (h, c), of (B, P) and (B, H)."""
        h_BP, c_BH = state
        i = torch.sigmoid(weights.i(x_BG, h_BP, c_BH))
        f = torch.sigmoid(weights.f(x_BG, h_BP, c_BH))
        g = torch.tanh(weights.g(x_BG, h_BP, c_BH))
        c_BH = f * c_BH + i * g
        o = torch.sigmoid(weights.o(x_BG, h_BP, c_BH))
        return _emit(o, c_BH, weights.projection)


class Stacked(NamedTuple):
    """All gates stacked: W_ih with the bias, W_hh, and the projection."""

    from_input: nn.Linear
    from_hidden: nn.Linear
    projection: nn.Linear | None


class FusedLSTMCell(Cell[Stacked]):
    """The same equations with stacked gates: one product per step, the input's before the loop."""

    def prepare(self, weights: Weights) -> Stacked:
        """The stacked parameters, with the two biases added."""
        projection = weights.weight_hr
        return Stacked(
            linear(weights.weight_ih, weights.bias()),
            linear(weights.weight_hh),
            None if projection is None else linear(projection),
        )

    def project(self, x_TBF: Tensor, weights: Stacked) -> Tensor:
        """The input's part of all gates at once: (…, F) → (…, 4H)."""
        x_TBG: Tensor = weights.from_input(x_TBF)
        return x_TBG

    def step(self, x_BG: Tensor, state: State, weights: Stacked) -> State:
        """(B, 4H) and (h, c) → (h, c), of (B, P) and (B, H)."""
        h_BP, c_BH = state
        gates_BG = torch.addmm(x_BG, h_BP, weights.from_hidden.weight.t())
        i, f, g, o = gates_BG.chunk(4, dim=1)
        c_BH = torch.sigmoid(f) * c_BH + torch.sigmoid(i) * torch.tanh(g)
        return _emit(torch.sigmoid(o), c_BH, weights.projection)


class StackedLSTMCell(FusedLSTMCell):
    """The same equations with stacked gates: two products per step, the input's among them."""

    def project(self, x_TBF: Tensor, weights: Stacked) -> Tensor:  # noqa: ARG002
        """Return the input unchanged: (…, F) → (…, F)."""
        return x_TBF

    def step(self, x_BG: Tensor, state: State, weights: Stacked) -> State:
        """(B, F) and (h, c) → (h, c), of (B, P) and (B, H)."""
        return super().step(weights.from_input(x_BG), state, weights)


class NativeLSTMCell(FusedLSTMCell):
    """The same equations in a kernel in C: one call for all timesteps.

    Under autocast the fused loop runs instead, because the kernel has no lower precision.
    """

    def scan(
        self, x_TBF: Tensor, state: State, weights: Weights, *, reverse: bool = False
    ) -> tuple[Tensor, State]:
        """As `Cell.scan`."""
        if autocast_dtype(x_TBF.device.type) is not None:
            return super().scan(x_TBF, state, weights, reverse=reverse)
        h_BH, c_BH = state
        y_TBH, h_BH, c_BH = recurrent.lstm(
            x_TBF,
            (h_BH, c_BH),
            weights.weight_ih,
            weights.weight_hh,
            weights.bias(),
            reverse=reverse,
        )
        return y_TBH, (h_BH, c_BH)

    scan_packed = scan_runs


class TritonLSTMCell(FusedLSTMCell):
    """The same equations in a kernel in Triton for CUDA: one launch for all timesteps.

    On the CPU, where receptive fields are derived, the fused loop runs instead.
    """

    def scan(
        self, x_TBF: Tensor, state: State, weights: Weights, *, reverse: bool = False
    ) -> tuple[Tensor, State]:
        """As `Cell.scan`."""
        lower = autocast_dtype(x_TBF.device.type)
        if not triton_lstm.runs_on(x_TBF.device) or (x_TBF.is_cpu and lower is not None):
            return super().scan(x_TBF, state, weights, reverse=reverse)
        h_BH, c_BH = state
        w_ih, w_hh, bias = weights.weight_ih, weights.weight_hh, weights.bias()
        if lower is not None:
            w_ih, w_hh = w_ih.to(lower), w_hh.to(lower)
            bias = None if bias is None else bias.to(lower)
        y_TBH, h_BH, c_BH = triton_lstm.lstm(x_TBF, (h_BH, c_BH), w_ih, w_hh, bias, reverse=reverse)
        return y_TBH, (h_BH, c_BH)

    scan_packed = scan_runs


class NewtonLSTMCell(FusedLSTMCell):
    """The same equations solved for all timesteps at once, by iterations; see `newton`.

    A single timestep is a step of the fused loop, and so is every one under autocast.
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
        return newton.lstm(x_TBF, state, weights, self.iterations, reverse=reverse)

    scan_packed = scan_runs


_CELLS = {
    "stacked": StackedLSTMCell,
    "fused": FusedLSTMCell,
    "native": NativeLSTMCell,
    "triton": TritonLSTMCell,
}
#: Variants without `proj_size`.
_WITHOUT_PROJECTION = ("native", "triton", "newton")


def _emit(o_BH: Tensor, c_BH: Tensor, projection: nn.Linear | None) -> State:
    """The next state: h = o ⊙ tanh(c), projected if there is a projection, and c."""
    h_BP = o_BH * torch.tanh(c_BH)
    return (h_BP if projection is None else projection(h_BP)), c_BH


class LSTM(Recurrence):
    """A drop-in replacement for `torch.nn.LSTM`, unrolled in Python.

    Parameters, state dict, outputs, gradients, errors and warnings are those of `torch.nn.LSTM`:
    from the same seed both start equal, and the same training keeps them equal up to rounding.
    Differences:

    - It is an `nn.RNNBase` and not an `nn.LSTM`, which `torch.compile` refuses to trace.
    - `flatten_parameters` does nothing: no kernel reads the parameters as one buffer.
    - The peephole variants have one more parameter per layer and direction, `weight_ch_l0` (gates
      i, f and o; 3H × H, or 3H if diagonal). It comes after all of torch's in `parameters()` and
      is drawn after them; it is not in `all_weights`. `load_torch` takes a state dict without
      peepholes, `load_state_dict` one with them.
    - Under autocast products are computed in the lower precision. On CPU the state keeps the
      input's dtype (float32 in, float32 out), as torch's does without oneDNN; with oneDNN torch's
      raises an error on processors that lack the precision. On other devices the output and the
      state have the lower precision, as cuDNN's have.
    - A state that does not fit a `PackedSequence`, or of another dtype than the input, raises a
      RuntimeError that names both; torch leaves these to the kernel, whose errors vary.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
        device, dtype: As in `torch.nn.LSTM`.
        variant: "plain", "stacked", "fused", "peephole" (full matrices), "peephole_diag", or one
            without `proj_size` and with gradients of the first order: "native" (a kernel in C, on
            CPU; half precision is computed in float32), "triton" (a kernel for CUDA, not measured
            on a device yet; on CPU the fused loop) or "newton" (parallel in time).
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
        if variant in _WITHOUT_PROJECTION and proj_size:
            raise ValueError(
                f"proj_size = {proj_size} is not supported by variant={variant!r}; take 'fused'"
            )
        super().__init__(
            "LSTM",
            (lambda: NewtonLSTMCell(newton.Iterations(tolerance, max_iterations)))
            if variant == "newton"
            else _CELLS.get(variant, LSTMCell),
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
        self.peepholes = variant in {"peephole", "peephole_diag"}
        if not self.peepholes:
            return
        shape = (3 * hidden_size, hidden_size) if variant == "peephole" else (3 * hidden_size,)
        bound = 1 / math.sqrt(hidden_size)
        for suffix in self.suffixes:
            drawn = torch.empty(shape, device=device, dtype=dtype).uniform_(-bound, bound)
            self.register_parameter(f"weight_ch_{suffix}", nn.Parameter(drawn))

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """P and H."""
        return self.proj_size or self.hidden_size, self.hidden_size

    def forward(
        self,
        input: Tensor | PackedSequence,  # noqa: A002 - torch's name
        hx: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """(T, B, F) and optional (h_0, c_0) → output (T, B, D·P) and (h_n, c_n).

        Shapes follow `torch.nn.LSTM`: `batch_first`, inputs without a batch, and a
        `PackedSequence`, whose output is one too.

        Raises:
            ValueError: if the input is not 2-D or 3-D, or not of the parameters' dtype.
            RuntimeError: if a size does not fit.
        """
        if hx is not None and len(hx) != 2:
            raise RuntimeError("lstm expects two hidden states")
        output, (h_n, c_n) = self.run(input, None if hx is None else (hx[0], hx[1]))
        return output, (h_n, c_n)

    def kernel_problem(self, device: str) -> str:
        """Why the variant's kernel cannot run on a device; empty if it can, or there is none."""
        if self.variant == "triton":
            return triton_lstm.problem_on(device)
        return problem_on(device, recurrent_operators.SOURCE) if self.variant == "native" else ""

    def extra_repr(self) -> str:
        """torch's text, and the variant unless it is the plain one."""
        words = super().extra_repr()
        return words if self.variant == "plain" else f"{words}, variant={self.variant!r}"


def lstm_cell(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """The textbook cell: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "plain")


def lstm_stacked(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """Stacked gates, all of it in the loop: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "stacked")


def lstm_fused(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """Stacked gates, input projection before the loop: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "fused")


def lstm_native(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """The kernel in C: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "native")


def lstm_triton(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """The kernel in Triton: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "triton")


def lstm_newton(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """Parallel in time: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "newton")


def lstm_peephole(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """Full-matrix peepholes: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "peephole")


def lstm_peephole_diag(
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool
) -> LSTM:
    """Diagonal peepholes: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "peephole_diag")


def _batch_first(
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool, variant: Variant
) -> LSTM:
    return LSTM(
        input_size,
        hidden_size,
        num_layers,
        batch_first=True,
        bidirectional=bidirectional,
        variant=variant,
    )
