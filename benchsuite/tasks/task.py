"""Tasks: data, loss and baselines of a sequence problem, independent of models and training.

Shape suffixes: B rows, T timesteps, F input features, O outputs, S generated steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchsuite.catalog.tasks import TASKS
from benchsuite.errors import UsageError, unknown
from benchsuite.tasks.recipe import Recipe

#: Number of rows of the validation set, and of the test set.
HELD_OUT_ROWS = 256
#: Number of rows of the sample that baselines are fitted to.
STATISTICS_ROWS = 1024
_SPLITS = ("train", "validation", "test", "statistics")


@dataclass(frozen=True, slots=True)
class Examples:
    """Input sequences and their targets.

    Attributes:
        x_BTF: Inputs, float64.
        y: Targets: values (B, T, O) in float64, or classes (B, T) in int64.
    """

    x_BTF: Tensor
    y: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Examples:
        """Copy to a device and dtype; classes stay int64."""
        y = self.y.to(device, dtype if self.y.is_floating_point() else None)
        return Examples(self.x_BTF.to(device, dtype), y)


#: `baseline(sample, test)` → a prediction of the test set's targets, fitted to the sample.
Baseline = Callable[[Examples, Examples], Tensor]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """The closed loop of a task that predicts its next input, and the true values for it.

    Attributes:
        steps: Number of timesteps to generate after the observed ones.
        rows: Number of rows to continue, taken from the start of the test set.
        window: Number of timesteps in one period of the slowest wave, for following its phase.
        future: `future(n)` → the true values (rows, n, O) that follow the last target.
    """

    steps: int
    rows: int
    window: int
    future: Callable[[int], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A sequence problem at one size.

    Attributes:
        name: The name in the registry.
        options: Values of the task's options, by name.
        input_size: Number of input features, F.
        output_size: Number of outputs, O, or of classes.
        scored_from: First timestep that counts in the loss and the error.
        batch: `batch(step)` → the training batch of an optimiser step; deterministic.
        test: Unseen rows, scored once at the end.
        validation: Unseen rows for choosing the best parameters; None if the task has no
            validation set, in which case the last parameters are kept.
        statistics: Draws the sample that baselines are fitted to.
        baselines: Trivial predictors by name.
        scores: Additional scores by name: `(prediction_BTO, y) → number`.
        recipe: The default recipe.
        closed_loop: The closed loop, if the outputs predict the next inputs. The targets are then
            future inputs, and the model must be causal.
    """

    name: str
    options: Mapping[str, int] = field(default_factory=dict)
    input_size: int
    output_size: int
    scored_from: int = 0
    batch: Callable[[int], Examples]
    test: Examples
    validation: Examples | None
    statistics: Callable[[], Examples]
    baselines: Mapping[str, Baseline]
    scores: Mapping[str, Callable[[Tensor, Tensor], float]] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    closed_loop: ClosedLoop | None = None

    def error(self, prediction_BTO: Tensor, y: Tensor) -> Tensor:
        """The error, which is also the training loss: the mean over rows and scored timesteps.

        Args:
            prediction_BTO: Values, or unnormalised log-probabilities of the classes.
            y: Targets as in `Examples`.

        Returns:
            The mean squared error for values, the mean negative log-likelihood in nats for classes.
        """
        prediction_BTO, y = prediction_BTO[:, self.scored_from :], y[:, self.scored_from :]
        if y.is_floating_point():
            return F.mse_loss(prediction_BTO, y)
        return F.cross_entropy(prediction_BTO.flatten(0, 1), y.flatten())

    def baseline_errors(self) -> dict[str, float]:
        """The error of every baseline on the test set."""
        sample = self.statistics()
        return {
            name: float(self.error(predict(sample, self.test), self.test.y))
            for name, predict in self.baselines.items()
        }


def make_task(
    name: str, *, seq_len: int, batch_size: int, seed: int, options: Mapping[str, object]
) -> Task:
    """Create the task with this name and these sizes.

    Args:
        name: A name in the registry.
        seq_len: Sequence length T.
        batch_size: Number of rows in a training batch.
        seed: Seed of the data; the published task `sine` ignores it.
        options: Values by option; they may be strings.

    Raises:
        UsageError: for an unknown task or option, or a value that does not fit the sizes.
    """
    spec = TASKS.get(name)
    values = {}
    for key, raw in options.items():
        if key not in spec.options:
            if not spec.options:
                raise UsageError(f"task {name!r} has no options; leave out {key!r}")
            raise unknown(f"option of {name}", key, spec.options)
        try:
            values[key] = int(str(raw))
        except ValueError:
            raise UsageError(f"{key} = {raw!r} is not allowed; use a whole number") from None
    task = spec.factory()(seq_len=seq_len, batch_size=batch_size, seed=seed, **values)
    assert isinstance(task, Task)
    return task


def check_option(name: str, value: int, low: int, high: int, seq_len: int) -> None:
    """Refuse an option outside its bounds.

    Raises:
        UsageError: with the value, the bounds, and the sequence length that determines them.
    """
    if not low <= value <= high:
        bounds = f"whole numbers from {low} to {high}" if low <= high else "no value fits"
        raise UsageError(
            f"{name} = {value} is not allowed at seq_len = {seq_len}: {bounds};"
            " a longer sequence (-a seq_len=…) allows a larger value"
        )


def generator_of(seed: int, split: str, number: int = 0) -> np.random.RandomState:
    """The random generator of one draw.

    It is numpy's `RandomState`, because its streams are frozen and the same on every machine
    (NEP 19). Those of `Generator` may change with numpy, and those of torch differ between devices.

    Args:
        seed: Seed of the task.
        split: "train", "validation", "test" or "statistics".
        number: Index of the batch.
    """
    return np.random.RandomState([seed, _SPLITS.index(split), number])


@dataclass(frozen=True, slots=True)
class Splits:
    """Rows of a distribution, drawn independently for training, validation, test and statistics.

    Each batch has a separate generator, so a resumed training need not repeat the earlier draws.

    Attributes:
        draw: `draw(generator, rows)` → that many rows.
        batch_size: Number of rows in a training batch.
        seed: Seed of all splits.
    """

    draw: Callable[[np.random.RandomState, int], Examples]
    batch_size: int
    seed: int

    def fields(self) -> dict[str, Any]:
        """The fields of `Task` that hold or draw rows."""
        return {
            "batch": self.batch,
            "test": self.test(),
            "validation": self.validation(),
            "statistics": self.statistics,
        }

    def batch(self, step: int) -> Examples:
        """The training batch of a step."""
        return self.draw(generator_of(self.seed, "train", step), self.batch_size)

    def validation(self) -> Examples:
        """The validation set."""
        return self.draw(generator_of(self.seed, "validation"), HELD_OUT_ROWS)

    def test(self) -> Examples:
        """The test set."""
        return self.draw(generator_of(self.seed, "test"), HELD_OUT_ROWS)

    def statistics(self) -> Examples:
        """The sample for baselines."""
        return self.draw(generator_of(self.seed, "statistics"), STATISTICS_ROWS)
