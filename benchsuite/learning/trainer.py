"""One trainer for all tasks and models."""

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

#: A training loss this many times that of the start is taken for divergence.
DIVERGED = 1e4


class Diverged(BenchsuiteError):  # noqa: N818 - an outcome, not a fault of the program
    """The loss has left all bounds; the message names the step."""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the learning curve.

    Attributes:
        step: Optimiser steps done.
        seconds: Spent until then.
        loss: Of the last training batch, before its step (L-BFGS: at its last evaluation); None at
            the start.
        error: On the validation set, or the test set where the protocol has no other.
    """

    step: int
    seconds: float
    loss: float | None
    error: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands, for whoever shows it; told after every step.

    Attributes:
        step: Done so far.
        steps: Allowed, or None.
        seconds: Spent so far.
        share: Of the budget that is used up, 0 to 1.
        loss: Of the last batch.
        best: Error of the parameters that would be kept now.
    """

    step: int
    steps: int | None
    seconds: float
    share: float
    loss: float
    best: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training gave.

    Attributes:
        built: The predictor with its best parameters (the last, where nothing could choose).
        task: What it was trained on.
        recipe: How.
        curve: From the start to the end.
        steps: Done.
        seconds: Spent, those before a resumption included.
        best_step: The step whose parameters were kept.
        stopped: What ended it: "steps", "seconds" or "patience".
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
        case: Model, sizes, device, dtype and seed; its input_size gives way to the task's.
        task: Made for the case's seq_len and batch_size.
        recipe: The task's own unless given.
        path: Where to keep a checkpoint, written at every point of the curve and at the end.
        resume: Go on from that checkpoint, if there is one; the outcome is that of a training
            that was never interrupted.
        on_progress: Called after every step.

    Raises:
        Diverged: if the loss is no longer finite, or `DIVERGED` times that of the start.
        Unsupported: if the model cannot do this task; see `build_predictor`.
        UsageError: if the checkpoint is of another training, or the model is none.
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

    def keep() -> None:
        if path is not None:
            checkpoint.save(path, identity, run.state())

    stopped = run.ended()
    while not stopped:
        run.advance()
        if run.step % recipe.evaluate_every == 0:
            run.evaluate()
            keep()
        stopped = run.ended()
        on_progress(run.progress(ended=bool(stopped)))
    if run.curve[-1].step < run.step:
        keep()  # without the point that follows: a longer training would not have it
        run.evaluate()
    return run.finish(stopped)


class _Run:
    """A training under way."""

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
        """Spent so far, those before a resumption included."""
        return self._before + time.monotonic() - self._began

    def advance(self) -> None:
        """One step of the optimiser."""
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
        self.optimizer.step(closure)  # type: ignore[arg-type]  # torch's stub wants a float
        self.loss = losses[-1]

    def evaluate(self) -> None:
        """Add a point to the curve, and keep the parameters if they are the best so far."""
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
            f"diverged at step {self.step}: the loss is {value:g}, {self.curve[0].error:g} at the"
            f" start; a lower lr than {self.recipe.lr:g} may help"
        )

    def ended(self) -> str:
        """What ends the training here, or an empty string."""
        recipe = self.recipe
        if recipe.steps is not None and self.step >= recipe.steps:
            return "steps"
        if recipe.seconds is not None and self.seconds() >= recipe.seconds:
            return "seconds"
        worse = sum(point.step > self.best_step for point in self.curve)
        return "patience" if recipe.patience is not None and worse >= recipe.patience else ""

    def progress(self, *, ended: bool) -> Progress:
        """Where it stands after a step."""
        recipe, seconds = self.recipe, self.seconds()
        assert self.loss is not None
        used = [self.step / recipe.steps] if recipe.steps is not None else []
        used += [seconds / recipe.seconds] if recipe.seconds is not None else []
        share = 1.0 if ended else min(1.0, max(used))
        return Progress(self.step, recipe.steps, seconds, share, self.loss, self.best_error)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, in plain values and tensors."""
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
        """Take over what `state` gave."""
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.loss, self.best = state["step"], state["loss"], state["best"]
        self.best_step, self.best_error = state["best_step"], state["best_error"]
        self.curve = [Point(**point) for point in state["curve"]]
        self._before, self._began = state["seconds"], time.monotonic()

    def finish(self, stopped: str) -> Trained:
        """The outcome, with the best parameters in place."""
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
    """The error on examples that are on the module's device."""
    return task.error(module.eval()(examples.x_BTF), examples.y)
