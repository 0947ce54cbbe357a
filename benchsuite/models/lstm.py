r"""LSTMs written by hand, a drop-in for `torch.nn.LSTM`, with and without peepholes.

With σ the logistic function and ⊙ the elementwise product, one step is

    i_t = σ(W_xi x_t + W_hi h_{t-1} + p_i(c_{t-1}) + b_i)
    f_t = σ(W_xf x_t + W_hf h_{t-1} + p_f(c_{t-1}) + b_f)
    g_t = tanh(W_xg x_t + W_hg h_{t-1} + b_g)
    c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t
    o_t = σ(W_xo x_t + W_ho h_{t-1} + p_o(c_t) + b_o)
    h_t = o_t ⊙ tanh(c_t)          (W_hr h_t with a projection)

where the peephole p is absent (Hochreiter & Schmidhuber 1997 with forget gates; `torch.nn.LSTM`), a
full matrix W_c c (Adaloglou & Karagiannakos 2020), or diagonal, w ⊙ c (Graves 2013, arXiv
1308.0850, equations 7 to 11). Input and forget gate see the old cell state, the output gate the
new one.

Shape suffixes: T timesteps, B batch, F features, H hidden units, P features of the output.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from benchsuite.models.recurrence import (
    Cell,
    GateLinears,
    Recurrence,
    State,
    check_state_dict,
    torch_names,
)

GATES = ("i", "f", "g", "o")  # torch's order of rows
Variant = Literal["plain", "fused", "peephole", "peephole_diag"]
Peephole = Literal["none", "full", "diagonal"]
_PEEPHOLES: dict[str, Peephole] = {
    "plain": "none",
    "peephole": "full",
    "peephole_diag": "diagonal",
}


class _LSTMCellBase(Cell):
    """What all LSTM cells share: sizes and the optional projection of the hidden state."""

    def __init__(self, hidden_size: int, proj_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.output_size = proj_size or hidden_size
        self.projection = nn.Linear(hidden_size, proj_size, bias=False) if proj_size else None

    def state_sizes(self) -> tuple[int, ...]:
        return self.output_size, self.hidden_size

    def emit(self, o_BH: Tensor, c_BH: Tensor) -> State:
        """h = o ⊙ tanh(c), projected if asked."""
        h_BP = o_BH * torch.tanh(c_BH)
        return (h_BP if self.projection is None else self.projection(h_BP)), c_BH


class Diagonal(nn.Module):
    """w ⊙ c, the peephole of Graves 2013: (B, H) → (B, H)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, c_BH: Tensor) -> Tensor:
        """(B, H) → (B, H)."""
        return self.weight * c_BH


class LSTMCell(_LSTMCellBase):
    """The cell as it is taught: two Linears per gate, eight a step, and peepholes if asked.

    Args:
        input_size, hidden_size: F and H.
        bias: Each gate has one bias (torch has two, which are added).
        proj_size: P, or 0 for no projection.
        peephole: What a gate sees of the cell state.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        proj_size: int = 0,
        peephole: Peephole = "none",
    ) -> None:
        super().__init__(hidden_size, proj_size)
        self.from_input = GateLinears({g: nn.Linear(input_size, hidden_size, bias) for g in GATES})
        self.from_hidden = GateLinears(
            {g: nn.Linear(self.output_size, hidden_size, bias=False) for g in GATES}
        )
        self.from_cell = nn.ModuleDict()
        for gate in "ifo" if peephole != "none" else "":
            self.from_cell[gate] = (
                Diagonal(hidden_size)
                if peephole == "diagonal"
                else nn.Linear(hidden_size, hidden_size, bias=False)
            )

    def project(self, x_TBF: Tensor) -> Tensor:
        """Nothing is done before the loop: (T, B, F) → (T, B, F)."""
        return x_TBF

    def step(self, x_BF: Tensor, state: State) -> State:
        """(B, F) and (h, c) → (h, c), of (B, P) and (B, H)."""
        h_BP, c_BH = state
        i = torch.sigmoid(self._gate("i", x_BF, h_BP, c_BH))
        f = torch.sigmoid(self._gate("f", x_BF, h_BP, c_BH))
        g = torch.tanh(self._gate("g", x_BF, h_BP, None))
        c_BH = f * c_BH + i * g
        o = torch.sigmoid(self._gate("o", x_BF, h_BP, c_BH))
        return self.emit(o, c_BH)

    def _gate(self, gate: str, x_BF: Tensor, h_BP: Tensor, c_BH: Tensor | None) -> Tensor:
        total: Tensor = self.from_input[gate](x_BF) + self.from_hidden[gate](h_BP)
        if c_BH is not None and gate in self.from_cell:
            total = total + self.from_cell[gate](c_BH)
        return total

    def weights(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """W_ih (4H, F), W_hh (4H, P) and the bias (4H), rows in torch's order i, f, g, o."""
        inputs = [self.from_input[gate] for gate in GATES]
        bias = torch.cat([m.bias for m in inputs]) if inputs[0].bias is not None else None
        w_ih = torch.cat([m.weight for m in inputs])
        return w_ih, torch.cat([self.from_hidden[gate].weight for gate in GATES]), bias

    def set_weights(self, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None) -> None:
        """The inverse of `weights`; peepholes are set to zero."""
        for k, gate in enumerate(GATES):
            rows = slice(k * self.hidden_size, (k + 1) * self.hidden_size)
            self.from_input[gate].weight.copy_(w_ih[rows])
            self.from_hidden[gate].weight.copy_(w_hh[rows])
            if bias is not None:
                self.from_input[gate].bias.copy_(bias[rows])
        for parameter in self.from_cell.parameters():
            parameter.zero_()


