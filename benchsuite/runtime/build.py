"""Build modules from sizes, for built-in models and models from outside alike."""

from __future__ import annotations

import functools
import inspect
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchsuite.catalog.models import MODELS, ModelSpec
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError, described
from benchsuite.grid.case import Case


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that a factory may have as parameters."""

    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    seq_len: int

    @classmethod
    def of(cls, case: Case) -> Sizes:
        """The sizes of a case, before matching."""
        return cls(
            case.input_size, case.hidden_size, case.num_layers, case.bidirectional, case.seq_len
        )


class SequenceModel(nn.Module):
    """A model in the form that the suite uses: (batch, time, features) → (batch, time, features).

    Only the output is kept of modules that return `(output, state)`, as torch's recurrent ones do;
    `with_state` returns both.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    @property
    def takes_state(self) -> bool:
        """Whether the module's `forward` takes a second argument, which may be a state."""
        taken = inspect.signature(self.module.forward).parameters.values()
        return sum(p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD} for p in taken) >= 2

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, features of the output)."""
        return self.with_state(x_BTF)[0]

    def with_state(self, x_BTF: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The output, and the tensors of the state that the module returns (empty if it has none).

        Raises:
            UsageError: if the output is not (batch, time, features) of the input's batch and time.
        """
        output, state = self.continued(x_BTF)
        if state is None:
            return output, ()
        return output, (state,) if isinstance(state, Tensor) else tuple(state)

    def continued(self, x_BTF: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Continue from the state of an earlier call.

        Args:
            x_BTF: The next timesteps.
            state: The state that the module returned last; None to start a sequence.

        Returns:
            The output, and the state in the module's own form (None where it returns none).

        Raises:
            UsageError: if the output is not (batch, time, features) of the input's batch and time.
        """
        result = self.module(x_BTF) if state is None else self.module(x_BTF, state)
        output, state = result[:2] if isinstance(result, tuple) else (result, None)
        if (
            not isinstance(output, Tensor)
            or output.shape[:2] != x_BTF.shape[:2]
            or output.dim() != 3
        ):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(
                f"{type(self.module).__name__} returned {shape} for an input of"
                f" {tuple(x_BTF.shape)}; (batch, time, features) is needed"
            )
        return output, state


def build(model: str, sizes: Sizes) -> SequenceModel:
    """Call a model's factory with the sizes that its signature names.

    Raises:
        Unsupported: if the model does not have a size whose value is not the default.
        UsageError: if the model is unknown or its factory does not return a module.
        BenchsuiteError: if the factory fails.
    """
    spec = MODELS.get(model)
    accepted = _accepted(spec)
    for name, default in (("num_layers", 1), ("bidirectional", False)):
        value = getattr(sizes, name)
        if value != default and name not in accepted:
            raise Unsupported(f"{model} has no {name}; {name}={value} does not apply to it")
    given = {name: getattr(sizes, name) for name in accepted}
    try:
        module = spec.factory()(**given)
    except (BenchsuiteError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        call = ", ".join(f"{name}={value}" for name, value in given.items())
        advice = _adapter(spec.target) if re.search(_ARGUMENTS, str(error)) else ""
        raise BenchsuiteError(f"{spec.target}({call}) raised {described(error)}{advice}") from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{spec.target} returned a {type(module).__name__}, not an nn.Module")
    return SequenceModel(module)


#: Python's words for a call with too few arguments.
_ARGUMENTS = r"missing \d+ required"


def _adapter(target: str) -> str:
    """The fix for a factory whose arguments are not the suite's sizes."""
    module, _, name = target.partition(":")
    sizes = ", ".join(Sizes.__dataclass_fields__)
    return (
        f"; a factory is called with those of {sizes} that it names: write one that does, such as"
        f" `def make(input_size, hidden_size): return {name}(…)` after `from {module} import"
        f" {name}`, and give it as package.module:make"
    )


@functools.cache
def _accepted(spec: ModelSpec) -> tuple[str, ...]:
    """The size names in the factory's signature, in the order of `Sizes`."""
    names = spec.accepts()
    return tuple(name for name in Sizes.__dataclass_fields__ if name in names)


def build_on_meta(model: str, sizes: Sizes) -> SequenceModel:
    """The same module on the meta device, without memory or data: for counting at any size."""
    with torch.device("meta"):
        return build(model, sizes)
