"""Recurrence in time and space: any cell, unrolled over steps and stacked in layers.

Shape suffixes: T timesteps, B batch, F features, H hidden units, D directions, L layers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

State = tuple[Tensor, ...]


class GateLinears(nn.ModuleDict):
    """One Linear per gate, by the gate's letter."""

    if TYPE_CHECKING:  # no call of our own in the loop

        def __getitem__(self, key: str) -> nn.Linear: ...


class Cell(nn.Module, ABC):
    """One step of a recurrence, and how often it has to be told about the input.

    A cell splits its work into `project`, which sees the whole sequence before the loop, and
    `step`, which is run in Python once per timestep.
    """

    #: Features of the output, and of the hidden state that is fed back.
    output_size: int

    @abstractmethod
    def state_sizes(self) -> tuple[int, ...]:
        """Features of each state tensor, the hidden state first."""

    @abstractmethod
    def project(self, x_TBF: Tensor) -> Tensor:
        """Work on the input that needs no state: (T, B, F) → (T, B, anything)."""

    @abstractmethod
    def step(self, x_BF: Tensor, state: State) -> State:
        """One timestep: projected input (B, anything) and state to the next state."""

    def scan(self, x_TBF: Tensor, state: State, *, reverse: bool = False) -> tuple[Tensor, State]:
        """Run over time; (T, B, F) → (T, B, output_size) and the last state.

        `unbind` and not `x[t]`: the backward of T selects fills T full-size tensors, O(T²).
        """
        steps: Iterable[Tensor] = self.project(x_TBF).unbind(0)
        outputs = []
        for x_BF in reversed(tuple(steps)) if reverse else steps:
            state = self.step(x_BF, state)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if reverse else outputs), state


class Recurrence(nn.Module):
    """Layers (and directions) of one kind of cell, called as `torch.nn.LSTM` and `GRU` are.

    Args:
        make_cell: `(input_size) → Cell`, called for each layer and direction.
        hidden_size: H, for the initialisation U(±1/√H) of every parameter.
        input_size, num_layers, batch_first, dropout, bidirectional: as in `torch.nn.LSTM`.
    """

    def __init__(
        self,
        make_cell: Callable[[int], Cell],
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout = {dropout} is not a probability")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.num_directions = 2 if bidirectional else 1
        self.cells = nn.ModuleList()
        features = input_size
        for _ in range(num_layers):
            layer = [make_cell(features) for _ in range(self.num_directions)]
            self.cells.extend(layer)
            features = layer[0].output_size * self.num_directions
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(±1/√H), as torch's recurrent layers do."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def run(self, x: Tensor, initial: State | None) -> tuple[Tensor, State]:
        """Run all layers.

        Args:
            x: (T, B, F), (B, T, F) with `batch_first`, or (T, F) without a batch.
            initial: State tensors of (L·D, B, size) each, or (L·D, size) without a batch;
                zeros if left out.

        Returns:
            The output, D·output_size features wide and laid out as `x`, and the last states, laid
            out as `initial`.

        Raises:
            ValueError: if a shape does not fit; the message holds both.
        """
        batched = x.dim() == 3
        if x.dim() not in {2, 3} or x.size(-1) != self.input_size:
            raise ValueError(
                f"input of shape {tuple(x.shape)} does not fit (time, batch, {self.input_size})"
            )
        x_TBF = x if batched else x.unsqueeze(1)
        if batched and self.batch_first:
            x_TBF = x_TBF.transpose(0, 1)
        states = self._initial(x_TBF, initial, batched=batched)
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x_TBF = F.dropout(x_TBF, self.dropout, self.training)
            outputs = []
            for direction in range(self.num_directions):
                index = layer * self.num_directions + direction
                cell = self.cells[index]
                assert isinstance(cell, Cell)
                y_TBH, state = cell.scan(x_TBF, states[index], reverse=direction == 1)
                outputs.append(y_TBH)
                last.append(state)
            x_TBF = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        ends = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
        if not batched:
            return x_TBF.squeeze(1), tuple(end.squeeze(1) for end in ends)
        return (x_TBF.transpose(0, 1) if self.batch_first else x_TBF), ends

    def _initial(self, x_TBF: Tensor, initial: State | None, *, batched: bool) -> list[State]:
        batch, cells = x_TBF.size(1), len(self.cells)
        first = self.cells[0]
        assert isinstance(first, Cell)
        sizes = first.state_sizes()
        if initial is None:
            zeros = tuple(x_TBF.new_zeros(batch, size) for size in sizes)
            return [zeros] * cells
        for given, size in zip(initial, sizes, strict=True):
            wanted = (cells, batch, size) if batched else (cells, size)
            if tuple(given.shape) != wanted:
                raise ValueError(f"initial state of shape {tuple(given.shape)}; needed: {wanted}")
        full = initial if batched else tuple(given.unsqueeze(1) for given in initial)
        return list(zip(*(given.unbind(0) for given in full), strict=True))


def torch_names(num_layers: int, num_directions: int) -> list[str]:
    """Suffixes of torch's parameter names, cell by cell: "l0", "l0_reverse", "l1" and so on."""
    return [
        f"l{layer}{'_reverse' if direction else ''}"
        for layer in range(num_layers)
        for direction in range(num_directions)
    ]


def check_state_dict(given: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Refuse a state dict of torch's that is not of the same arguments.

    Args:
        given: What is to be taken over.
        own: What these weights are as a state dict of torch's.

    Raises:
        ValueError: naming the first difference in names or shapes.
    """
    for name in sorted({*given, *own}):
        if name not in own:
            raise ValueError(f"{name} has no place here: other layers, directions or biases")
        if name not in given:
            raise ValueError(f"{name} is missing: other layers, directions or biases")
        if given[name].shape != own[name].shape:
            shapes = f"{tuple(given[name].shape)}; needed: {tuple(own[name].shape)}"
            raise ValueError(f"{name} is of shape {shapes}")
