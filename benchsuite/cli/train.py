"""`benchsuite train`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli import _train_output
from benchsuite.cli._app import (
    EXIT_INTERRUPTED,
    AsJson,
    AxisSetting,
    Chrono,
    Home,
    TaskOptions,
    app,
    duration,
    message,
    output_option,
    print_json,
    task_options,
)
from benchsuite.cli._progress import Display, State, progress
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError
from benchsuite.sweep.launchers.isolated import FIRST_STEP, Children

if TYPE_CHECKING:
    from benchsuite.grid.axes import Value
    from benchsuite.grid.case import Case
    from benchsuite.learning.trainer import Progress
    from benchsuite.tasks.recipe import Recipe
    from benchsuite.tasks.task import Task

#: What a child process imports before it trains a model.
_MODULES = (__name__, "benchsuite.learning.scores")
#: Shortest time between two reports of a training's progress, in seconds.
_SECONDS_BETWEEN_REPORTS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exercise:
    """A task with its options and how models are trained on it, for all models of a command.

    Attributes:
        task: Name of the task.
        options: The task's options, as they were given.
        resolved: All options of the task.
        recipe: How each model is trained.
        changes: `NAME=VALUE` for each part of the recipe that is not the task's.
        baselines: Errors of trivial predictions.
    """

    task: str
    options: dict[str, str]
    resolved: dict[str, int]
    recipe: Recipe
    changes: list[str]
    baselines: dict[str, float]


@app.command(epilog="Example: benchsuite train delay lstm tcn -t lag=64 -a match=params")
def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A name of `benchsuite list tasks`.")],
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Models, trained one after another.")
    ],
    axis: AxisSetting = None,
    option: TaskOptions = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Most optimiser steps, for each model.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(parser=duration, metavar="TIME", help="Most time, for each model: 90, 2min."),
    ] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help="adam or lbfgs.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate.")] = None,
    clip: Annotated[
        float | None, typer.Option(metavar="X", help="Gradients are clipped to this norm.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="N", help="Stop after N points of the curve without improvement."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of parameters and data.")
    ] = None,
    chrono: Chrono = False,
    output: Annotated[
        Path | None,
        output_option("Directory of scores and pictures (default: HOME/train/TASK)."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the checkpoints of an earlier run.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train models on a task and compare their errors.

    Writes a learning curve, scores next to those of trivial baselines and, for the sine tasks, a
    picture of what a model generates from its own outputs. Options that are not given come from the
    task's recipe. Exit code 1 means that a training failed.
    """
    from benchsuite.catalog.models import MODELS
    from benchsuite.catalog.tasks import TASKS
    from benchsuite.grid.case import Case
    from benchsuite.records.home import home_of

    spec = TASKS.get(task)
    names = [MODELS.get(name).name for name in dict.fromkeys(models)]
    settings = _settings(axis or [], seed)
    options = task_options(option)
    given = {"steps": steps, "seconds": seconds, "lr": lr, "clip": clip, "patience": patience}
    given["chrono"] = chrono or None
    cases = [
        Case(**{**spec.axes, **settings, "model": name, "mode": "train"})  # type: ignore[arg-type]
        for name in names
    ]
    runs, loops = [], {}
    modules = _MODULES if len(cases) == 1 else (*_MODULES, FIRST_STEP)
    try:
        with Children(*modules) as children, progress() as display:
            exercise = children.call(_exercise, spec.name, cases[0], options, optimizer, given)
            label = [f"{name}={value}" for name, value in exercise.resolved.items()]
            root = home_of(home) / "train" / "+".join([task, *label])
            for number, case in enumerate(cases, 1):
                at = number, len(cases)
                run, loops[case.model] = _run(
                    children, case, exercise, root, at, resume=resume, display=display
                )
                if run["status"] != "ok":
                    display.note(f"{run['status']}: {case.model}: {run['reason']}")
                runs.append(run)
    except KeyboardInterrupt:
        message("interrupted; add --resume to the same command to continue")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    document = {
        "task": task,
        "options": exercise.resolved,
        "seq_len": cases[0].seq_len,
        "batch_size": cases[0].batch_size,
        "match": cases[0].match,
        "baselines": exercise.baselines,
        "runs": runs,
    }
    document["files"] = _train_output.write(output or root, document, loops)
    if as_json:
        print_json(document)
    else:
        _train_output.show(document)
    if any(run["status"] == "failed" for run in runs):
        raise typer.Exit(1)


def _settings(axis: list[str], seed: int | None) -> dict[str, Value]:
    """The value of each axis that was set, with `device=auto` resolved."""
    from benchsuite.grid.axes import AXES, parse_single
    from benchsuite.host import usable_device

    refused = {
        "model": "models are arguments",
        "mode": "training is always mode=train",
        "input_size": "it follows from the task",
        "allocator": "it changes how long a step takes, not what is learnt",
    }
    given = parse_single(axis, AXES, "axis", "train takes", refused=refused)
    settings: dict[str, Value] = {} if seed is None else {"seed": seed}
    settings.update(given)
    return {**settings, "device": usable_device(str(settings.get("device", "auto")))}


