"""Factories of models in another form, wrapped to give (batch, time, features) → the same.

    from benchsuite.adapt import time_major

    make = time_major(lambda input_size, hidden_size: nn.RNN(input_size, hidden_size))

A wrapped factory keeps its signature, by which the suite knows what sizes to call it with. Nothing
needs to inherit from anything here, and wrappers nest: the outermost one meets the suite's layout.
Transposing makes views; what a model has to copy because of them is part of its own cost.

Shape suffixes: B batch, T timesteps, F features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from benchsuite.errors import UsageError

Factory = Callable[..., nn.Module]


def time_major(factory: Factory) -> Factory:
    """For modules over (time, batch, features), such as `nn.RNN` without `batch_first`."""
    return _wrapped(factory, lambda module: Transposed(module, 0, 1))


def channels_first(factory: Factory) -> Factory:
    """For modules over (batch, features, time), such as a stack of `nn.Conv1d`."""
    return _wrapped(factory, lambda module: Transposed(module, 1, 2))


def first_output(factory: Factory) -> Factory:
    """For modules that return more than an output, and nothing that would continue it.

    The first of a tuple, list or mapping is taken. An output with the state to go on from needs no
    wrapper: `(output, state)` is what the suite takes anyway.
    """
    return _wrapped(factory, FirstOutput)


def with_state(factory: Factory, make_state: Callable[[nn.Module, Tensor], Any]) -> Factory:
    """For modules whose second argument, the state to begin with, must be given.

    Args:
        factory: Of modules `(input, state) → output` or `→ (output, state)`.
        make_state: `make_state(module, input)` is the state before the first timestep, such as
            `lambda module, x: x.new_zeros(len(x), module.hidden_size)`: `x.new_zeros` has the
            input's device and dtype. The input is as the module gets it.
    """
    return _wrapped(factory, lambda module: WithState(module, make_state))


class Adapted(nn.Module):
    """A module inside of another form; a state is handed through as it is."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class Transposed(Adapted):
    """Swaps two dimensions of the input, and of the output back again."""

    def __init__(self, module: nn.Module, first: int, second: int) -> None:
        super().__init__(module)
        self.dimensions = first, second

    def forward(self, x_BTF: Tensor, state: Any = None) -> Any:
        """Output (B, T, features), or a tuple that begins with it."""
        x = x_BTF.transpose(*self.dimensions)
        result = self.module(x) if state is None else self.module(x, state)
        if isinstance(result, tuple):
            return result[0].transpose(*self.dimensions), *result[1:]
        return result.transpose(*self.dimensions)


class FirstOutput(Adapted):
    """Takes the first of several outputs."""

    def forward(self, x_BTF: Tensor) -> Any:
        """The first output, in the module's own form."""
        result = self.module(x_BTF)
        if isinstance(result, Mapping):
            return next(iter(result.values()))
        return result[0] if isinstance(result, tuple | list) else result


class WithState(Adapted):
    """Gives the state to begin with."""

    def __init__(self, module: nn.Module, make_state: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__(module)
        self.make_state = make_state

    def forward(self, x_BTF: Tensor, state: Any = None) -> Any:
        """What the module returns, from that state or from where `state` goes on."""
        return self.module(x_BTF, self.make_state(self.module, x_BTF) if state is None else state)


def _wrapped(factory: Factory, adapt: Callable[[nn.Module], nn.Module]) -> Factory:
    @functools.wraps(factory, updated=())  # a class' own attributes are not the wrapper's
    def make(*args: Any, **sizes: Any) -> nn.Module:
        module = factory(*args, **sizes)
        if not isinstance(module, nn.Module):
            name = getattr(factory, "__qualname__", repr(factory))
            raise UsageError(f"{name} returned a {type(module).__name__}, not an nn.Module")
        return adapt(module)

    return make
