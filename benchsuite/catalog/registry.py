"""The registries: every model, task and measure of the suite is one line of data here.

Importing this module imports neither torch nor any model: what a line names is resolved when it
is first built. A model from outside comes in as `package.module:factory` or through the entry
point group `benchsuite.models`; both are the same string that the lines below carry.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Generic, Literal, Protocol, TypeVar

from benchsuite.errors import UsageError, unknown

#: Stands where a case names its model, in what is measured of the machine itself.
MACHINE = "machine"

_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=_Named)


def resolve(target: str) -> Any:
    """Import `package.module:attribute`.

    Raises:
        UsageError: if the module cannot be imported, with the import's own words, or has no such
            attribute.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module from outside may fail in any way
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        words = " ".join(str(error).split())
        raise UsageError(f"cannot import {module_name!r} of {target!r}: {kind}{words}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UsageError(f"module {module_name!r} has no {attribute!r}") from error


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A sequence model: a factory of `nn.Module`s over (batch, time, features).

    Attributes:
        name: What people type.
        family: "recurrent", "convolutional" or "outside".
        target: `module:factory`; the factory is called with those of `input_size, hidden_size,
            num_layers, bidirectional, seq_len` that its signature names.
        summary: One line on what it is.
        equation: One layer in one line; W and U are matrices, p vectors, σ the logistic function.
    """

    name: str
    family: str
    target: str
    summary: str
    equation: str = ""

    def factory(self) -> Callable[..., Any]:
        """Import the factory."""
        factory = resolve(self.target)
        if not callable(factory):
            raise UsageError(f"{self.target!r} is a {type(factory).__name__}, not a callable")
        return factory  # type: ignore[no-any-return]

    def accepts(self) -> frozenset[str]:
        """The names of the sizes that the factory takes."""
        factory = self.factory()
        try:
            return frozenset(inspect.signature(factory).parameters)
        except ValueError as error:  # of a function that is not Python's
            raise UsageError(f"{self.target!r} has no signature that tells its sizes") from error


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A sequence problem: its data, its loss, and the baselines that a model has to beat.

    Attributes:
        name: What people type; `<name>_error` is its measure.
        version: That of the measure; raise it when data, loss or recipe change.
        target: `module:factory`; the factory is called with `seq_len, batch_size, seed` and the
            task's options.
        summary: One line on what it is, known flaws included.
        axes: What the task sets of a case where nobody else does.
        options: Name → meaning of what else may be set; whole numbers, all with a default.
    """

    name: str
    version: str
    target: str
    summary: str
    axes: Mapping[str, str | int]
    options: Mapping[str, str] = field(default_factory=dict)

    def factory(self) -> Callable[..., Any]:
        """Import the factory."""
        return resolve(self.target)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """Something measured of a case.

    Attributes:
        name: What people type, and the measure's name in the records.
        unit: Base unit of the value: "s", "B", "FLOP", "step", "1", "FLOP/s" or "B/s".
        version: Raise it by hand when the meaning of the number changes; asv and the resuming of
            studies both go by it, so that cosmetic edits keep history and real ones start anew.
        direction: Which way is better.
        target: `module:function` with `function(workload, budget) -> Reading`.
        summary: One line on what it is.
        runs: Whether the model itself is run, so that its workload has to be built.
        of_machine: Whether it is one of the machine: measured once per device, dtype and number of
            threads, of no model.
        steps: How often one measurement runs the case's step, roughly and besides timing; the
            estimate of a run's duration begins with it.
    """

    name: str
    unit: str
    version: str
    direction: Literal["lower", "none"]
    target: str
    summary: str
    runs: bool = True
    of_machine: bool = False
    steps: int = 3

    def function(self) -> Callable[..., Any]:
        """Import the function."""
        return resolve(self.target)  # type: ignore[no-any-return]


class Registry(Generic[S]):
    """An ordered table of specs by name."""

    def __init__(self, kind: str, specs: list[S]) -> None:
        self.kind = kind
        self._specs = {spec.name: spec for spec in specs}

    def __iter__(self) -> Iterator[S]:
        return iter(self._specs.values())

    def names(self) -> list[str]:
        """All names, in the order of the table."""
        return list(self._specs)

    def get(self, name: str) -> S:
        """The spec of that name.

        Raises:
            UsageError: naming the allowed ones and the closest.
        """
        if name not in self._specs:
            raise unknown(self.kind, name, self._specs)
        return self._specs[name]


class ModelRegistry(Registry[ModelSpec]):
    """The built-in models, and those from outside by entry point or as `module:factory`."""

    ENTRY_POINTS = "benchsuite.models"

    def __iter__(self) -> Iterator[ModelSpec]:
        yield from self._specs.values()
        yield from self._outside().values()

    def _outside(self) -> dict[str, ModelSpec]:
        found = entry_points(group=self.ENTRY_POINTS)
        return {
            point.name: ModelSpec(point.name, "outside", point.value, f"from {point.value}")
            for point in found
            if point.name not in self._specs
        }

    def known(self, name: str) -> ModelSpec:
        """As `get`, but a name that means nothing here is one of a model from outside.

        Records outlive the models they are of.
        """
        try:
            return self.get(name)
        except UsageError:
            return ModelSpec(name, "outside", "", "a model that is not installed here")

    def get(self, name: str) -> ModelSpec:
        """The spec of a built-in name, an entry point or a `package.module:factory`."""
        if name in self._specs:
            return self._specs[name]
        if _TARGET.fullmatch(name):
            return ModelSpec(name, "outside", name, f"from {name}")
        outside = self._outside()
        if name in outside:
            return outside[name]
        raise unknown(
            self.kind, name, [*self._specs, *outside], "or your own as package.module:factory"
        )


_M = "benchsuite.models"
_LSTM = (
    "i, f, o = σ(W x(t) + U h(t−1) + b); g = tanh(W x(t) + U h(t−1) + b);"
    " c(t) = f ⊙ c(t−1) + i ⊙ g; h(t) = o ⊙ tanh c(t)"
)
_GRU = (
    "r, z = σ(W x(t) + U h(t−1) + b); n = tanh(W x(t) + b + r ⊙ (U h(t−1) + b));"
    " h(t) = (1 − z) ⊙ n + z ⊙ h(t−1)"
)
_TCN = "block i: h ← relu(h + relu(D relu(D h))), D h(t) = b + Σₖ Wₖ h(t − k·2ⁱ)"

MODELS = ModelRegistry(
    "model",
    [
        ModelSpec(
            "lstm_cell",
            "recurrent",
            f"{_M}.lstm:lstm_cell",
            "LSTM written by hand: eight Linears a step, unrolled in Python",
            _LSTM,
        ),
        ModelSpec(
            "lstm_peephole",
            "recurrent",
            f"{_M}.lstm:lstm_peephole",
            "LSTM whose gates also see the cell state, through full matrices",
            "as lstm_cell, with V c(t−1) inside i and f, and V c(t) inside o",
        ),
        ModelSpec(
            "lstm_peephole_diag",
            "recurrent",
            f"{_M}.lstm:lstm_peephole_diag",
            "LSTM with diagonal peepholes (Graves 2013)",
            "as lstm_cell, with p ⊙ c(t−1) inside i and f, and p ⊙ c(t) inside o",
        ),
        ModelSpec(
            "lstm_fused",
            "recurrent",
            f"{_M}.lstm:lstm_fused",
            "the same LSTM with stacked gates and the input projection outside the loop",
            _LSTM,
        ),
        ModelSpec(
            "lstm",
            "recurrent",
            f"{_M}.library:lstm",
            "torch.nn.LSTM: cuDNN on CUDA, oneDNN or ATen on CPU",
            _LSTM,
        ),
        ModelSpec(
            "gru_cell",
            "recurrent",
            f"{_M}.gru:gru_cell",
            "GRU written by hand: six Linears a step, unrolled in Python",
            _GRU,
        ),
        ModelSpec(
            "gru",
            "recurrent",
            f"{_M}.library:gru",
            "torch.nn.GRU: cuDNN on CUDA, ATen on CPU",
            _GRU,
        ),
        ModelSpec(
            "tcn",
            "convolutional",
            f"{_M}.conv:tcn",
            "dilated causal residual TCN, just deep enough to see the whole sequence",
            _TCN,
        ),
        ModelSpec(
            "tcn_fixed",
            "convolutional",
            f"{_M}.conv:tcn_fixed",
            "the same TCN at a depth of four blocks, whatever the sequence length",
            _TCN,
        ),
        ModelSpec(
            "conv",
            "convolutional",
            f"{_M}.conv:conv",
            "causal CNN without dilation or residuals, four layers",
            "h ← relu(b + Σₖ Wₖ h(t − k)), four times",
        ),
    ],
)

_T = "benchsuite.tasks"

TASKS = Registry(
    "task",
    [
        TaskSpec(
            "sine",
            "2",
            f"{_T}.sine:sine",
            "PyTorch's time_sequence_prediction to the letter; its test rows leak, and its one"
            " frequency needs two samples of memory",
            {"seq_len": 999, "batch_size": 97, "hidden_size": 51, "num_layers": 2}
            | {"dtype": "float64"},
        ),
        TaskSpec(
            "sine_mix",
            "1",
            f"{_T}.sine_mix:sine_mix",
            "next step of a sum of sines whose periods and phases are new in every row",
            {"seq_len": 256, "batch_size": 32},
            {"waves": "sines in each row (default: 3)"},
        ),
        TaskSpec(
            "adding",
            "1",
            f"{_T}.adding:adding",
            "sum of two marked numbers among noise, told at the end",
            {"seq_len": 200, "batch_size": 32},
        ),
        TaskSpec(
            "copy",
            "1",
            f"{_T}.copy:copy",
            "repeat digits after a long blank",
            {"seq_len": 60, "batch_size": 32},
            {"digits": "digits to remember (default: 10)"},
        ),
        TaskSpec(
            "delay",
            "1",
            f"{_T}.delay:delay",
            "white noise, repeated lag steps later: the probe of a receptive field in use",
            {"seq_len": 256, "batch_size": 32},
            {"lag": "steps of delay (default: half of seq_len)"},
        ),
    ],
)

_MM = "benchsuite.measures"

MEASURES = Registry(
    "measure",
    [
        MeasureSpec(
            "latency",
            "s",
            "1",
            "lower",
            f"{_MM}.timing:latency",
            "wall time of one step of the case's mode",
        ),
        MeasureSpec(
            "device_time",
            "s",
            "1",
            "lower",
            f"{_MM}.timing:device_time",
            "time of one step on the device's own clock (CUDA events)",
        ),
        MeasureSpec(
            "peak_memory",
            "B",
            "1",
            "lower",
            f"{_MM}.memory:peak_memory",
            "most memory that one step holds beyond parameters and input",
        ),
        MeasureSpec(
            "saved_activations",
            "B",
            "1",
            "lower",
            f"{_MM}.memory:saved_activations",
            "memory that the forward pass keeps for the backward pass",
        ),
        MeasureSpec(
            "state_size",
            "B",
            "1",
            "lower",
            f"{_MM}.structure:state_size",
            "memory needed to continue a stream by one step",
            runs=False,
        ),
        MeasureSpec(
            "parameters",
            "1",
            "1",
            "none",
            f"{_MM}.structure:parameters",
            "number of trainable parameters",
            runs=False,
        ),
        MeasureSpec(
            "flops",
            "FLOP",
            "1",
            "none",
            f"{_MM}.structure:flops",
            "floating-point operations of one step (1 MAC = 2 FLOP), counted on the meta device",
            runs=False,
        ),
        MeasureSpec(
            "receptive_field",
            "step",
            "1",
            "none",
            f"{_MM}.field:receptive_field",
            "timesteps that an output may depend on",
            runs=False,
        ),
        MeasureSpec(
            "erf50",
            "step",
            "1",
            "none",
            f"{_MM}.field:erf50",
            "timesteps that hold half of the gradient norm before training",
            runs=False,
        ),
        MeasureSpec(
            "erf95",
            "step",
            "1",
            "none",
            f"{_MM}.field:erf95",
            "timesteps that hold 95 % of the gradient norm before training",
            runs=False,
        ),
        *(
            MeasureSpec(
                f"{task.name}_error",
                "1",
                task.version,
                "lower",
                f"{_MM}.accuracy:{task.name}_error",
                f"error on unseen data after a short training: {task.summary}",
                runs=False,
                steps=300,
            )
            for task in TASKS
        ),
        MeasureSpec(
            "matmul_rate",
            "FLOP/s",
            "1",
            "none",
            f"{_MM}.machine:matmul_rate",
            "what the machine reaches at best: a large matrix product (1 MAC = 2 FLOP)",
            runs=False,
            of_machine=True,
        ),
        MeasureSpec(
            "copy_bandwidth",
            "B/s",
            "1",
            "none",
            f"{_MM}.machine:copy_bandwidth",
            "what its memory moves at best: a long copy, bytes read and written",
            runs=False,
            of_machine=True,
        ),
    ],
)
