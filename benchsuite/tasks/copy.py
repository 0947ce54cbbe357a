"""The copy task (Hochreiter & Schmidhuber 1997, in the form of Bai, Kolter & Koltun 2018).

With N digits and a blank of T₀ = seq_len - 2N timesteps, the input is N digits from 1 to 8, T₀ - 1
zeros and N + 1 nines; the target is T₀ + N zeros and then the digits. The input is one number per
timestep, as published, not a one-hot code. Without memory a model can only guess among eight
digits, with the error N ln 8 / (T₀ + 2N) of the baseline "frequencies". A convolution must see
T₀ + N + 1 timesteps.

Bai et al. train with RMSprop on 10,000 rows fifty times; here the optimiser is Adam, and every
batch is new.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchsuite.tasks import baselines
from benchsuite.tasks.recipe import Recipe
from benchsuite.tasks.task import Examples, Splits, Task, check_option

CLASSES = 10
MARKER = 9


def copy(*, seq_len: int, batch_size: int, seed: int, digits: int = 10) -> Task:
    """The task at T = seq_len = blank + 2·digits.

    Raises:
        UsageError: if `seq_len` does not leave a blank besides 2·digits timesteps.
    """
    check_option("digits", digits, 1, (seq_len - 1) // 2, seq_len)

    def draw(generator: np.random.RandomState, rows: int) -> Examples:
        digits_BN = generator.randint(1, MARKER, (rows, digits))
        x_BT = np.zeros((rows, seq_len))
        x_BT[:, :digits] = digits_BN
        x_BT[:, -digits - 1 :] = MARKER
        y_BT = np.zeros((rows, seq_len), np.int64)
        y_BT[:, -digits:] = digits_BN
        return Examples(torch.from_numpy(x_BT).unsqueeze(-1), torch.from_numpy(y_BT))

    def recalled(prediction_BTO: Tensor, y_BT: Tensor) -> float:
        """Share of the digits that are predicted correctly."""
        return float((prediction_BTO.argmax(-1) == y_BT)[:, -digits:].double().mean())

    splits = Splits(draw, batch_size, seed)
    return Task(
        name="copy",
        options={"digits": digits},
        input_size=1,
        output_size=CLASSES,
        **splits.fields(),
        baselines={"frequencies": baselines.frequencies},
        scores={"digits_recalled": recalled},
        recipe=Recipe(steps=2000, lr=2e-3),
    )
