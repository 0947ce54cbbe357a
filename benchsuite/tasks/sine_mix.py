"""Sums of sines with new periods in every row, so that predicting needs a memory of the row.

x_t = Σ_k sin(2π t / P_k + φ_k) / √K, with ln P_k uniform between ln 3 and ln 32 and φ_k uniform.
A sum of K sines obeys a linear recurrence over its last 2K samples, but here the coefficients
change from row to row. They have to be inferred from the observed samples, so the first quarter of
a row is not scored. A fixed linear predictor needs many samples (see the baselines); if all periods
were long, eight would be enough. No row of one split occurs in another, because periods and phases
are drawn from continuous distributions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchsuite.tasks import baselines
from benchsuite.tasks.recipe import Recipe
from benchsuite.tasks.task import (
    HELD_OUT_ROWS,
    ClosedLoop,
    Examples,
    Splits,
    Task,
    check_option,
    generator_of,
)

PERIODS = (3.0, 32.0)
GENERATED_STEPS, GENERATED_ROWS = 128, 8


def waves_at(generator: np.random.RandomState, rows: int, waves: int, times: np.ndarray) -> Tensor:
    """Rows of the generator's waves at the given times: (B, T, 1)."""
    low, high = np.log(PERIODS)
    period_BK1 = np.exp(generator.uniform(low, high, (rows, waves, 1)))
    phase_BK1 = generator.uniform(0, 2 * np.pi, (rows, waves, 1))
    x_BT = np.sin(2 * np.pi * times / period_BK1 + phase_BK1).sum(1) / np.sqrt(waves)
    return torch.from_numpy(x_BT).unsqueeze(-1)


def sine_mix(*, seq_len: int, batch_size: int, seed: int, waves: int = 3) -> Task:
    """The task at T = seq_len.

    Raises:
        UsageError: if `waves` is not between 1 and a quarter of `seq_len`.
    """
    check_option("waves", waves, 1, seq_len // 4, seq_len)

    def draw(generator: np.random.RandomState, rows: int) -> Examples:
        x_BTF = waves_at(generator, rows, waves, np.arange(seq_len + 1))
        return Examples(x_BTF[:, :-1], x_BTF[:, 1:])

    splits = Splits(draw, batch_size, seed)

    def future(steps: int) -> Tensor:
        times = np.arange(seq_len + 1, seq_len + 1 + steps)
        rows_BTF = waves_at(generator_of(seed, "test"), HELD_OUT_ROWS, waves, times)
        return rows_BTF[:GENERATED_ROWS]

    return Task(
        name="sine_mix",
        options={"waves": waves},
        input_size=1,
        output_size=1,
        scored_from=seq_len // 4,
        **splits.fields(),
        baselines={
            "zero": baselines.zero,
            "persistence": baselines.persistence,
            "two samples": baselines.linear(2),
            "eight samples": baselines.linear(8),
        },
        recipe=Recipe(steps=1000),
        closed_loop=ClosedLoop(GENERATED_STEPS, GENERATED_ROWS, round(PERIODS[1]), future),
    )
