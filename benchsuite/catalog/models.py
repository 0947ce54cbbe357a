"""Models: one entry of data for every built-in model.

A model from outside is named as `package.module:factory`, or by an entry point of the group
`benchsuite.models`; both give the same string as the targets below.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

from benchsuite.catalog.families import OUTSIDE
from benchsuite.catalog.registry import Registry, resolve
from benchsuite.errors import UsageError, unknown

#: The value of the axis `model` in measurements of the machine itself.
MACHINE = "machine"

_ENTRY_NAME = re.compile(r"\w[\w.+-]{0,99}")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A sequence model: a factory of `nn.Module`s over (batch, time, features).

    Attributes:
        name: What people type.
        family: A name of `catalog.families`; "outside" for a model that is not built in.
        target: `module:factory`; the factory gets the arguments among `input_size, hidden_size,
            num_layers, bidirectional, seq_len` that its signature names.
        summary: One line on what it is.
        mathematics: What it computes; models with an equal one give equal outputs with converted
            weights. Empty for a model from outside.
        execution: How that is carried out: "Python loop" (over timesteps), "fused loop" (over
            timesteps, with stacked gates), "library" (one call for all timesteps of a layer),
            "scan" (torch operators over many timesteps at once), "FFT" (a convolution), "native"
            (a kernel of this suite in C, compiled on first use), "Triton" (one for CUDA) or
            "Newton" (iterations over all timesteps at once). Empty for a model from outside.
        equation: One layer in one line; W and U are matrices, p vectors, σ the logistic function.
    """

    name: str
    family: str
    target: str
    summary: str
    mathematics: str = ""
    execution: str = ""
    equation: str = ""

    @property
    def looped(self) -> bool:
        """Whether Python calls its operators timestep by timestep."""
        return self.execution.endswith(" loop")

    def factory(self) -> Callable[..., Any]:
        """Import the factory."""
        factory = resolve(self.target)
        if not callable(factory):
            raise UsageError(f"{self.target!r} is a {type(factory).__name__}, not a callable")
        return factory  # type: ignore[no-any-return]

    def accepts(self) -> frozenset[str]:
        """The names that the factory takes, those of the sizes among them.

        A class whose constructor passes `**kwargs` on, as `torch.nn.GRU` does, takes what those of
        its bases take.
        """
        factory = self.factory()
        bases = factory.__mro__[1:-1] if isinstance(factory, type) else ()
        try:
            taken = inspect.signature(factory).parameters
            names = set(taken)
            for base in bases:
                if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
                    break
                if "__init__" in vars(base):
                    taken = inspect.signature(vars(base)["__init__"]).parameters
                    names.update(taken)
        except ValueError as error:  # a function that is not written in Python
            raise UsageError(
                f"{self.target!r} has no signature with its sizes; wrap it in a Python function"
            ) from error
        return frozenset(names)


