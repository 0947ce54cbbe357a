"""The adding problem (Hochreiter & Schmidhuber 1997, in the form of Bai, Kolter & Koltun 2018).

Each timestep has a number from U(0, 1) and a mark. Two timesteps, drawn without repetition, are
marked 1 and the others 0. The target, at the last timestep, is the sum of the two marked numbers.
The squared error is 1/6 if the mean, 1, is always predicted, and 1/12 if one of the two numbers is
known. Bai et al. train on 50,000 rows ten times; here every batch is new.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchsuite.errors import UsageError
from benchsuite.tasks import baselines
from benchsuite.tasks.recipe import Recipe
from benchsuite.tasks.task import Examples, Splits, Task


def adding(*, seq_len: int, batch_size: int, seed: int) -> Task:
    """The task at T = seq_len.

    Raises:
        UsageError: if there are fewer than two timesteps.
    """
    if seq_len < 2:
        raise UsageError(
            f"seq_len = {seq_len} is not allowed: adding marks two timesteps, so use 2 or more"
        )

    def draw(generator: np.random.RandomState, rows: int) -> Examples:
        number_BT = generator.uniform(size=(rows, seq_len))
        order_BT = generator.uniform(size=(rows, seq_len)).argpartition(1, axis=1)
        mark_BT = np.zeros((rows, seq_len))
        np.put_along_axis(mark_BT, order_BT[:, :2], 1.0, axis=1)
        y_BTO = np.zeros((rows, seq_len, 1))
        y_BTO[:, -1, 0] = (number_BT * mark_BT).sum(1)
        x_BTF = np.stack([number_BT, mark_BT], -1)
        return Examples(torch.from_numpy(x_BTF), torch.from_numpy(y_BTO))

    splits = Splits(draw, batch_size, seed)
    return Task(
        name="adding",
        input_size=2,
        output_size=1,
        scored_from=seq_len - 1,
        **splits.fields(),
        baselines={
            "zero": baselines.zero,
            "mean": baselines.mean,
            "later number": later_number,
        },
        recipe=Recipe(steps=2000, lr=2e-3),
    )


def later_number(sample: Examples, test: Examples) -> Tensor:
    """The second of the two marked numbers, and the mean of the first."""
    prediction = torch.zeros_like(test.y)
    prediction[:, -1, 0] = _later(test) + (sample.y[:, -1, 0] - _later(sample)).mean()
    return prediction


def _later(examples: Examples) -> Tensor:
    """The later of the two marked numbers: (B,)."""
    number_BT, mark_BT = examples.x_BTF.unbind(-1)
    last_B1 = (mark_BT * torch.arange(1, mark_BT.shape[1] + 1)).argmax(1, keepdim=True)
    return number_BT.gather(1, last_B1).squeeze(1)
