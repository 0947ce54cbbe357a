"""The published sine task, flaws included: PyTorch's example `time_sequence_prediction`.

numpy seed 2; 100 rows of sin((t + shift) / 20) with whole shifts from -80 to 79, 1000 timesteps;
rows 0 to 2 test, the others train; inputs are all but the last value, targets all but the first.
float64, two LSTM layers of 51 and a linear layer, mean squared error, L-BFGS with learning rate 0.8
over all training rows at once, 15 steps; then 1000 generated steps, each fed back as the next
input. `torch.nn.LSTM` started at seed 0 is the published network to the bit: 32,284 parameters. The
hand-written `lstm_cell` starts from the same parameters.

Known flaws, kept: the test rows leak (shifts repeat; row 0 equals a training row), and there is one
frequency, so that x_{t+1} = 2 cos(0.05) x_t - x_{t-1} needs two samples of memory; see the baseline
"two samples". `sine_mix` has neither.

A smaller seq_len or batch_size takes the first of these timesteps and rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchsuite.errors import UsageError
from benchsuite.tasks import baselines
from benchsuite.tasks.recipe import DEFAULTS
from benchsuite.tasks.task import ClosedLoop, Examples, Task

SEED = 2
ROWS, TEST_ROWS = 100, 3
SCALE = 20  # a period is 2π·20 = 125.7 timesteps
GENERATED_STEPS = 1000


def sine(*, seq_len: int, batch_size: int, seed: int) -> Task:  # noqa: ARG001 - data are fixed
    """The task; seq_len = 999 and batch_size = 97 are the published ones.

    Raises:
        UsageError: if there are fewer training rows than `batch_size`, or timesteps than two.
    """
    if seq_len < 2:
        raise UsageError(f"seq_len = {seq_len} is not allowed: sine observes two timesteps or more")
    if batch_size > ROWS - TEST_ROWS:
        raise UsageError(
            f"batch_size = {batch_size} is not allowed: sine has {ROWS - TEST_ROWS} training rows"
            " and trains on the first batch_size of them at once"
        )
    shifts_N = np.random.RandomState(SEED).randint(-4 * SCALE, 4 * SCALE, ROWS)

    def values(rows: slice, first: int, stop: int) -> Tensor:
        """Rows of the wave from timestep `first` to before `stop`: (B, T, 1)."""
        x_BT = np.arange(first, stop) + shifts_N[rows].reshape(-1, 1)
        return torch.from_numpy(np.sin(x_BT / 1.0 / SCALE)).unsqueeze(-1)

    def examples(rows: slice) -> Examples:
        return Examples(values(rows, 0, seq_len), values(rows, 1, seq_len + 1))

    train = examples(slice(TEST_ROWS, TEST_ROWS + batch_size))
    test = slice(0, TEST_ROWS)
    return Task(
        name="sine",
        input_size=1,
        output_size=1,
        batch=lambda _: train,
        test=examples(test),
        validation=None,
        statistics=lambda: train,
        baselines={
            "zero": baselines.zero,
            "persistence": baselines.persistence,
            "two samples": baselines.linear(2),
        },
        recipe=DEFAULTS["lbfgs"],
        closed_loop=ClosedLoop(
            steps=GENERATED_STEPS,
            rows=TEST_ROWS,
            window=round(2 * np.pi * SCALE),
            future=lambda n: values(test, seq_len + 1, seq_len + 1 + n),
        ),
    )
