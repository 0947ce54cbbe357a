"""Closed-loop generation: the output is fed back as the next input, from state where there is one.

Shape suffixes: B rows, T observed timesteps, S generated ones, F features (input and output), C
channels.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchsuite.errors import UsageError
from benchsuite.learning.predictor import Predictor
from benchsuite.models.conv import CausalConv1d


class Stream(ABC):
    """A causal predictor that is told its input bit by bit."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @abstractmethod
    def feed(self, x_BTF: Tensor) -> Tensor:
        """The next timesteps of the input: (B, T, F) → their outputs (B, T, O)."""


class Carried(Stream):
    """Carries the state that the module returns and takes, as recurrent ones do."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self._state: Any = None

    @staticmethod
    def fits(predictor: Predictor) -> bool:
        """Whether the module takes a second argument."""
        taken = inspect.signature(predictor.model.module.forward).parameters.values()
        return sum(p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD} for p in taken) >= 2

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        y_BTO, self._state = self.predictor.continued(x_BTF, self._state)
        return y_BTO


class Buffered(Stream):
    """Keeps the last (k-1)·d inputs of every causal convolution, in place of its zero padding."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self._past: dict[CausalConv1d, Tensor] = {}

    @staticmethod
    def fits(predictor: Predictor) -> bool:
        """Whether there are such convolutions."""
        return any(isinstance(part, CausalConv1d) for part in predictor.modules())

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        parts = [part for part in self.predictor.modules() if isinstance(part, CausalConv1d)]
        for part in parts:
            part.forward = self._forward(part)  # type: ignore[method-assign, assignment]
        try:
            y_BTO: Tensor = self.predictor(x_BTF)
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
    """Keeps the whole input and runs all of it every time: slow, and right for any model."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__(predictor)
        self._x_BTF: Tensor | None = None

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        self._x_BTF = x_BTF if self._x_BTF is None else torch.cat([self._x_BTF, x_BTF], 1)
        y_BTO: Tensor = self.predictor(self._x_BTF)
        return y_BTO[:, -x_BTF.shape[1] :]


@torch.no_grad()
def stream_of(predictor: Predictor, x_BTF: Tensor) -> Stream:
    """A stream that has yet to be fed: the cheapest kind that gives what the predictor gives.

    Tried on `x_BTF`, of two timesteps at least: a module from outside may return a state that
    does not tell all, or mix convolutions with what looks further back.
    """
    whole_BTO = predictor(x_BTF)
    tolerance = 1e4 * torch.finfo(whole_BTO.dtype).eps * (1 + float(whole_BTO.abs().max()))
    for kind in (Carried, Buffered):
        if not kind.fits(predictor):
            continue
        stream = kind(predictor)
        cut = x_BTF.shape[1] // 2
        try:
            parts = [stream.feed(part_BTF) for part_BTF in (x_BTF[:, :cut], x_BTF[:, cut:])]
        except (RuntimeError, TypeError, ValueError):
            continue  # its second argument or second result is no state
        if torch.allclose(torch.cat(parts, 1), whole_BTO, rtol=0, atol=tolerance):
            return kind(predictor)
    return Recomputed(predictor)


@torch.no_grad()
def generate(predictor: Predictor, x_BTF: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Observe, then go on alone.

    Args:
        predictor: Causal, with as many outputs as inputs; used in eval mode.
        x_BTF: What is observed, two timesteps at least.
        steps: S.

    Returns:
        The outputs while observing (B, T, F), and those that follow (B, S, F): the first of these
        comes from feeding back the last output of the former.

    Raises:
        UsageError: if outputs cannot be inputs, or there is too little to observe.
    """
    predictor.eval()
    if predictor.head.out_features != x_BTF.shape[-1]:
        raise UsageError(
            f"{predictor.head.out_features} outputs cannot be fed back as {x_BTF.shape[-1]} inputs"
        )
    if x_BTF.shape[1] < 2:
        raise UsageError(f"{x_BTF.shape[1]} timestep is too little to observe; at least 2")
    stream = stream_of(predictor, x_BTF)
    observed_BTF = stream.feed(x_BTF)
    y_B1F = observed_BTF[:, -1:]
    generated = []
    for _ in range(steps):
        y_B1F = stream.feed(y_B1F)
        generated.append(y_B1F)
    return observed_BTF, torch.cat(generated, 1)
