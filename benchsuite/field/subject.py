"""A module made ready to be looked at: a copy in float64 and eval mode, with sound weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from benchsuite.errors import BenchsuiteError, UsageError, described
from benchsuite.runtime.build import SequenceModel

#: The usual reason for torch's refusal to copy.
_WEIGHT_NORM = "; for torch.nn.utils.weight_norm use torch.nn.utils.parametrizations.weight_norm"


class Uncopyable(UsageError):  # noqa: N818 - a property of a module
    """A module that `copy.deepcopy` cannot copy."""


def subject(module: nn.Module) -> SequenceModel:
    """A copy of a module over (batch, time, features), for its field to be found.

    float64, so that small gradients are not lost; eval mode, so that dropout does not hide lags;
    parameters frozen, so that only the input is differentiated. It stays on its device.

    Raises:
        Uncopyable: if it cannot be copied.
        UsageError: if a weight is not finite, which would spoil every gradient and hide every NaN.
    """
    wrapped = module if isinstance(module, SequenceModel) else SequenceModel(module)
    try:
        model = copy.deepcopy(wrapped).double().eval().requires_grad_(False)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a module from outside may refuse in any way
        words = str(error).partition(". ")[0].partition("\n")[0][:200]
        raise Uncopyable(
            f"{_name(wrapped)} cannot be copied, and its field is found on a copy: {words}"
            + (_WEIGHT_NORM if isinstance(error, RuntimeError) else "")
        ) from error
    for name, tensor in [*model.module.named_parameters(), *model.module.named_buffers()]:
        bad = tensor.numel() - int(tensor.isfinite().sum())
        if bad:
            raise UsageError(
                f"{name} has {bad} values that are NaN or infinite, of {tensor.numel()};"
                " a field can be found only for finite weights"
            )
    return model


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64, the same on every machine."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def run(model: SequenceModel, x_BTF: Tensor) -> Tensor:
    """(B, T, F) → (B, T, features of the output); any failure becomes an error of one line.

    Raises:
        UsageError: if the module fails on this input or returns another shape.
    """
    try:
        return model(x_BTF)  # type: ignore[no-any-return]
    except UsageError as error:
        strided = next((part for part in model.modules() if _stride(part) > 1), None)
        if strided is None:
            raise
        raise UsageError(
            f"{error}; its {type(strided).__name__} has stride {_stride(strided)}, and only one"
            " output per timestep has a field in timesteps"
        ) from error
    except (BenchsuiteError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise UsageError(
            f"{_name(model)} fails on an input of {tuple(x_BTF.shape)} (batch, time, features):"
            f" {described(error)}"
        ) from error


def _name(model: SequenceModel) -> str:
    return type(model.module).__name__


def _stride(part: nn.Module) -> int:
    stride = getattr(part, "stride", 1)
    return max(stride) if isinstance(stride, tuple) else stride if isinstance(stride, int) else 1
