"""Recurrence in time and space: any cell, unrolled over steps and stacked in layers.

`Recurrence` is an `nn.RNNBase`: parameters, their names and their initialisation, the checks of the
arguments, copying, pickling and the repr are torch's code. Only the loop over time is not.

Shape suffixes: T timesteps, B batch, F features, G features of the projected input, H hidden units,
D directions, L layers, N timesteps of all sequences of a packed batch together.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

State = tuple[Tensor, ...]
Prepared = TypeVar("Prepared")
Module = TypeVar("Module", bound=nn.Module)


class Weights(NamedTuple):
    """The parameters of one layer and direction; each field is the stem of torch's name for it.

    Rows are stacked by gate, in torch's order. Biases and projection are None if the layer has
    none, as is `weight_ch` (the peepholes, which torch does not have) except in two LSTM variants.
    """

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    weight_hr: Tensor | None
    weight_ch: Tensor | None

    def bias(self) -> Tensor | None:
        """The sum of the two biases, for equations in which only the sum occurs."""
        if self.bias_ih is None or self.bias_hh is None:
            return None
        return self.bias_ih + self.bias_hh


_LINEAR = nn.Linear(1, 1, device="meta")


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A Linear over existing tensors, for the rows of one gate.

    The cells that call each gate separately represent code as it is usually written: with modules,
    whose calls and attributes cost about as much as a small product. The instance is made as in
    torch's `replicate`, without `__init__`, which would double the cost of the call.
    """
    return rebound(_LINEAR, weight=weight, bias=bias)


def rebound(module: Module, **parameters: Tensor | None) -> Module:
    """A shallow copy of a module with other tensors as its parameters."""
    copy = module.__new__(type(module))
    vars(copy).update(vars(module), _parameters=parameters)
    return copy


class Cell(ABC, Generic[Prepared]):
    """One step of a recurrence, without parameters: these belong to the `Recurrence`.

    A cell splits its work into `prepare`, once per forward pass, `project`, over the whole sequence
    before the loop, and `step`, which runs in Python once per timestep.
    """

    @abstractmethod
    def prepare(self, weights: Weights) -> Prepared:
        """The parameters in the form that `project` and `step` need."""

    @abstractmethod
    def project(self, x_TBF: Tensor, weights: Prepared) -> Tensor:
        """Work on the input that needs no state: (…, F) → (…, G)."""

    @abstractmethod
    def step(self, x_BG: Tensor, state: State, weights: Prepared) -> State:
        """One timestep: projected input (B, G) and state → next state, the output first."""

    def scan(
        self, x_TBF: Tensor, state: State, weights: Weights, *, reverse: bool = False
    ) -> tuple[Tensor, State]:
        """Run over time; (T, B, F) → (T, B, features of the output) and the last state.

        `unbind` and not `x[t]`: the backward of T selects fills T full-size tensors, O(T²).
        """
        prepared = self.prepare(weights)
        steps: Sequence[Tensor] = self.project(x_TBF, prepared).unbind(0)
        outputs = []
        for x_BG in reversed(steps) if reverse else steps:
            state = self.step(x_BG, state, prepared)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if reverse else outputs), state

    def scan_packed(
        self,
        x_NF: Tensor,
        batch_sizes: list[int],
        state: State,
        weights: Weights,
        *,
        reverse: bool = False,
    ) -> tuple[Tensor, State]:
        """Run over the timesteps of a `PackedSequence`, longest sequence first.

        Args:
            x_NF: All timesteps, ordered by time and then by sequence.
            batch_sizes: The number of sequences that have timestep 0, 1 and so on.
            state: The state that each sequence starts from.
            weights: The parameters.
            reverse: Start each sequence at its own end.

        Returns:
            The outputs, ordered as `x_NF`, and the state after each sequence's last step.
        """
        prepared = self.prepare(weights)
        steps: Sequence[Tensor] = self.project(x_NF, prepared).split(batch_sizes)
        outputs = []
        rows = batch_sizes[-1 if reverse else 0]
        state, waiting = _split(state, rows)  # waiting: not started yet, or ended
        for x_BG in reversed(steps) if reverse else steps:
            state, waiting = _resized(state, waiting, rows, len(x_BG))
            rows = len(x_BG)
            state = self.step(x_BG, state, prepared)
            outputs.append(state[0])
        return torch.cat(outputs[::-1] if reverse else outputs), _join(state, waiting)


