"""A model under test, and which adapter it would need.

Shape suffixes: B batch, T timesteps, F features.
"""

from __future__ import annotations

import dataclasses
import inspect

import torch
from torch import Tensor, nn

from benchsuite import adapt
from benchsuite.catalog.models import MODELS
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.field.subject import noise, run
from benchsuite.grid.case import Value
from benchsuite.runtime.build import SequenceModel, Sizes, build
from benchsuite.runtime.rounding import same_but_for_rounding

#: Rows and timesteps of most runs: unlike each other, and unlike the default sizes below.
B, T = 3, 12
_INPUT_SIZE, _HIDDEN_SIZE = 4, 8
#: What is tried on a model of another form, the outermost adapter first.
_FORMS = (
    (adapt.time_major,),
    (adapt.channels_first,),
    (adapt.first_output,),
    (adapt.time_major, adapt.first_output),
    (adapt.channels_first, adapt.first_output),
)
_MEANING = {
    "time_major": "takes (time, batch, features)",
    "channels_first": "takes (batch, features, time)",
    "first_output": "returns something beside its output",
}


class Specimen:
    """A model under test.

    Attributes:
        name: What it is called in the suite.
        sizes: What its factory is called with.
        dtype: In what it is run; float32 until it has shown that it takes float64.

    Raises:
        UsageError: if it cannot be built.
    """

    def __init__(self, name: str, sizes: Sizes) -> None:
        self.name, self.sizes = name, sizes
        self.dtype = torch.float32
        self.module = self.build()

    def build(self) -> SequenceModel:
        """The model, built anew from the same seed."""
        torch.manual_seed(0)
        try:
            return build(self.name, self.sizes).to(self.dtype).eval()
        except BenchsuiteError as error:
            raise UsageError(str(error)) from error

    def input(self, batch_size: int = B, seq_len: int = T) -> Tensor:
        """Standard normal numbers: (batch, time, features)."""
        return noise(batch_size, seq_len, self.sizes.input_size).to(self.dtype)

    def same(self, first: Tensor, second: Tensor) -> bool:
        """Whether two outputs are equal but for rounding."""
        return same_but_for_rounding(first, second)


def sizes_for(model: str, **given: Value) -> Sizes:
    """Small sizes to check a model at, with the features of the input unlike its width if it can.

    Args:
        model: A name, or `package.module:factory`.
        given: Sizes by name that are settled already.

    Raises:
        UsageError: if the model is unknown or cannot be imported.
    """
    free = "input_size" in MODELS.get(model).accepts()
    small = Sizes(
        input_size=_INPUT_SIZE if free else int(given.get("hidden_size", _HIDDEN_SIZE)),
        hidden_size=_HIDDEN_SIZE,
        num_layers=1,
        bidirectional=False,
        seq_len=T,
    )
    return dataclasses.replace(small, **given)  # type: ignore[arg-type]


def rows_apart(specimen: Specimen, module: SequenceModel) -> bool:
    """Whether each row of a batch gives the same alone."""
    x_BTF = specimen.input()
    with torch.no_grad():
        alone = torch.cat([run(module, row_TF[None]) for row_TF in x_BTF])
        return specimen.same(run(module, x_BTF), alone)


def fitting_form(specimen: Specimen) -> str:
    """The adapters that make the model keep to shape and rows, found by trying."""
    inner: nn.Module = specimen.module.module
    for adapters in _FORMS:
        factory: adapt.Factory = lambda: inner  # noqa: E731
        for adapter in reversed(adapters):
            factory = adapter(factory)
        try:
            if not rows_apart(specimen, SequenceModel(factory())):
                continue
        except UsageError:
            continue
        names = [adapter.__name__ for adapter in adapters]
        form = _MEANING[names[0]]
        wrapped = f"{'('.join(names)}(factory{')' * len(names)}"
        return f"if it {form}: wrap the factory, benchsuite.adapt.{wrapped}"
    return ""


def second_argument(module: nn.Module) -> str:
    """What to do about a `forward` that cannot do with the input alone."""
    taken = inspect.signature(module.forward).parameters.values()
    needed = [
        p.name
        for p in taken
        if p.default is p.empty and p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}
    ]
    if len(needed) != 2:
        return ""
    return (
        f"its forward needs {needed[1]!r} too: wrap the factory,"
        " benchsuite.adapt.with_state(factory, make_state)"
    )
