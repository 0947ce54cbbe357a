"""The published sine task, flaws included: PyTorch's example `time_sequence_prediction`.

Data: numpy seed 2; 100 rows of sin((t + shift) / 20) with whole shifts from -80 to 79, 1000
timesteps; rows 0 to 2 are the test set, the others the training set. Inputs are all values but the
last, targets all but the first. Training: float64, two LSTM layers of 51 units and a linear layer,
mean squared error, 15 steps of L-BFGS with learning rate 0.8 on all training rows at once. Then
1000 steps are generated, each fed back as the next input. `torch.nn.LSTM` initialised with seed 0
is exactly the published network, with 32,284 parameters; the hand-written `lstm_cell` starts from
the same parameters.

Two known flaws are kept. The test rows leak: shifts repeat, and row 0 equals a training row. And
there is only one frequency, so x_{t+1} = 2 cos(0.05) x_t - x_{t-1} needs a memory of two samples;
see the baseline "two samples". `sine_mix` has neither flaw.

With a smaller seq_len or batch_size, the first of these timesteps and rows are used.
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
    """The task; the published sizes are seq_len = 999 and batch_size = 97.

    Raises:
        UsageError: if `batch_size` exceeds the number of training rows, or `seq_len` is below 2.
    """
    if seq_len < 2:
        raise UsageError(f"seq_len = {seq_len} is not allowed: sine needs two timesteps or more")
    if batch_size > ROWS - TEST_ROWS:
        raise UsageError(
            f"batch_size = {batch_size} is not allowed: sine has {ROWS - TEST_ROWS} training rows,"
            f" so use at most {ROWS - TEST_ROWS}"
        )
    shifts_N = np.random.RandomState(SEED).randint(-4 * SCALE, 4 * SCALE, ROWS)

    def values(rows: slice, first: int, stop: int) -> Tensor:
        """Rows of the wave at timesteps `first` to `stop` - 1: (B, T, 1)."""
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
