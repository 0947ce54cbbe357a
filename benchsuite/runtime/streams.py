"""Feeding a causal model its input piece by piece, with state carried from call to call.

Shape suffixes: B rows, T timesteps, F input features, O output features, C channels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchsuite.models.conv import CausalConv1d
from benchsuite.runtime.rounding import same_but_for_rounding


class Streamable(Protocol):
    """A module over (B, T, F) that may continue from a state, such as `SequenceModel`."""

    @property
    def takes_state(self) -> bool:
        """Whether `continued` accepts a state."""

    def __call__(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, O)."""

    def continued(self, x_BTF: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The output (B, T, O) and the state after it; see `SequenceModel.continued`."""

    def modules(self) -> Iterator[nn.Module]:
        """As of `nn.Module`."""


class Stream(ABC):
    """Feeds a causal model its input piece by piece."""

    def __init__(self, model: Streamable) -> None:
        self.model = model

    @abstractmethod
    def feed(self, x_BTF: Tensor) -> Tensor:
        """The next timesteps of the input: (B, T, F) → their outputs (B, T, O)."""


class Carried(Stream):
    """Passes the state that the module returns to its next call, as for recurrent modules."""

    def __init__(self, model: Streamable) -> None:
        super().__init__(model)
        self._state: Any = None

    @staticmethod
    def fits(model: Streamable) -> bool:
        """Whether the module takes a state."""
        return model.takes_state

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        y_BTO, self._state = self.model.continued(x_BTF, self._state)
        return y_BTO


class Buffered(Stream):
    """Keeps the last (k-1)·d inputs of every causal convolution instead of its zero padding."""

    def __init__(self, model: Streamable) -> None:
        super().__init__(model)
        self._past: dict[CausalConv1d, Tensor] = {}

    @staticmethod
    def fits(model: Streamable) -> bool:
        """Whether the module has causal convolutions."""
        return any(isinstance(part, CausalConv1d) for part in model.modules())

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        parts = [part for part in self.model.modules() if isinstance(part, CausalConv1d)]
        for part in parts:
            part.forward = self._forward(part)  # type: ignore[method-assign, assignment]
        try:
            y_BTO: Tensor = self.model(x_BTF)
        finally:
            for part in parts:
                del part.forward
        return y_BTO

    def _forward(self, part: CausalConv1d) -> Callable[[Tensor], Tensor]:
        def forward(x_BCT: Tensor) -> Tensor:
            past_BCT = self._past.get(part)
            if past_BCT is None:
                past_BCT = x_BCT.new_zeros(*x_BCT.shape[:2], part.left)
            x_BCT = torch.cat([past_BCT, x_BCT], -1)
            self._past[part] = x_BCT[..., x_BCT.shape[-1] - part.left :]
            return part.convolve(x_BCT)

        return forward


class Recomputed(Stream):
    """Keeps the whole input and runs all of it in every call: slow, but right for any model."""

    def __init__(self, model: Streamable) -> None:
        super().__init__(model)
        self._x_BTF: Tensor | None = None

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        self._x_BTF = x_BTF if self._x_BTF is None else torch.cat([self._x_BTF, x_BTF], 1)
        y_BTO: Tensor = self.model(self._x_BTF)
        return y_BTO[:, -x_BTF.shape[1] :]


@torch.no_grad()
def stream_of(model: Streamable, x_BTF: Tensor) -> Stream:
    """A new stream of the cheapest kind whose outputs are those of the model.

    Each kind is tried on `x_BTF`, of at least two timesteps: the state of a module from outside may
    be incomplete, or its convolutions mixed with operations that look further back.
    """
    whole_BTO = model(x_BTF)
    for kind in (Carried, Buffered):
        if not kind.fits(model):
            continue
        stream = kind(model)
        cut = x_BTF.shape[1] // 2
        try:
            parts = [stream.feed(part_BTF) for part_BTF in (x_BTF[:, :cut], x_BTF[:, cut:])]
        except (RuntimeError, TypeError, ValueError):
            continue  # its second argument or second result is not a state
        if same_but_for_rounding(whole_BTO, torch.cat(parts, 1)):
            return kind(model)
    return Recomputed(model)