class ModelRegistry(Registry[ModelSpec]):
    """The built-in models, and other models by entry point or as `module:factory`."""

    ENTRY_POINTS = "benchsuite.models"

    def __init__(self, noun: str, specs: list[ModelSpec]) -> None:
        super().__init__(noun, specs)
        self.problems: list[str] = []  # why entry points were skipped, since the last look

    def __iter__(self) -> Iterator[ModelSpec]:
        yield from self._specs.values()
        yield from self._outside().values()

    def _outside(self) -> dict[str, ModelSpec]:
        """The models of entry points; malformed ones are skipped, with a line in `problems`."""
        found: dict[str, ModelSpec] = {}
        problems: list[str] = []
        for package, name, target in self._entry_points(problems):
            if name in self._specs or name in found:
                continue
            if _ENTRY_NAME.fullmatch(name) and _TARGET.fullmatch(target):
                found[name] = ModelSpec(name, OUTSIDE, target, f"from {target}")
            else:
                entry = f"{name} = {target}"
                problems.append(
                    f"entry point {entry!r} of {package} is skipped; NAME = package.module:factory"
                    f" is expected in the group {self.ENTRY_POINTS}"
                )
        self.problems = problems
        return found

    def _entry_points(self, problems: list[str]) -> Iterator[tuple[str, str, str]]:
        """Package, name and target of each; a package that hides another one comes first."""
        for distribution in distributions():
            try:
                package = str(distribution.metadata["Name"])
                points = [
                    (p.name, p.value)
                    for p in distribution.entry_points.select(group=self.ENTRY_POINTS)
                ]
            except Exception as error:  # the files of an installed package may hold anything
                place = getattr(distribution, "_path", "an installed package")
                problems.append(
                    f"entry points of {place} cannot be read ({type(error).__name__}); they are"
                    " skipped"
                )
                continue
            yield from ((package, name, value) for name, value in points)

    def known(self, name: str) -> ModelSpec:
        """The same as `get`, but an unknown name is taken for a model from outside.

        Records may be of models that are no longer installed.
        """
        try:
            return self.get(name)
        except UsageError:
            return ModelSpec(name, OUTSIDE, "", "a model that is not installed here")

    def get(self, name: str) -> ModelSpec:
        """The spec of a built-in model, an entry point or a `package.module:factory`."""
        if name in self._specs:
            return self._specs[name]
        if _TARGET.fullmatch(name):
            return ModelSpec(name, OUTSIDE, name, f"from {name}")
        outside = self._outside()
        if name in outside:
            return outside[name]
        raise unknown(
            self.noun, name, [*self._specs, *outside], "or your own as package.module:factory"
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
_PARAGRU = (
    "z, r = σ(W x(t) + a ⊙ h(t−1) + b); n = tanh(W x(t) + a ⊙ r ⊙ h(t−1) + b);"
    " h(t) = (1 − z) ⊙ h(t−1) + z ⊙ n"
)
_TCN = "block i: h ← relu(h + relu(D relu(D h))), D h(t) = b + Σₖ Wₖ h(t − k·2ⁱ)"

#: Mathematics of linear recurrences: module, source, equation and executions.
_LINEAR = {
    "lru": (
        "lru",
        "linear recurrent unit (Orvieto 2023), N = H complex states",
        "h(t) = λ ⊙ h(t−1) + exp γ ⊙ B x(t); y(t) = Re C h(t) + D ⊙ x(t)",
        ("loop", "scan", "fft", "native"),
    ),
    "s4d": (
        "s4d",
        "S4D (Gu 2022), 32 complex states for each feature",
        "hₙ(t) = exp(Δ Aₙ) hₙ(t−1) + x(t); y(t) = 2 Re Σₙ Cₙ (exp(Δ Aₙ) − 1) / Aₙ hₙ(t) + D x(t)",
        ("scan", "fft", "native"),
    ),
    "mingru": (
        "minimal",
        "minGRU (Feng 2024), whose gates do not see the state",
        "z = σ(W x(t) + b); h(t) = (1 − z) ⊙ h(t−1) + z ⊙ g(W x(t) + b)",
        ("loop", "scan", "native"),
    ),
    "minlstm": (
        "minimal",
        "minLSTM (Feng 2024), whose gates do not see the state",
        "f, i = σ(W x(t) + b); h(t) = (f ⊙ h(t−1) + i ⊙ g(W x(t) + b)) / (f + i)",
        ("loop", "scan", "native"),
    ),
    "rglru": (
        "rglru",
        "RG-LRU of Griffin (De 2024), gates that are full matrices",
        "r, i = σ(W x(t) + b); a = exp(−8 r ⊙ softplus Λ);"
        " h(t) = a ⊙ h(t−1) + √(1 − a²) ⊙ i ⊙ x(t)",
        ("scan", "native"),
    ),
    "selective": (
        "selective",
        "selective scan of Mamba (Gu 2023), 16 states for each feature",
        "Δ = softplus(W x(t) + b); B, C = W x(t); h(t) = exp(Δ A) ⊙ h(t−1) + Δ B x(t);"
        " y(t) = C h(t) + D ⊙ x(t)",
        ("scan", "native"),
    ),
}
#: Executions of them: the value of `ModelSpec.execution`, and the end of the summary.
_EXECUTIONS = {
    "loop": ("Python loop", "unrolled in Python"),
    "scan": ("scan", "as a work-efficient scan of torch operators"),
    "fft": ("FFT", "as a convolution by FFT"),
    "native": ("native", "by a C kernel that is compiled on first use"),
}

MODELS = ModelRegistry(
    "model",
    [
        ModelSpec(
            "lstm_cell",
            "recurrent",
            f"{_M}.lstm:lstm_cell",
            "hand-written LSTM: eight Linears per timestep, unrolled in Python",
            "lstm",
            "Python loop",
            _LSTM,
        ),
        ModelSpec(
            "lstm_peephole",
            "recurrent",
            f"{_M}.lstm:lstm_peephole",
            "LSTM with full peephole matrices from the cell state to the gates",
            "lstm_peephole",
            "Python loop",
            "as lstm_cell, with V c(t−1) inside i and f, and V c(t) inside o",
        ),
        ModelSpec(
            "lstm_peephole_diag",
            "recurrent",
            f"{_M}.lstm:lstm_peephole_diag",
            "LSTM with diagonal peepholes (Graves 2013)",
            "lstm_peephole_diag",
            "Python loop",
            "as lstm_cell, with p ⊙ c(t−1) inside i and f, and p ⊙ c(t) inside o",
        ),
        ModelSpec(
            "lstm_stacked",
            "recurrent",
            f"{_M}.lstm:lstm_stacked",
            "hand-written LSTM with stacked gates: two products per timestep",
            "lstm",
            "stacked loop",
            _LSTM,
        ),
        ModelSpec(
            "lstm_fused",
            "recurrent",
            f"{_M}.lstm:lstm_fused",
            "hand-written LSTM with stacked gates and the input projection outside the loop",
            "lstm",
            "fused loop",
            _LSTM,
        ),
        ModelSpec(
            "lstm_native",
            "recurrent",
            f"{_M}.lstm:lstm_native",
            "LSTM as a kernel in C for the CPU that is compiled on first use",
            "lstm",
            "native",
            _LSTM,
        ),
        ModelSpec(
            "lstm_triton",
            "recurrent",
            f"{_M}.lstm:lstm_triton",
            "LSTM as a kernel in Triton for CUDA; not measured on a device yet",
            "lstm",
            "Triton",
            _LSTM,
        ),
        ModelSpec(
            "lstm_newton",
            "recurrent",
            f"{_M}.lstm:lstm_newton",
            "LSTM parallel in time: quasi-Newton iterations over all timesteps at once",
            "lstm",
            "Newton",
            _LSTM,
        ),
        ModelSpec(
            "lstm",
            "recurrent",
            f"{_M}.library:lstm",
            "torch.nn.LSTM: cuDNN on CUDA, oneDNN or ATen on CPU",
            "lstm",
            "library",
            _LSTM,
        ),
        ModelSpec(
            "gru_cell",
            "recurrent",
            f"{_M}.gru:gru_cell",
            "hand-written GRU: six Linears per timestep, unrolled in Python",
            "gru",
            "Python loop",
            _GRU,
        ),
        ModelSpec(
            "gru_native",
            "recurrent",
            f"{_M}.gru:gru_native",
            "GRU as a kernel in C for the CPU that is compiled on first use",
            "gru",
            "native",
            _GRU,
        ),
        ModelSpec(
            "gru_newton",
            "recurrent",
            f"{_M}.gru:gru_newton",
            "GRU parallel in time: quasi-Newton iterations over all timesteps at once",
            "gru",
            "Newton",
            _GRU,
        ),
        ModelSpec(
            "gru",
            "recurrent",
            f"{_M}.library:gru",
            "torch.nn.GRU: cuDNN on CUDA, ATen on CPU",
            "gru",
            "library",
            _GRU,
        ),
        ModelSpec(
            "paragru_loop",
            "recurrent",
            f"{_M}.paragru:paragru_loop",
            "ParaGRU (Danieli 2025), whose recurrent weights are vectors, unrolled in Python",
            "paragru",
            "Python loop",
            _PARAGRU,
        ),
        ModelSpec(
            "paragru_newton",
            "recurrent",
            f"{_M}.paragru:paragru_newton",
            "ParaGRU (Danieli 2025) parallel in time: Newton's iterations with the exact Jacobian",
            "paragru",
            "Newton",
            _PARAGRU,
        ),
        ModelSpec(
            "tcn",
            "convolutional",
            f"{_M}.conv:tcn",
            "dilated causal residual TCN, just deep enough to see the whole sequence",
            "tcn",
            "library",
            _TCN,
        ),
        ModelSpec(
            "tcn_fixed",
            "convolutional",
            f"{_M}.conv:tcn_fixed",
            "TCN with a fixed depth of four blocks",
            "tcn_fixed",
            "library",
            _TCN,
        ),
        ModelSpec(
            "conv",
            "convolutional",
            f"{_M}.conv:conv",
            "causal CNN without dilation or residuals, four layers",
            "conv",
            "library",
            "h ← relu(b + Σₖ Wₖ h(t − k)), four times",
        ),
        ModelSpec(
            "tcn_separable",
            "convolutional",
            f"{_M}.separable:tcn_separable",
            "TCN with depthwise-separable convolutions, as deep as tcn",
            "tcn_separable",
            "library",
            "as tcn, with D h(t) = b + W Σₖ wₖ ⊙ h(t − k·2ⁱ)",
        ),
        ModelSpec(
            "wavenet",
            "convolutional",
            f"{_M}.wavenet:wavenet",
            "WaveNet: gated dilated convolutions with residual and skip connections",
            "wavenet",
            "library",
            "layer i: z = tanh(b + Σₖ Fₖ h(t − k·2ⁱ)) ⊙ σ(b + Σₖ Gₖ h(t − k·2ⁱ)); h ← h + R z + b;"
            " y = relu(b + O relu(Σᵢ (Sᵢ zᵢ + b)))",
        ),
        ModelSpec(
            "longconv",
            "convolutional",
            f"{_M}.longconv:longconv",
            "two long convolutions by FFT, whose kernels a small network makes from the position",
            "longconv",
            "FFT",
            "y(t) = D ⊙ h(t) + Σₗ k(l/T) ⊙ h(t − l); h ← h + (b + P gelu y) ⊙ σ(b + Q gelu y);"
            " k(τ) = MLP(τ, cos 2ʲ2πτ, sin 2ʲ2πτ) ⊙ exp(−ατ)",
        ),
        *(
            ModelSpec(
                f"{mathematics}_{execution}",
                "linear",
                f"{_M}.linear.{module}:{mathematics}_{execution}",
                f"{source}, {_EXECUTIONS[execution][1]}",
                mathematics,
                _EXECUTIONS[execution][0],
                equation,
            )
            for mathematics, (module, source, equation, executions) in _LINEAR.items()
            for execution in executions
        ),
    ],
)
