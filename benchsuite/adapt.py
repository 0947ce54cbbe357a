"""Adapters: wrap factories of models with another layout to map (batch, time, features).

    from benchsuite.adapt import time_major

    make = time_major(lambda input_size, hidden_size: nn.RNN(input_size, hidden_size))

A wrapped factory keeps its signature, from which the suite derives the sizes to call it with.
Models need not inherit from a class of this module. Wrappers can be nested: the outermost one
receives the suite's layout. Transposing creates views; copies that a model makes of them count as
its cost.

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
    """For modules that return several outputs, but not a state to continue from.

    The first item of a tuple, list or mapping is used. Modules that return `(output, state)`
    need no wrapper.
    """
    return _wrapped(factory, FirstOutput)


def with_state(factory: Factory, make_state: Callable[[nn.Module, Tensor], Any]) -> Factory:
    """For modules that require an initial state as their second argument.

    Args:
        factory: A factory of modules `(input, state) → output` or `→ (output, state)`.
        make_state: `make_state(module, input)` → the state before the first timestep, such as
            `lambda module, x: x.new_zeros(len(x), module.hidden_size)`; `x.new_zeros` uses the
            input's device and dtype. The input has the module's layout.
    """
    return _wrapped(factory, lambda module: WithState(module, make_state))


class Adapted(nn.Module):
    """A module that wraps another one, and passes a state through unchanged."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


class Transposed(Adapted):
    """Swaps two dimensions of the input, and swaps them back in the output."""

    def __init__(self, module: nn.Module, first: int, second: int) -> None:
        super().__init__(module)
        self.dimensions = first, second

    def forward(self, x_BTF: Tensor, state: Any = None) -> Any:
        """Output (B, T, features), or a tuple with it as the first item."""
        x = x_BTF.transpose(*self.dimensions)
        result = self.module(x) if state is None else self.module(x, state)
        if isinstance(result, tuple):
            return result[0].transpose(*self.dimensions), *result[1:]
        return result.transpose(*self.dimensions)


class FirstOutput(Adapted):
    """Returns the first of several outputs."""

    def forward(self, x_BTF: Tensor) -> Any:
        """The first output, unchanged."""
        result = self.module(x_BTF)
        if isinstance(result, Mapping):
            return next(iter(result.values()))
        return result[0] if isinstance(result, tuple | list) else result


class WithState(Adapted):
    """Passes an initial state to the module."""

    def __init__(self, module: nn.Module, make_state: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__(module)
        self.make_state = make_state

    def forward(self, x_BTF: Tensor, state: Any = None) -> Any:
        """The module's result, starting from the initial state, or from `state` if given."""
        return self.module(x_BTF, self.make_state(self.module, x_BTF) if state is None else state)


def _wrapped(factory: Factory, adapt: Callable[[nn.Module], nn.Module]) -> Factory:
    @functools.wraps(factory, updated=())  # the wrapper must not copy the attributes of a class
    def make(*args: Any, **sizes: Any) -> nn.Module:
        module = factory(*args, **sizes)
        if not isinstance(module, nn.Module):
            name = getattr(factory, "__qualname__", repr(factory))
            raise UsageError(f"{name} returned a {type(module).__name__}, not an nn.Module")
        return adapt(module)

    return make
