"""Closed-loop generation: outputs are fed back as the next inputs, with state if the model has it.

Shape suffixes: B rows, T observed timesteps, S generated ones, F features (input and output), C
channels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from benchsuite.errors import UsageError
from benchsuite.learning.predictor import Predictor
from benchsuite.runtime.streams import stream_of


@torch.no_grad()
def generate(predictor: Predictor, x_BTF: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Run a predictor on observed timesteps, then continue from its own outputs.

    Args:
        predictor: A causal one with as many outputs as inputs; it is used in eval mode.
        x_BTF: The observed inputs, at least two timesteps.
        steps: Number of timesteps to generate, S.

    Returns:
        The outputs at the observed timesteps (B, T, F), and the generated ones (B, S, F). The first
        generated one is the output for the last observed output as input.

    Raises:
        UsageError: if outputs and inputs differ in size, or fewer than two timesteps are observed.
    """
    predictor.eval()
    if predictor.head.out_features != x_BTF.shape[-1]:
        raise UsageError(
            f"{predictor.head.out_features} outputs cannot be fed back as {x_BTF.shape[-1]} inputs"
        )
    if x_BTF.shape[1] < 2:
        raise UsageError(f"{x_BTF.shape[1]} observed timesteps are too few; at least 2 are needed")
    stream = stream_of(predictor, x_BTF)
    observed_BTF = stream.feed(x_BTF)
    y_B1F = observed_BTF[:, -1:]
    generated = []
    for _ in range(steps):
        y_B1F = stream.feed(y_B1F)
        generated.append(y_B1F)
    return observed_BTF, torch.cat(generated, 1)
