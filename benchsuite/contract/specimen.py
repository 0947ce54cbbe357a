"""A model under test, and which adapter it would need.

Shape suffixes: B batch, T timesteps, F features.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from benchsuite import adapt
from benchsuite.catalog.models import MODELS
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.field.subject import noise, run
from benchsuite.grid.axes import Value
from benchsuite.runtime.assemble import seeded
from benchsuite.runtime.build import SequenceModel, Sizes
from benchsuite.runtime.rounding import same_but_for_rounding

#: Rows and timesteps of most runs: unlike each other, and unlike the default sizes below.
B, T = 3, 12
_INPUT_SIZE, _HIDDEN_SIZE = 4, 8
#: Adapters to try on a model of another form, the outermost first.
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
        name: Its name in the suite.
        sizes: Arguments of its factory.
        dtype: Precision that it is run in; float32 until it has shown that it takes float64.

    Raises:
        UsageError: if it cannot be built.
    """

    def __init__(self, name: str, sizes: Sizes) -> None:
        self.name, self.sizes = name, sizes
        self.dtype = torch.float32
        self.module = self.build()

    def build(self) -> SequenceModel:
        """The model, built again from the same seed."""
        try:
            return seeded(self.name, self.sizes, seed=0).to(self.dtype).eval()
        except BenchsuiteError as error:
            raise UsageError(str(error)) from error
        except MemoryError as error:
            raise UsageError(
                f"{self.name} does not fit in memory at {self.sizes}; choose smaller ones with -a"
            ) from error

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


def retained(module: SequenceModel, x_BTF: Tensor) -> dict[str, Tensor]:
    """Tensors that every call leaves in the module in place of those of the last, by name.

    What the first call makes and later ones use again, such as a cached mask, is not among them.
    """
    run(module, x_BTF)
    before = dict(_kept(module))
    run(module, x_BTF)
    return {name: held for name, held in _kept(module) if before.get(name) is not held}


def _kept(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Tensors in attributes of a module and its parts, other than parameters and buffers."""
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if name not in {"_parameters", "_buffers", "_modules"}:
                path = f"{prefix}.{name}".removeprefix("module.")
                yield from ((path + at, tensor) for at, tensor in _tensors(value))


def _tensors(value: object) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value and the lists, tuples and mappings it is made of, by their place."""
    if isinstance(value, Tensor):
        yield "", value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from ((f"[{key!r}]{at}", tensor) for at, tensor in _tensors(item))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from ((f"[{index}]{at}", tensor) for at, tensor in _tensors(item))


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
    """The fix for a `forward` that needs a second argument; empty for any other."""
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
