"""Equality of a model's outputs but for rounding."""

from __future__ import annotations

import torch
from torch import Tensor

#: Allowed difference in units of the dtype's epsilon, relative to one plus the largest value.
_EPSILONS = 1e4


def same_but_for_rounding(expected: Tensor, actual: Tensor) -> bool:
    """Whether two outputs of one shape differ by no more than 1e4 · eps · (1 + max |expected|)."""
    expected, actual = expected.detach(), actual.detach()
    tolerance = _EPSILONS * torch.finfo(expected.dtype).eps * (1 + float(expected.abs().max()))
    return torch.allclose(expected, actual, rtol=0, atol=tolerance)
