"""Accuracy: the error of a model on a task after a short training; one measure per task.

The recipe is the task's, limited to `STEPS` optimiser steps, so that models are compared after
equal work, and to a share of the case's timeout; the record of a training that time has cut short
carries a warning. L-BFGS uses a line search: at the fixed step length of the published sine task
one model in four diverges, and which one depends on the width. The task's input_size replaces the
case's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchsuite.catalog.measures import task_of
from benchsuite.errors import Unsupported, UsageError
from benchsuite.grid.study import Budget
from benchsuite.learning.scores import continuation, test_error
from benchsuite.learning.trainer import Trained, train
from benchsuite.measures.reading import Reading
from benchsuite.runtime.workload import Workload
from benchsuite.tasks.task import Task, make_task

#: Most optimiser steps of a training.
STEPS = 200
#: Generated timesteps in a figure of the closed loop.
PICTURED = 256
#: Share of the timeout that training may take; the rest is for setting up and the test set.
TIME_SHARE = 0.7


def __getattr__(name: str) -> Callable[[Workload, Budget], Reading]:
    """The function of a measure that trains on a task, by the measure's name."""
    task = task_of(name)
    if not task:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return functools.partial(error, task)


def error(task: str, workload: Workload, budget: Budget) -> Reading:
    """Error on the test set after a short training.

    Raises:
        Unsupported: in mode infer, where the value would be the same; if the task does not fit the
            case's sizes; or if the model cannot be trained on it.
        Diverged: if the training diverges.
    """
    case = workload.case
    if case.mode != "train":
        raise Unsupported("accuracy does not depend on the mode; it is measured with mode=train")
    made = _made(task, workload)
    recipe = made.recipe.replace(
        steps=min(made.recipe.steps or STEPS, STEPS), seconds=TIME_SHARE * budget.timeout
    )
    if recipe.optimizer == "lbfgs":
        recipe = recipe.replace(lr=1.0, line_search=True)
    trained = train(case, made, recipe)
    cut = trained.stopped == "seconds"
    return Reading(
        value=test_error(trained),
        warning=f"stopped by time after {trained.steps} of {recipe.steps} steps" if cut else "",
        provenance={
            "width": trained.built.width,
            "match_deviation": trained.built.match_deviation,
            "output_size": made.output_size,
            **_picture(trained),
        },
    )


def _picture(trained: Trained) -> dict[str, Any]:
    """Columns `predicted` and `expected` of a task with a closed loop; empty for others."""
    loop = trained.task.closed_loop
    if loop is None:
        return {}
    seen = continuation(trained, dataclasses.replace(loop, steps=PICTURED))
    predicted = np.concatenate([seen.observed_RT[0], seen.generated_RS[0]])
    expected = np.concatenate([trained.task.test.y[0, :, 0].numpy(), seen.truth_RS[0]])
    end = int(np.isfinite(predicted).cumprod().sum())  # up to the first value that is not finite
    return {
        "predicted": [float(f"{value:.4g}") for value in predicted[:end]],
        "expected": [float(f"{value:.4g}") for value in expected[:end]],
    }


def _made(task: str, workload: Workload) -> Task:
    case = workload.case
    try:
        return make_task(
            task, seq_len=case.seq_len, batch_size=case.batch_size, seed=case.seed, options={}
        )
    except UsageError as problem:
        raise Unsupported(f"{task} cannot be made at these sizes: {problem}") from problem
