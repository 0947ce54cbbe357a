"""Perturbation: which input lags change an output by more than rounding.

Where a NaN shows too many lags (the zeros of a mask, an FFT) or too few (an operation that drops
it), noise is added to one timestep of the input, and outputs are compared in float64. It is noise
because a normalisation over features cancels a constant, and there are several inputs and
amplitudes because a ReLU may be dead, a maximum held or a softmax saturated at one of them.

A convolution by FFT leaks rounding noise of about eps·log₂N times its greatest values into all
outputs, the past included; the least change that counts is some thousand times greater. Where a
module computes its transforms in a lower precision than its input has, rounding is that of the
lower one.

A change can be too small to be seen, so this finds the least field. A field whose changes fade to
the size of rounding, as of a recurrence, is distinguished from one that ends.

Shape suffixes: B batch, T timesteps, F features, S steps of the input that are changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchsuite.errors import Unsupported
from benchsuite.field.probe import Probe
from benchsuite.field.subject import noise, run, subject
from benchsuite.runtime.build import SequenceModel

#: Standard deviations of the noise that is added, one input for each.
_AMPLITUDES = (0.1, 1.0, 10.0)
#: Inputs per amplitude, in short sequences and in long ones.
_DRAWS, _DRAWS_LONG = 2, 1
#: Steps that are changed, in short sequences and in long ones.
_STEPS, _STEPS_LONG = 16, 7
_LONG = 256
#: Rounding: smaller changes, in units in the last place of the greatest output, are ignored.
_ROUNDING = 1e4
#: The same for transforms in a lower precision than the input's.
_ROUNDING_LOWER = 1e2
#: A field ends where changes of at least this multiple of rounding, or of all changes beyond, end;
#: others fade.
_SHARP = 1e3
#: Sequences times squared timesteps of one run, for models that hold timesteps by timesteps.
_ELEMENTS = 1 << 23


@dataclass(frozen=True, slots=True)
class Perturbation:
    """The outputs that a perturbation changed.

    Attributes:
        probe: Lags that were seen to change an output.
        fades: Whether changes fade to rounding towards the least and the greatest lag, so that
            there may be others beyond.
    """

    probe: Probe
    fades: tuple[bool, bool]


def perturb(module: nn.Module, input_size: int, length: int) -> Perturbation:
    """Find the lags that change the outputs of a module over (batch, time, features).

    Args:
        module: The module; it is copied and run on the CPU in float64.
        input_size: Features of the input.
        length: Timesteps; lags of as many or more cannot be seen.

    Raises:
        Unsupported: if outputs are not finite, or change though the input does not.
        UsageError: if the module cannot be run, or its weights are not finite.
    """
    return perturbed(subject(module).cpu(), input_size, length, torch.float64)


def perturbed(
    model: SequenceModel, input_size: int, length: int, dtype: torch.dtype
) -> Perturbation:
    """The same as `perturb` for a model that is not copied, in any dtype."""
    lags_T = torch.arange(length)
    greatest: dict[int, float] = {}  # change over rounding, by lag
    for step, change_T in _changes(model, input_size, length, dtype):
        for lag, change in zip((lags_T - step).tolist(), change_T.tolist(), strict=True):
            greatest[lag] = max(change, greatest.get(lag, 0.0))
    lags = tuple(sorted(lag for lag, change in greatest.items() if change > 1))
    if not lags:
        return Perturbation(Probe(length, ()), (False, False))
    before = max((change for lag, change in greatest.items() if lag < lags[0]), default=0.0)
    beyond = max((change for lag, change in greatest.items() if lag > lags[-1]), default=0.0)
    return Perturbation(
        Probe(length, lags),
        (
            lags[0] < 0 and greatest[lags[0]] < _SHARP * min(1, before),
            greatest[lags[-1]] < _SHARP * min(1, beyond),
        ),
    )


def _changes(
    model: SequenceModel, input_size: int, length: int, dtype: torch.dtype
) -> Iterator[tuple[int, Tensor]]:
    """Each step with the change (T,) of every output, over rounding; one of these per input."""
    draws = _DRAWS if length <= _LONG else _DRAWS_LONG
    rows = max(1, min(32, _ELEMENTS // length**2))
    steps = _steps(length)
    finite, eps = False, _ROUNDING * torch.finfo(dtype).eps
    for number in range(draws * len(_AMPLITUDES)):
        amplitude = _AMPLITUDES[number % len(_AMPLITUDES)]
        x_TF = noise(length, input_size, seed=2 * number).to(dtype)
        added_SF = amplitude * noise(len(steps), input_size, seed=2 * number + 1).to(dtype)
        with torch.no_grad():
            with _Transforms() as transforms:
                y_TF, *again = (run(model, x_TF[None])[0] for _ in range(2))
            least = max(eps, _ROUNDING_LOWER * transforms.eps)
            rounding = least * float(1 + y_TF.abs().max())
            if not y_TF.isfinite().all():
                continue
            if any((other - y_TF).abs().max() > rounding for other in again):
                raise Unsupported("cannot be perturbed: the same input gives different outputs")
            for chosen in torch.arange(len(steps)).split(rows):
                x_BTF = x_TF.repeat(len(chosen), 1, 1)
                at = torch.tensor([steps[index] for index in chosen.tolist()])
                x_BTF[torch.arange(len(chosen)), at] += added_SF[chosen]
                y_BTF = run(model, x_BTF)
                # Scaled by the changed outputs, too: rounding grows with what is summed.
                scale_B = y_BTF.abs().amax((1, 2)) / float(1 + y_TF.abs().max())
                change_BT = (y_BTF - y_TF).abs().amax(-1) / rounding / scale_B.clamp(min=1)[:, None]
                for step, change_T in zip(at.tolist(), change_BT, strict=True):
                    if change_T.isfinite().all():
                        finite = True
                        yield step, change_T
    if not finite:
        raise Unsupported("cannot be perturbed: its outputs are NaN or infinite")


class _Transforms(TorchDispatchMode):
    """Finds the coarsest precision of the Fourier transforms that run while it is on.

    Attributes:
        eps: That of the dtype; 0 where there are none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.eps = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "_fft_" in func.name():
            self.eps = max(self.eps, torch.finfo(args[0].dtype).eps)
        return func(*args, **(kwargs or {}))


def _steps(length: int) -> list[int]:
    """Steps to change: the first and last ones, the middle ones, and others spread evenly."""
    most = _STEPS if length <= _LONG else _STEPS_LONG
    if length <= most:
        return list(range(length))
    near = range(most // 4)
    chosen = {*near, *(length // 2 + offset for offset in near), length - 1}
    spread = torch.linspace(0, length - 1, most - len(chosen) + 2).round().int().tolist()
    return sorted({*chosen, *spread})
