"""The structural probe: which input lags reach an output at all, independent of the weights.

A NaN put into the input at one step comes out at every output that this step reaches: 0·NaN is
NaN, so neither a weight of zero nor a dead ReLU stops it (it is sent forward, because the backward
pass of a ReLU does stop it). Three steps are tried in one batch: the first, whose NaN shows the
lags into the past, the last, which shows those into the future, and the middle one, which shows
whether the lags are the same everywhere; if they are not, every step is tried.

A NaN shows too many lags where an operation mixes all steps and cancels some (an FFT) or multiplies
by zeros on purpose (a mask), and too few where an operation drops NaNs. An FFT is found by its
operators, the others by comparing with a gradient through positive weights; all are refused.

Shape suffixes: B batch, T timesteps, F features, S steps of the input that are tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchsuite.errors import Unsupported, UsageError
from benchsuite.field.formula import NOTHING, Field
from benchsuite.field.subject import noise, run, subject
from benchsuite.runtime.build import SequenceModel

#: Sequences in a batch when every step is tried.
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a structural probe.

    Attributes:
        length: Timesteps of the sequence that was probed.
        lags: All lags that reach an output, ascending; below zero is the future.
    """

    length: int
    lags: tuple[int, ...]

    @property
    def size(self) -> int:
        """Steps from the first to the last lag, at most the whole sequence."""
        return min(self.lags[-1] - self.lags[0] + 1, self.length) if self.lags else 0

    @property
    def whole(self) -> bool:
        """Whether the field is the whole sequence, so that it may be larger still."""
        return bool(self.lags) and max(self.lags[-1], -self.lags[0]) >= self.length - 1

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later input."""
        return not self.lags or self.lags[0] >= 0

    @property
    def hull(self) -> Field:
        """From the least lag to the greatest."""
        return Field(self.lags[0], self.lags[-1]) if self.lags else NOTHING


def probe(module: nn.Module, input_size: int, length: int) -> Probe:
    """Find the lags that reach the outputs of a module over (batch, time, features).

    Args:
        module: The module; it is copied and run on the CPU in float64, whose convolutions are
            direct (a fast algorithm would spread NaNs).
        input_size: Features of the input.
        length: Timesteps; lags of as many or more cannot be seen.

    Raises:
        Unsupported: if it cannot be probed structurally, saying why.
        UsageError: if the module cannot be run, or its weights are not finite.
    """
    model = subject(module).cpu()
    middle = length // 2
    reached_ST = _reached(model, torch.tensor([0, middle, length - 1]), input_size, length)
    lags = {*_ones(reached_ST[0]), *(step - length + 1 for step in _ones(reached_ST[2]))}
    expected = {middle + lag for lag in lags if 0 <= middle + lag < length}
    if set(_ones(reached_ST[1])) != expected:
        for steps_S in torch.arange(length).split(_BATCH):
            reached_ST = _reached(model, steps_S, input_size, length)
            for step, reached_T in zip(steps_S.tolist(), reached_ST, strict=True):
                lags.update(output - step for output in _ones(reached_T))
    found = Probe(length, tuple(sorted(lags)))
    _compare(found, _with_gradient(model, input_size, length))
    return found


class Masked(Unsupported):
    """A NaN meets zeros that are meant to shut it out."""


class Transformed(Unsupported):
    """A NaN meets a Fourier transform, which spreads it over all timesteps."""


class MixesRows(UsageError):  # noqa: N818 - a property of a module
    """A NaN in one sequence comes out in another."""


def _ones(mask_T: Tensor) -> list[int]:
    return mask_T.nonzero().flatten().tolist()


def _reached(model: SequenceModel, steps_S: Tensor, input_size: int, length: int) -> Tensor:
    """(S, T): whether a NaN at a step comes out at another, one sequence per step."""
    x_BTF = noise(len(steps_S) + 1, length, input_size)
    x_BTF[torch.arange(len(steps_S)), steps_S] = math.nan
    with torch.no_grad(), _FFTWatch():
        y_BTF = run(model, x_BTF)
    reached_BT = y_BTF.isnan().any(-1)
    if reached_BT[-1].any():  # the sequence without a NaN
        raise MixesRows(
            f"{type(model.module).__name__} returned NaN for a sequence without one: it mixes the"
            " sequences of a batch, or does not take (batch, time, features); batch_first=True?"
        )
    return reached_BT[:-1]


class _FFTWatch(TorchDispatchMode):
    """Refuses Fourier transforms: each of their outputs holds every timestep, in exact sums."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_fft" in func.name():
            raise Transformed(
                f"an FFT ({func}) cannot be probed structurally: it mixes all timesteps and relies"
                " on sums that cancel; see the effective field"
            )
        return func(*args, **(kwargs or {}))


def _with_gradient(model: SequenceModel, input_size: int, length: int) -> dict[int, float]:
    """Greatest gradient by lag at the first and the last output, all weights and inputs positive.

    Positive weights leave no ReLU dead and nothing to cancel; small ones (rows sum to about a
    tenth) keep gates from saturating, also where a cell state feeds back on its own gates. Small
    gradients may still vanish, so this is the least field, not the field; lags without a gradient
    are left out.
    """
    for parameter in model.parameters():
        row = parameter[0].numel() if parameter.dim() > 1 else 1
        parameter.copy_(0.1 * (0.5 + noise(*parameter.shape).sigmoid()) / row)
    x_BTF = noise(1, length, input_size).abs().requires_grad_()
    y_BTF = run(model, x_BTF)
    lags: dict[int, float] = {}
    for output in (0, length - 1) if y_BTF.requires_grad else ():
        (gradient_BTF,) = torch.autograd.grad(
            y_BTF[0, output].sum(), x_BTF, retain_graph=True, materialize_grads=True
        )
        size_T = gradient_BTF[0].abs().amax(-1)
        for step in _ones(size_T):
            lags[output - step] = max(float(size_T[step]), lags.get(output - step, 0.0))
    return lags


#: A smaller gradient may be followed by one that underflows: if a^k is above this, a^(k+1) for the
#: next lag is above the least positive number.
_UNDERFLOWS = 1e-150


def _compare(found: Probe, least: dict[int, float]) -> None:
    dropped = least.keys() - set(found.lags)
    if dropped:
        raise Unsupported(
            f"cannot be probed structurally: an operation drops NaNs, as the input at lag"
            f" {min(dropped, key=abs)} has a gradient but its NaN does not come out"
        )
    if not found.causal and not any(lag < 0 for lag in least):
        raise Masked(
            "cannot be probed structurally: a NaN comes out at earlier outputs, but no gradient"
            " leads there; it seems to meet the zeros of a mask"
        )
    if least and found.whole:
        for end, seen in ((found.lags[0], min(least)), (found.lags[-1], max(least))):
            if abs(end) == found.length - 1 and seen != end and least[seen] > _UNDERFLOWS:
                raise Masked(
                    f"cannot be probed structurally: a NaN comes out at lag {end}, but no gradient"
                    f" leads beyond lag {seen}; it seems to meet the zeros of a mask"
                )