def scan_runs(
    self: Cell[Any],
    x_NF: Tensor,
    batch_sizes: list[int],
    state: State,
    weights: Weights,
    *,
    reverse: bool = False,
) -> tuple[Tensor, State]:
    """`Cell.scan_packed` for cells whose `scan` is one call: once for each batch size."""
    runs = [(size, len(list(steps))) for size, steps in itertools.groupby(batch_sizes)]
    inputs = x_NF.split([size * steps for size, steps in runs])
    outputs = []
    rows = batch_sizes[-1 if reverse else 0]
    state, waiting = _split(state, rows)
    turned = list(zip(runs, inputs, strict=True))
    for (size, steps), part_NF in reversed(turned) if reverse else turned:
        state, waiting = _resized(state, waiting, rows, size)
        rows = size
        y_TBH, state = self.scan(
            part_NF.unflatten(0, (steps, size)), state, weights, reverse=reverse
        )
        outputs.append(y_TBH.flatten(0, 1))
    return torch.cat(outputs[::-1] if reverse else outputs), _join(state, waiting)


def _resized(state: State, waiting: State, rows: int, size: int) -> tuple[State, State]:
    """The states of the sequences that have a timestep, and of those that wait."""
    if size > rows:
        begun, waiting = _split(waiting, size - rows)
        return _join(state, begun), waiting
    if size < rows:
        state, ended = _split(state, size)
        return state, _join(ended, waiting)
    return state, waiting


def _split(state: State, rows: int) -> tuple[State, State]:
    first, rest = zip(*(part.split([rows, len(part) - rows]) for part in state), strict=True)
    return first, rest


def _join(first: State, rest: State) -> State:
    return tuple(torch.cat(parts) for parts in zip(first, rest, strict=True))


