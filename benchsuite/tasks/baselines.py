"""Baselines: trivial predictors, fitted to a sample of a task's data, that a model should beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from benchsuite.tasks.task import Baseline, Examples


def zero(_: Examples, test: Examples) -> Tensor:
    """Always 0."""
    return torch.zeros_like(test.y)


def mean(sample: Examples, test: Examples) -> Tensor:
    """The mean target of each timestep."""
    return sample.y.mean(0, keepdim=True).expand_as(test.y)


def persistence(_: Examples, test: Examples) -> Tensor:
    """The input, unchanged."""
    return test.x_BTF[..., : test.y.shape[-1]]


def frequencies(sample: Examples, test: Examples) -> Tensor:
    """Each timestep's frequency of every class, as log-probabilities (B, T, classes)."""
    classes = int(sample.y.max()) + 1
    share_TO = F.one_hot(sample.y, classes).double().mean(0)
    return share_TO.log().expand(len(test.y), -1, -1)


def linear(taps: int) -> Baseline:
    """The best linear function of the last `taps` inputs and a constant, by least squares.

    The first timesteps, which have fewer past inputs, get separate coefficients.
    """

    def predict(sample: Examples, test: Examples) -> Tensor:
        seq_len = test.x_BTF.shape[1]
        starts = list(range(min(taps, seq_len)))
        parts = []
        for first, stop in zip(starts, [*starts[1:], seq_len], strict=True):
            past, target = _past(sample.x_BTF, first, stop), sample.y[:, first:stop]
            fit = torch.linalg.lstsq(past.flatten(0, 1), target.flatten(0, 1), driver="gelsd")
            parts.append(_past(test.x_BTF, first, stop) @ fit.solution)
        return torch.cat(parts, 1)

    return predict


def _past(x_BTF: Tensor, first: int, stop: int) -> Tensor:
    """(B, stop - first, (first + 1)·F + 1): the last first + 1 inputs, and a one."""
    lagged = [x_BTF[:, first - lag : stop - lag] for lag in range(first + 1)]
    return torch.cat([*lagged, torch.ones_like(lagged[0][..., :1])], -1)
