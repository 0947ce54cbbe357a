"""Tasks: data, loss and baselines of a sequence problem; free of models, devices and training.

Shape suffixes: B rows, T timesteps, F input features, O outputs, S generated steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchsuite.catalog.tasks import TASKS
from benchsuite.errors import UsageError, unknown
from benchsuite.tasks.recipe import Recipe

#: Rows of the validation and of the test set, and of the sample that baselines are fitted to.
HELD_OUT_ROWS = 256
STATISTICS_ROWS = 1024
_SPLITS = ("train", "validation", "test", "statistics")


@dataclass(frozen=True, slots=True)
class Examples:
    """Sequences and what should come out of them.

    Attributes:
        x_BTF: Inputs, float64.
        y: Targets: values (B, T, O) in float64, or classes (B, T) in int64.
    """

    x_BTF: Tensor
    y: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Examples:
        """On another device; classes stay whole numbers."""
        y = self.y.to(device, dtype if self.y.is_floating_point() else None)
        return Examples(self.x_BTF.to(device, dtype), y)


#: From a sample of the task's data and the test set to a prediction of the latter's targets.
Baseline = Callable[[Examples, Examples], Tensor]


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What generation is held against, in tasks whose output is their next input.

    Attributes:
        steps: Timesteps to generate after the observed ones.
        rows: The first so many rows of the test set are continued.
        window: Timesteps that hold the slowest wave, for following its phase.
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
        name: As in the registry.
        options: The values of its options.
        input_size: F.
        output_size: O, or the number of classes.
        scored_from: First timestep that counts, in loss and error alike.
        batch: `batch(step)` → the training batch of an optimiser step, the same whenever asked.
        test: Unseen rows, scored once at the end.
        validation: Unseen rows that choose the best parameters; None where the protocol has none,
            and the last ones are taken.
        statistics: Draws the sample that baselines are fitted to.
        baselines: Trivial predictors by name.
        scores: Further scores by name: `(prediction_BTO, y) → number`.
        recipe: How it is trained unless told otherwise.
        closed_loop: Where the output is the next input: what generation is held against. The
            targets then lie in the inputs' future, and a model must not look ahead.
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
        """Loss and score in one: mean over rows and scored timesteps.

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
    """The task of that name at these sizes.

    Args:
        name: A name of the registry.
        seq_len: T.
        batch_size: Rows of a training batch.
        seed: Of the data; those of the published `sine` have a seed of their own.
        options: Options by name; values may be text.

    Raises:
        UsageError: for an unknown task or option, or a value that does not fit the sizes.
    """
    spec = TASKS.get(name)
    values = {}
    for key, raw in options.items():
        if key not in spec.options:
            if not spec.options:
                raise UsageError(f"task {name!r} has no options; {key!r} means nothing to it")
            raise unknown(f"option of {name}", key, spec.options)
        try:
            values[key] = int(str(raw))
        except ValueError:
            raise UsageError(f"{key} = {raw!r} is not allowed; whole numbers") from None
    task = spec.factory()(seq_len=seq_len, batch_size=batch_size, seed=seed, **values)
    assert isinstance(task, Task)
    return task


def check_option(name: str, value: int, low: int, high: int, seq_len: int) -> None:
    """Refuse an option outside of its bounds.

    Raises:
        UsageError: naming the value, the bounds, and the sequence length they come from.
    """
    if not low <= value <= high:
        bounds = f"whole numbers from {low} to {high}" if low <= high else "no value fits"
        raise UsageError(
            f"{name} = {value} is not allowed at seq_len = {seq_len}: {bounds};"
            " a longer sequence (-a seq_len=…) allows more"
        )


def generator_of(seed: int, split: str, number: int = 0) -> np.random.RandomState:
    """The generator of one draw.

    Numpy's `RandomState`: its streams are frozen and the same on every machine (NEP 19), those of
    `Generator` may change with numpy, and those of torch differ between devices.

    Args:
        seed: Of the task.
        split: "train", "validation", "test" or "statistics".
        number: Of the batch.
    """
    return np.random.RandomState([seed, _SPLITS.index(split), number])


@dataclass(frozen=True, slots=True)
class Splits:
    """Rows of a distribution, drawn apart for training, validation, test and statistics.

    Each batch has a generator of its own, so that a resumed training needs none of the earlier
    draws.

    Attributes:
        draw: `draw(generator, rows)`.
        batch_size: Rows of a training batch.
        seed: Of all splits.
    """

    draw: Callable[[np.random.RandomState, int], Examples]
    batch_size: int
    seed: int

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