class Recurrence(nn.RNNBase):
    """Layers (and directions) of one kind of cell, called like `torch.nn.LSTM` and `GRU`.

    Args:
        mode: "LSTM" or "GRU", which decides the parameters.
        make_cell: Called for each layer and direction.
        arguments: As in `torch.nn.RNNBase`, from `input_size` to `dtype`, by position.
    """

    #: Whether there is a `weight_ch_…` for each layer and direction.
    peepholes = False

    def __init__(self, mode: str, make_cell: Callable[[], Cell[Any]], *arguments: Any) -> None:
        super().__init__(mode, *arguments)
        #: Suffixes of the parameters' names, cell by cell: "l0", "l0_reverse", "l1" and so on.
        self.suffixes = [
            f"l{layer}{direction}"
            for layer in range(self.num_layers)
            for direction in (("", "_reverse") if self.bidirectional else ("",))
        ]
        self.cells = [make_cell() for _ in self.suffixes]

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Features of each state tensor, the hidden state first."""
        return (self.hidden_size,)

    @property
    def iterations(self) -> tuple[Any, ...]:
        """What each cell that iterates has as `iterations` (`newton.Iterations`)."""
        return tuple(cell.iterations for cell in self.cells if hasattr(cell, "iterations"))

    def flatten_parameters(self) -> None:
        """Do nothing, on any device: no kernel reads these parameters as one buffer."""

    def weights(self, index: int) -> Weights:
        """The current parameters of the layer and direction of cell `index`, pruned or not."""
        count = (4 if self.bias else 2) + (self.proj_size > 0)
        given: list[Any] = self._flat_weights[count * index : count * (index + 1)]
        projection = given.pop() if self.proj_size else None
        peepholes = getattr(self, f"weight_ch_{self.suffixes[index]}") if self.peepholes else None
        if not self.bias:
            given += None, None
        return Weights._make([*given, projection, peepholes])

    def run(
        self, x: Tensor | PackedSequence, initial: State | None
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run all layers.

        Args:
            x: (T, B, F), (B, T, F) with `batch_first`, (T, F) without a batch, or a packed batch.
            initial: State tensors of (L·D, B, size) each, or (L·D, size) without a batch;
                zeros if omitted.

        Returns:
            The output, D·H features wide and laid out as `x`, and the last states, laid out as
            `initial`.

        Raises:
            ValueError: if the input has another dtype than the parameters, or is not 2-D or 3-D.
            RuntimeError: if a shape does not fit, with torch's message.
        """
        if isinstance(x, PackedSequence):
            return self._run_packed(x, initial)
        if x.dim() not in {2, 3}:
            raise ValueError(f"{self.mode}: Expected input to be 2D or 3D, got {x.dim()}D instead")
        batched = x.dim() == 3
        if initial is not None:
            self._check_dimensions(x, initial)
        if not batched:
            x = x.unsqueeze(0 if self.batch_first else 1)
            initial = initial and tuple(given.unsqueeze(1) for given in initial)
        x, initial = self._checked(x, initial, None)
        x_TBF = x.transpose(0, 1) if self.batch_first else x
        if not len(x_TBF):
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        y_TBH, ends = self._layers(x_TBF, None, initial)
        if not batched:
            return y_TBH.squeeze(1), tuple(end.squeeze(1) for end in ends)
        return (y_TBH.transpose(0, 1) if self.batch_first else y_TBH), ends

    def _run_packed(
        self, packed: PackedSequence, initial: State | None
    ) -> tuple[PackedSequence, State]:
        """The same as `run`; states are in the order of the sequences before sorting."""
        x_NF, batch_sizes, to_sorted, from_sorted = packed
        if initial is not None and to_sorted is not None and all(s.dim() == 3 for s in initial):
            initial = tuple(given.index_select(1, to_sorted) for given in initial)
        x_NF, initial = self._checked(x_NF, initial, batch_sizes)
        y_NH, ends = self._layers(x_NF, batch_sizes.tolist(), initial)
        if from_sorted is not None:
            ends = tuple(end.index_select(1, from_sorted) for end in ends)
        return PackedSequence(y_NH, batch_sizes, to_sorted, from_sorted), ends

    def _layers(
        self, x: Tensor, batch_sizes: list[int] | None, initial: State | None
    ) -> tuple[Tensor, State]:
        """All layers over (T, B, F), or (N, F) with batch sizes: the output and the last states."""
        if initial is None:
            batch = x.size(1) if batch_sizes is None else batch_sizes[0]
            states = [tuple([x.new_zeros(batch, size) for size in self.state_sizes])]
            states *= len(self.cells)
        else:
            states = list(zip(*(given.unbind(0) for given in initial), strict=True))
        last: list[State] = []
        directions = 2 if self.bidirectional else 1
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for direction in range(directions):
                index, reverse = layer * directions + direction, direction == 1
                cell, weights = self.cells[index], self.weights(index)
                if batch_sizes is None:
                    y, state = cell.scan(x, states[index], weights, reverse=reverse)
                else:
                    y, state = cell.scan_packed(
                        x, batch_sizes, states[index], weights, reverse=reverse
                    )
                outputs.append(y)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        if len(last) == 1:
            return x, tuple(part.unsqueeze(0) for part in last[0])
        return x, tuple(torch.stack(parts) for parts in zip(*last, strict=True))

    def stepper(self) -> Callable[[Tensor, list[State] | None], tuple[Tensor, list[State]]]:
        """A function that continues a sequence without checking its arguments, for short calls.

        It takes the next timesteps, laid out as for `run` with a batch, and the states of all
        layers that it returned last (None to start from zeros), and returns the output and the
        states. Checks take longer than one timestep of a small layer in a kernel. The parameters
        are those at the time of this call; dropout is left out.

        Raises:
            ValueError: if the module is bidirectional: it needs the whole sequence.
        """
        if self.bidirectional:
            raise ValueError("a bidirectional recurrence cannot continue a sequence")
        layers = [(cell, self.weights(index)) for index, cell in enumerate(self.cells)]
        sizes, batch_first = self.state_sizes, self.batch_first

        def step(x: Tensor, states: list[State] | None) -> tuple[Tensor, list[State]]:
            x = x.transpose(0, 1) if batch_first else x
            if states is None:
                states = [tuple(x.new_zeros(x.size(1), size) for size in sizes) for _ in layers]
            ends = []
            for (cell, weights), state in zip(layers, states, strict=True):
                x, end = cell.scan(x, state, weights)
                ends.append(end)
            return (x.transpose(0, 1) if batch_first else x), ends

        return step

    def _check_dimensions(self, x: Tensor, initial: State) -> None:
        if all(given.dim() == x.dim() for given in initial):
            return
        kind = "batched" if x.dim() == 3 else "unbatched"
        found = [f"{given.dim()}-D" for given in initial]
        names, got = ("hx", f"{found[0]} tensor")
        if len(found) > 1:
            names, got = "hx and cx", f"({', '.join(found)}) tensors"
        raise RuntimeError(
            f"For {kind} {x.dim()}-D input, {names} should also be {x.dim()}-D but got {got}"
        )

    def _checked(
        self, x: Tensor, initial: State | None, batch_sizes: Tensor | None
    ) -> tuple[Tensor, State | None]:
        """Check input and state; return them in the dtype that a library's kernel computes in."""
        self.check_input(x, batch_sizes)
        lower = autocast_dtype(x.device.type)
        if initial is not None:
            layers, batch, _ = self.get_expected_hidden_size(x, batch_sizes)
            for index, (given, size) in enumerate(zip(initial, self.state_sizes, strict=True)):
                name = f"hidden[{index}]" if len(initial) > 1 else "hidden"
                self.check_hidden_size(
                    given, (layers, batch, size), f"Expected {name} size {{}}, got {{}}"
                )
                if lower is None and given.dtype != x.dtype:
                    raise RuntimeError(
                        "Input and hidden tensors are not the same dtype, found input tensor with"
                        f" {x.dtype} and hidden tensor with {given.dtype}"
                    )
        if lower is None or x.device.type == "cpu":
            return x, initial
        return x.to(lower), initial and tuple(given.to(lower) for given in initial)

    def to_torch(self) -> dict[str, Tensor]:
        """These weights as a state dict for torch's layer with the same arguments.

        Without peepholes `state_dict()` is equivalent.

        Raises:
            ValueError: if peepholes are not zero: torch has none.
        """
        found = {}
        for index, suffix in enumerate(self.suffixes):
            for name, value in self.weights(index)._asdict().items():
                if name != "weight_ch" and value is not None:
                    found[f"{name}_{suffix}"] = value.detach().clone()
                elif value is not None and value.count_nonzero():
                    raise ValueError(f"torch.nn.{self.mode} has no peepholes, these are not zero")
        return found

    @torch.no_grad()
    def load_torch(self, state: dict[str, Tensor]) -> None:
        """Load a state dict of torch's layer; peepholes, which it lacks, become zero.

        Without peepholes `load_state_dict(state)` does the same.

        Raises:
            ValueError: naming the first difference, if it belongs to a layer with other arguments.
        """
        own = self.state_dict()
        zeros = {k: torch.zeros_like(v) for k, v in own.items() if k.startswith("weight_ch_")}
        _check_state_dict(state, {k: v for k, v in own.items() if k not in zeros})
        self.load_state_dict({**state, **zeros})


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """The dtype in which autocast computes products; None if it is off."""
    if torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return None


def _check_state_dict(given: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    for name in sorted({*given, *own}):
        if name not in own:
            raise ValueError(f"{name} is unexpected: other layers, directions or biases")
        if name not in given:
            raise ValueError(f"{name} is missing: other layers, directions or biases")
        if given[name].shape != own[name].shape:
            shapes = f"{tuple(given[name].shape)}; needed: {tuple(own[name].shape)}"
            raise ValueError(f"{name} has shape {shapes}")
