r"""A GRU written by hand, a drop-in for `torch.nn.GRU`.

One step (Cho et al. 2014, in torch's and cuDNN's form with the reset gate after the product):

    r_t = σ(W_xr x_t + W_hr h_{t-1} + b_r)
    z_t = σ(W_xz x_t + W_hz h_{t-1} + b_z)
    n_t = tanh(W_xn x_t + b_n + r_t ⊙ (W_hn h_{t-1} + b_hn))
    h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}

Shape suffixes: T timesteps, B batch, F features, H hidden units.
"""

from __future__ import annotations

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

GATES = ("r", "z", "n")  # torch's order of rows


class GRUCell(Cell):
    """Two Linears per gate, six a step; only the candidate needs a second bias."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = self.output_size = hidden_size
        self.from_input = GateLinears({g: nn.Linear(input_size, hidden_size, bias) for g in GATES})
        self.from_hidden = GateLinears(
            {g: nn.Linear(hidden_size, hidden_size, bias=bias and g == "n") for g in GATES}
        )

    def state_sizes(self) -> tuple[int, ...]:
        """(H,)."""
        return (self.hidden_size,)

    def project(self, x_TBF: Tensor) -> Tensor:
        """Nothing is done before the loop: (T, B, F) → (T, B, F)."""
        return x_TBF

    def step(self, x_BF: Tensor, state: State) -> State:
        """(B, F) and (h,) → (h,), each (B, H)."""
        (h_BH,) = state
        r = torch.sigmoid(self.from_input["r"](x_BF) + self.from_hidden["r"](h_BH))
        z = torch.sigmoid(self.from_input["z"](x_BF) + self.from_hidden["z"](h_BH))
        n = torch.tanh(self.from_input["n"](x_BF) + r * self.from_hidden["n"](h_BH))
        return ((1 - z) * n + z * h_BH,)


class GRU(Recurrence):
    """A drop-in for `torch.nn.GRU`, unrolled in Python; arguments as there."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__(
            lambda features: GRUCell(features, hidden_size, bias),
            input_size,
            hidden_size,
            num_layers,
            batch_first,
            dropout,
            bidirectional,
        )
        self.bias = bias

    def forward(self, x: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(T, B, F) and optional h_0 → output (T, B, D·H) and h_n; shapes follow `torch.nn.GRU`.

        Raises:
            ValueError: if a shape does not fit.
        """
        output, (h_n,) = self.run(x, None if h_0 is None else (h_0,))
        return output, h_n

    def to_torch(self) -> dict[str, Tensor]:
        """These weights as a state dict for `torch.nn.GRU` of the same arguments."""
        found = {}
        for name, cell in zip(
            torch_names(self.num_layers, self.num_directions), self.cells, strict=True
        ):
            assert isinstance(cell, GRUCell)
            inputs = [cell.from_input[gate] for gate in GATES]
            hidden = [cell.from_hidden[gate] for gate in GATES]
            found[f"weight_ih_{name}"] = torch.cat([m.weight for m in inputs])
            found[f"weight_hh_{name}"] = torch.cat([m.weight for m in hidden])
            if self.bias:
                found[f"bias_ih_{name}"] = torch.cat([m.bias for m in inputs])
                zeros = torch.zeros_like(inputs[0].bias)
                found[f"bias_hh_{name}"] = torch.cat([zeros, zeros, hidden[2].bias])
        return {key: value.detach().clone() for key, value in found.items()}

    @torch.no_grad()
    def load_torch(self, state: dict[str, Tensor]) -> None:
        """Take over a state dict of `torch.nn.GRU` (biases of r and z are added).

        Raises:
            ValueError: if it is of other arguments than this model.
        """
        check_state_dict(state, self.to_torch())
        for name, cell in zip(
            torch_names(self.num_layers, self.num_directions), self.cells, strict=True
        ):
            assert isinstance(cell, GRUCell)
            for k, gate in enumerate(GATES):
                rows = slice(k * self.hidden_size, (k + 1) * self.hidden_size)
                cell.from_input[gate].weight.copy_(state[f"weight_ih_{name}"][rows])
                cell.from_hidden[gate].weight.copy_(state[f"weight_hh_{name}"][rows])
                if not self.bias:
                    continue
                b_ih, b_hh = state[f"bias_ih_{name}"][rows], state[f"bias_hh_{name}"][rows]
                if gate == "n":
                    cell.from_input[gate].bias.copy_(b_ih)
                    cell.from_hidden[gate].bias.copy_(b_hh)
                else:
                    cell.from_input[gate].bias.copy_(b_ih + b_hh)


def gru_cell(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> GRU:
    """(batch, time, F) → (batch, time, D·H)."""
    return GRU(input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional)
