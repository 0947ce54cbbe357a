"""Closed-loop generation: the output is fed back as the next input, from state where there is one.

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
