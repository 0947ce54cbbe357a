"""The trainer, which is the same for all tasks and models."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchsuite.errors import BenchsuiteError
from benchsuite.grid.case import Case
from benchsuite.learning import checkpoint
from benchsuite.learning.predictor import Built, build_predictor
from benchsuite.tasks.recipe import Recipe
from benchsuite.tasks.task import Examples, Task

#: A loss this many times higher than at the start counts as divergence.
DIVERGED = 1e4


class Diverged(BenchsuiteError):  # noqa: N818 - an outcome, not an error of the program
    """The loss is not finite or far too high; the message names the step."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the learning curve.

    Attributes:
        step: Number of completed optimiser steps.
        seconds: Time spent so far.
        loss: Loss of the last training batch, before its step (L-BFGS: at its last evaluation);
            None at the start.
        error: Error on the validation set, or on the test set if the task has no validation set.
    """

    step: int
    seconds: float
    loss: float | None
    error: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a training, reported after every step.

    Attributes:
        step: Number of completed steps.
        steps: Maximum number of steps, or None.
        seconds: Time spent so far.
        share: Used share of the budget, 0 to 1.
        loss: Loss of the last batch.
        best: Lowest error so far, that of the parameters to be kept.
    """

    step: int
    steps: int | None
    seconds: float
    share: float
    loss: float
    best: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The outcome of a training.

    Attributes:
        built: The predictor with its best parameters (the last ones without a validation set).
        task: The task that it was trained on.
        recipe: The recipe that was used.
        curve: The learning curve from start to end.
        steps: Number of completed steps.
        seconds: Time spent, including the time before it was resumed.
        best_step: The step after which the kept parameters were reached.
        stopped: The limit that ended it: "steps", "seconds" or "patience".
    """

    built: Built
    task: Task
    recipe: Recipe
    curve: tuple[Point, ...]
    steps: int
    seconds: float
    best_step: int
    stopped: str


def train(
    case: Case,
    task: Task,
    recipe: Recipe | None = None,
    *,
    path: Path | None = None,
    resume: bool = False,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train the model of a case on a task.

    Args:
        case: Model, sizes, device, dtype and seed; the task's input_size replaces its own.
        task: The task, made for the case's seq_len and batch_size.
        recipe: The recipe; by default the task's.
        path: Checkpoint file, written at every point of the curve and at the end.
        resume: Continue from that checkpoint if it exists; the outcome equals that of an
            uninterrupted training.
        on_progress: Called after every step.

    Raises:
        Diverged: if the loss is not finite, or exceeds `DIVERGED` times its value at the start.
        Unsupported: if the model cannot be trained on this task; see `build_predictor`.
        UsageError: if the checkpoint belongs to another training, or the model is not a sequence
            model.
        BenchsuiteError: if the checkpoint cannot be written.
    """
    recipe = recipe or task.recipe
    built = build_predictor(case, task, chrono=recipe.chrono)
    run = _Run(built, task, recipe)
    identity = {
        **built.case.as_dict(),
        "task": task.name,
        **task.options,
        **recipe.identity(),
    }
    if path is not None and resume and path.exists():
        run.restore(checkpoint.load(path, identity))
    else:
        run.evaluate()

    def save_checkpoint() -> None:
        if path is not None:
            checkpoint.save(path, identity, run.state())

    stopped = run.ended()
    while not stopped:
        run.advance()
        if run.step % recipe.evaluate_every == 0:
            run.evaluate()
            save_checkpoint()
        stopped = run.ended()
        on_progress(run.progress(ended=bool(stopped)))
    if run.curve[-1].step < run.step:
        save_checkpoint()  # before the final point, which a longer training would not have
        run.evaluate()
    return run.finish(stopped)