def _exercise(
    name: str, case: Case, options: dict[str, str], optimizer: str | None, given: dict[str, Any]
) -> _Exercise:
    """The task and its recipe with the given changes; called in a child process."""
    task = _task(name, case, options)
    recipe = _recipe(task.recipe, optimizer, given)
    usual = task.recipe.identity()
    return _Exercise(
        task=name,
        options=options,
        resolved=dict(task.options),
        recipe=recipe,
        changes=[f"{k}={v}" for k, v in recipe.identity().items() if v != usual[k]],
        baselines=task.baseline_errors(),
    )


def _task(name: str, case: Case, options: dict[str, str]) -> Task:
    from benchsuite.tasks.task import make_task

    return make_task(
        name,
        seq_len=case.seq_len,
        batch_size=case.batch_size,
        seed=case.seed,
        options=options,
    )


def _recipe(recipe: Recipe, optimizer: str | None, given: dict[str, Any]) -> Recipe:
    """The task's recipe with the given changes; seconds without steps lift the limit of steps."""
    from benchsuite.errors import unknown
    from benchsuite.tasks.recipe import DEFAULTS

    if optimizer is not None and optimizer != recipe.optimizer:
        if optimizer not in DEFAULTS:
            raise unknown("optimizer", optimizer, DEFAULTS)
        recipe = DEFAULTS[optimizer]
    changes = {name: value for name, value in given.items() if value is not None}
    if "seconds" in changes:
        changes.setdefault("steps", None)
    return recipe.replace(**changes)


def _run(
    children: Children,
    case: Case,
    exercise: _Exercise,
    root: Path,
    at: tuple[int, int],
    *,
    resume: bool,
    display: Display,
) -> tuple[dict[str, Any], _train_output.Loop | None]:
    """Train one model in a child process; its result, or why there is none, is written to disk.

    Args:
        children: Starts the process.
        case: The case to train.
        exercise: What it is trained on.
        root: The directory of all trainings of this task.
        at: The model's number, from 1, and how many there are.
        resume: Continue from the checkpoint of an earlier run.
        display: Shows the progress.

    Raises:
        UsageError: if this is the only model, and it cannot be used.
    """
    directory = root / "-".join([case.id, *exercise.changes])
    result: dict[str, Any] = {
        "model": case.model,
        "case": case.id,
        "status": "ok",
        "reason": "",
        "directory": str(directory),
    }
    loop = None
    path = directory / "checkpoint.pt"
    try:
        values, loop = children.call(
            _train, case, exercise, path, at, resume, on_report=display.show
        )
        result.update(values)
    except Unsupported as reason:
        result.update(status="skipped", reason=str(reason))
    except BenchsuiteError as error:  # a model from outside may fail in any way; the others go on
        if isinstance(error, UsageError) and at == (1, 1):
            raise
        result.update(status="failed", reason=str(error))
    _train_output.save(directory / "result.json", json.dumps(result, indent=1, allow_nan=False))
    return result, loop


def _train(
    case: Case,
    exercise: _Exercise,
    path: Path,
    at: tuple[int, int],
    resume: bool,
    report: Callable[[State], None],
) -> tuple[dict[str, Any], _train_output.Loop | None]:
    """Body of the child process: train a model and score it."""
    from benchsuite.learning import trainer
    from benchsuite.learning.scores import result_of
    from benchsuite.sweep import processes

    if case.device == "cpu":
        processes.limit_memory()
    reported = -math.inf

    def on_progress(progress: Progress) -> None:
        nonlocal reported
        now = time.monotonic()
        if progress.share >= 1 or now - reported >= _SECONDS_BETWEEN_REPORTS:
            reported = now
            report(_state(case.model, at, progress))

    outcome = trainer.train(
        case,
        _task(exercise.task, case, exercise.options),
        exercise.recipe,
        path=path,
        resume=resume,
        on_progress=on_progress,
    )
    values, continuation = result_of(outcome)
    if continuation is None:
        return values, None
    return values, _train_output.Loop(
        continuation.observed_RT[0], continuation.generated_RS[0], continuation.truth_RS[0]
    )


def _state(model: str, at: tuple[int, int], progress: Progress) -> State:
    """Where the training of one of several models stands."""
    from benchsuite.units import show_clock

    of = f"/{progress.steps}" if progress.steps is not None else ""
    left = progress.seconds / progress.share - progress.seconds if progress.share else 0.0
    detail = (
        f"step {progress.step}{of}  loss {progress.loss:.3g}  best {progress.best:.3g}"
        f"  ETA {show_clock(left)}"
    )
    share = progress.share
    return State(model, *at, share=share, detail=detail, always=share >= 1)