class FusedLSTMCell(_LSTMCellBase):
    """The same maths with stacked gates: one product a step, the input's before the loop."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, proj_size: int = 0
    ) -> None:
        super().__init__(hidden_size, proj_size)
        self.from_input = nn.Linear(input_size, 4 * hidden_size, bias)
        self.from_hidden = nn.Linear(self.output_size, 4 * hidden_size, bias=False)

    def project(self, x_TBF: Tensor) -> Tensor:
        """The input's share of all gates at once: (T, B, F) → (T, B, 4H)."""
        x_TBG: Tensor = self.from_input(x_TBF)
        return x_TBG

    def step(self, x_BF: Tensor, state: State) -> State:
        """(B, 4H) and (h, c) → (h, c), of (B, P) and (B, H)."""
        h_BP, c_BH = state
        gates_BG = torch.addmm(x_BF, h_BP, self.from_hidden.weight.t())
        i, f, g, o = gates_BG.chunk(4, dim=1)
        c_BH = torch.sigmoid(f) * c_BH + torch.sigmoid(i) * torch.tanh(g)
        return self.emit(torch.sigmoid(o), c_BH)

    def weights(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """W_ih (4H, F), W_hh (4H, P) and the bias (4H), rows in torch's order i, f, g, o."""
        return self.from_input.weight, self.from_hidden.weight, self.from_input.bias

    def set_weights(self, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None) -> None:
        """The inverse of `weights`."""
        self.from_input.weight.copy_(w_ih)
        self.from_hidden.weight.copy_(w_hh)
        if bias is not None:
            self.from_input.bias.copy_(bias)


class LSTM(Recurrence):
    """A drop-in for `torch.nn.LSTM`, unrolled in Python.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size:
            As in `torch.nn.LSTM`.
        variant: "plain", "fused", "peephole" (full matrices) or "peephole_diag".
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
        *,
        variant: Variant = "plain",
    ) -> None:
        if not 0 <= proj_size < hidden_size:
            raise ValueError(f"proj_size = {proj_size} must be below hidden_size = {hidden_size}")

        def make_cell(features: int) -> Cell:
            if variant == "fused":
                return FusedLSTMCell(features, hidden_size, bias, proj_size)
            return LSTMCell(features, hidden_size, bias, proj_size, _PEEPHOLES[variant])

        super().__init__(
            make_cell, input_size, hidden_size, num_layers, batch_first, dropout, bidirectional
        )
        self.bias, self.proj_size = bias, proj_size

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(T, B, F) and optional (h_0, c_0) → output (T, B, D·P) and (h_n, c_n).

        Shapes follow `torch.nn.LSTM`, `batch_first` and inputs without a batch included.

        Raises:
            ValueError: if a shape does not fit.
        """
        output, (h_n, c_n) = self.run(x, state)
        return output, (h_n, c_n)

    def to_torch(self) -> dict[str, Tensor]:
        """These weights as a state dict for `torch.nn.LSTM` of the same arguments.

        Raises:
            ValueError: if there are peepholes that are not zero: torch has none.
        """
        for cell in self.cells:
            if isinstance(cell, LSTMCell) and any(
                bool(p.count_nonzero()) for p in cell.from_cell.parameters()
            ):
                raise ValueError("torch.nn.LSTM has no peepholes, and these are not zero")
        return self._as_torch()

    def _as_torch(self) -> dict[str, Tensor]:
        found = {}
        for name, cell in zip(
            torch_names(self.num_layers, self.num_directions), self.cells, strict=True
        ):
            assert isinstance(cell, LSTMCell | FusedLSTMCell)
            w_ih, w_hh, bias = cell.weights()
            found[f"weight_ih_{name}"], found[f"weight_hh_{name}"] = w_ih, w_hh
            if bias is not None:
                found[f"bias_ih_{name}"], found[f"bias_hh_{name}"] = bias, torch.zeros_like(bias)
            if cell.projection is not None:
                found[f"weight_hr_{name}"] = cell.projection.weight
        return {key: value.detach().clone() for key, value in found.items()}

    @torch.no_grad()
    def load_torch(self, state: dict[str, Tensor]) -> None:
        """Take over a state dict of `torch.nn.LSTM` (its two biases are added).

        Raises:
            ValueError: if it is of other arguments than this model.
        """
        check_state_dict(state, self._as_torch())
        for name, cell in zip(
            torch_names(self.num_layers, self.num_directions), self.cells, strict=True
        ):
            assert isinstance(cell, LSTMCell | FusedLSTMCell)
            bias = state[f"bias_ih_{name}"] + state[f"bias_hh_{name}"] if self.bias else None
            cell.set_weights(state[f"weight_ih_{name}"], state[f"weight_hh_{name}"], bias)
            if cell.projection is not None:
                cell.projection.weight.copy_(state[f"weight_hr_{name}"])


def lstm_cell(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """The tutorial's cell: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "plain")


def lstm_fused(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> LSTM:
    """Stacked gates, hoisted input projection: (batch, time, F) → (batch, time, D·H)."""
    return _batch_first(input_size, hidden_size, num_layers, bidirectional, "fused")


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
