"""The delay task: y_t = x_{t-lag} on white noise, a direct test of how far back a model looks.

The values of white noise are independent, so a model with a shorter receptive field than the lag
can at best predict the mean: its error stays at the variance of the noise, 1. A recurrent model has
to hold the last `lag` numbers separately in its state.
"""

from __future__ import annotations

import numpy as np
import torch

from benchsuite.tasks import baselines
from benchsuite.tasks.recipe import Recipe
from benchsuite.tasks.task import Examples, Splits, Task, check_option


def delay(*, seq_len: int, batch_size: int, seed: int, lag: int | None = None) -> Task:
    """The task at T = seq_len; the default of `lag` is half of `seq_len`.

    Raises:
        UsageError: if `lag` is not between 1 and seq_len - 1.
    """
    lag = seq_len // 2 if lag is None else lag
    check_option("lag", lag, 1, seq_len - 1, seq_len)

    def draw(generator: np.random.RandomState, rows: int) -> Examples:
        x_BTF = torch.from_numpy(generator.standard_normal((rows, seq_len, 1)))
        y_BTO = torch.zeros_like(x_BTF)
        y_BTO[:, lag:] = x_BTF[:, :-lag]
        return Examples(x_BTF, y_BTO)

    splits = Splits(draw, batch_size, seed)
    return Task(
        name="delay",
        options={"lag": lag},
        input_size=1,
        output_size=1,
        scored_from=lag,
        **splits.fields(),
        baselines={
            "zero": baselines.zero,
            "persistence": baselines.persistence,
            "memoryless": baselines.linear(1),
        },
        recipe=Recipe(steps=1000),
    )