class _Run:
    """A training in progress."""

    def __init__(self, built: Built, task: Task, recipe: Recipe) -> None:
        self.built, self.task, self.recipe = built, task, recipe
        self.module = built.module
        self.optimizer = _optimizer(recipe, list(self.module.parameters()))
        self.watched = self._ready(task.validation or task.test)
        self.step = 0
        self.loss: float | None = None
        self.curve: list[Point] = []
        self.best: dict[str, Tensor] = {}
        self.best_step, self.best_error = 0, math.inf
        self._before, self._began = 0.0, time.monotonic()

    def _ready(self, examples: Examples) -> Examples:
        first = next(self.module.parameters())
        return examples.to(first.device, first.dtype)

    def seconds(self) -> float:
        """Time spent so far, including the time before it was resumed."""
        return self._before + time.monotonic() - self._began

    def advance(self) -> None:
        """Perform one optimiser step."""
        batch = self._ready(self.task.batch(self.step))
        losses: list[float] = []

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss = self.task.error(self.module(batch.x_BTF), batch.y)
            loss.backward()
            if self.recipe.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.recipe.clip)
            losses.append(self._checked(loss.item()))
            return loss

        self.step += 1
        self.module.train()
        self.optimizer.step(closure)  # type: ignore[arg-type]  # torch's type stub expects a float
        self.loss = losses[-1]

    def evaluate(self) -> None:
        """Add a point to the curve, and store the parameters if they are the best so far."""
        error = self._checked(float(evaluate(self.module, self.task, self.watched)))
        self.curve.append(Point(self.step, self.seconds(), self.loss, error))
        if self.task.validation is None or error < self.best_error:
            self.best = copy.deepcopy(self.module.state_dict())
            self.best_step, self.best_error = self.step, error

    def _checked(self, value: float) -> float:
        limit = DIVERGED * self.curve[0].error if self.curve else math.inf
        if math.isfinite(value) and value <= limit:
            return value
        if not self.curve:
            raise Diverged(f"the loss is {value:g} at step 0, before any training")
        raise Diverged(
            f"diverged at step {self.step}: the loss is {value:g}, and was {self.curve[0].error:g}"
            f" at the start; a lower lr than {self.recipe.lr:g} may help"
        )

    def ended(self) -> str:
        """The limit that ends the training now, or an empty string."""
        recipe = self.recipe
        if recipe.steps is not None and self.step >= recipe.steps:
            return "steps"
        if recipe.seconds is not None and self.seconds() >= recipe.seconds:
            return "seconds"
        worse = sum(point.step > self.best_step for point in self.curve)
        return "patience" if recipe.patience is not None and worse >= recipe.patience else ""

    def progress(self, *, ended: bool) -> Progress:
        """The progress after a step."""
        recipe, seconds = self.recipe, self.seconds()
        assert self.loss is not None
        used = [self.step / recipe.steps] if recipe.steps is not None else []
        used += [seconds / recipe.seconds] if recipe.seconds is not None else []
        share = 1.0 if ended else min(1.0, max(used))
        return Progress(self.step, recipe.steps, seconds, share, self.loss, self.best_error)

    def state(self) -> dict[str, Any]:
        """The state for `restore`, as plain values and tensors."""
        return {
            "step": self.step,
            "loss": self.loss,
            "seconds": self.seconds(),
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_step": self.best_step,
            "best_error": self.best_error,
            "curve": [asdict(point) for point in self.curve],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.loss, self.best = state["step"], state["loss"], state["best"]
        self.best_step, self.best_error = state["best_step"], state["best_error"]
        self.curve = [Point(**point) for point in state["curve"]]
        self._before, self._began = state["seconds"], time.monotonic()

    def finish(self, stopped: str) -> Trained:
        """Load the best parameters and return the outcome."""
        self.module.load_state_dict(self.best)
        return Trained(
            built=self.built,
            task=self.task,
            recipe=self.recipe,
            curve=tuple(self.curve),
            steps=self.step,
            seconds=self.seconds(),
            best_step=self.best_step,
            stopped=stopped,
        )


def _optimizer(recipe: Recipe, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    if recipe.optimizer == "lbfgs":
        search = "strong_wolfe" if recipe.line_search else None
        return torch.optim.LBFGS(parameters, lr=recipe.lr, line_search_fn=search)
    return torch.optim.Adam(parameters, lr=recipe.lr)


@torch.no_grad()
def evaluate(module: torch.nn.Module, task: Task, examples: Examples) -> Tensor:
    """The error on examples, which must be on the module's device."""
    return task.error(module.eval()(examples.x_BTF), examples.y)
