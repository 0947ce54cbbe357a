"""`benchsuite train`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli import _train_output
from benchsuite.cli._app import (
    EXIT_INTERRUPTED,
    AsJson,
    AxisSetting,
    Home,
    TaskOption,
    app,
    duration,
    message,
    print_json,
)
from benchsuite.cli._progress import Display, State, progress
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError, described

if TYPE_CHECKING:
    from benchsuite.catalog.tasks import TaskSpec
    from benchsuite.grid.axes import Value
    from benchsuite.grid.case import Case
    from benchsuite.learning.scores import Continuation
    from benchsuite.learning.trainer import Progress
    from benchsuite.tasks.recipe import Recipe
    from benchsuite.tasks.task import Task


@app.command(epilog="Example: benchsuite train delay lstm tcn -t lag=64 -a match=params")
def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A name of `benchsuite list tasks`.")],
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Models, trained one after another.")
    ],
    axis: AxisSetting = None,
    option: TaskOption = None,
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
    chrono: Annotated[
        bool, typer.Option("--chrono", help="Initialise LSTM and GRU gates for long lags (chrono).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Directory of scores and pictures (default: HOME/train/TASK).",
        ),
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
    options = dict(option_of(text) for text in option or [])
    given = {"steps": steps, "seconds": seconds, "lr": lr, "clip": clip, "patience": patience}
    cases = [
        Case(**{**spec.axes, **settings, "model": name, "mode": "train"})  # type: ignore[arg-type]
        for name in names
    ]
    built_task = _task(spec, cases[0], options)
    recipe = _recipe(built_task.recipe, optimizer, {**given, "chrono": chrono or None})
    label = "+".join([task, *(f"{name}={value}" for name, value in built_task.options.items())])
    root = home_of(home) / "train" / label
    runs, loops = [], {}
    try:
        with progress() as display:
            for number, case in enumerate(cases, 1):
                show = partial(_show, display, case.model, number, len(cases))
                run, loops[case.model] = _run(
                    case, built_task, recipe, root, resume=resume, show=show
                )
                if run["status"] != "ok":
                    display.note(f"{run['status']}: {case.model}: {run['reason']}")
                runs.append(run)
    except KeyboardInterrupt:
        message("interrupted; add --resume to the same command to continue")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    document = {
        "task": task,
        "options": dict(built_task.options),
        "seq_len": cases[0].seq_len,
        "batch_size": cases[0].batch_size,
        "match": cases[0].match,
        "baselines": built_task.baseline_errors(),
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


def option_of(text: str) -> tuple[str, str]:
    """Split "NAME=N" into the name and the value of a task's option."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"task option {text!r} has no '='; write NAME=N")
    return name, value


def _task(spec: TaskSpec, case: Case, options: dict[str, str]) -> Task:
    from benchsuite.tasks.task import make_task

    return make_task(
        spec.name,
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
    case: Case,
    task: Task,
    recipe: Recipe,
    root: Path,
    *,
    resume: bool,
    show: Callable[[Progress], None],
) -> tuple[dict[str, Any], Continuation | None]:
    """Train one model; its result, or why there is none, is also written to disk."""
    from benchsuite.learning import trainer
    from benchsuite.learning.scores import result_of

    changes = [f"{k}={v}" for k, v in recipe.identity().items() if v != task.recipe.identity()[k]]
    directory = root / "-".join([case.id, *changes])
    result: dict[str, Any] = {
        "model": case.model,
        "case": case.id,
        "status": "ok",
        "reason": "",
        "directory": str(directory),
    }
    loop = None
    try:
        outcome = trainer.train(
            case,
            task,
            recipe,
            path=directory / "checkpoint.pt",
            resume=resume,
            on_progress=show,
        )
        values, loop = result_of(outcome)
        result.update(values)
    except Unsupported as reason:
        result.update(status="skipped", reason=str(reason))
    except UsageError:
        raise
    except BenchsuiteError as error:
        result.update(status="failed", reason=str(error))
    except Exception as error:  # a model from outside may fail in any way; the others go on
        result.update(status="failed", reason=described(error))
    _train_output.save(directory / "result.json", json.dumps(result, indent=1, allow_nan=False))
    return result, loop


def _show(display: Display, model: str, number: int, total: int, state: Progress) -> None:
    """Show where the training of one of several models stands."""
    from benchsuite.units import show_clock

    of = f"/{state.steps}" if state.steps is not None else ""
    left = state.seconds / state.share - state.seconds if state.share else 0.0
    detail = (
        f"step {state.step}{of}  loss {state.loss:.3g}  best {state.best:.3g}"
        f"  ETA {show_clock(left)}"
    )
    share = state.share
    display.show(State(model, number, total, share=share, detail=detail, always=share >= 1))
