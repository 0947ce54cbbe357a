"""`benchsuite train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli import _train_output
from benchsuite.cli._app import (
    EXIT_INTERRUPTED,
    AsJson,
    AxisSettings,
    Home,
    app,
    duration,
    print_json,
    say,
)
from benchsuite.cli._isolated import in_child
from benchsuite.cli._progress import Show, training_progress
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError

if TYPE_CHECKING:
    from benchsuite.catalog.tasks import TaskSpec
    from benchsuite.grid.axes import Value
    from benchsuite.grid.case import Case
    from benchsuite.learning.scores import Continuation
    from benchsuite.tasks.recipe import Recipe
    from benchsuite.tasks.task import Task


@app.command(
    epilog="Example: benchsuite train delay lstm tcn -t lag=64 -a match=params --steps 500"
)
def train(
    task: Annotated[str, typer.Argument(metavar="TASK", help="A name of `benchsuite list tasks`.")],
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Models, trained one after another.")
    ],
    axis: AxisSettings = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-t", "--task-option", metavar="NAME=N", help="Set an option of the task."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps at most.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            parser=duration, metavar="TIME", help="Time at most, for each model: 90, 2min."
        ),
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam or lbfgs.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest norm of a gradient.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many points of the curve without gain.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of parameters and data.")] = None,
    chrono: Annotated[
        bool, typer.Option("--chrono", help="Chrono initialisation of LSTM and GRU gates.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Directory of scores and pictures.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from checkpoints, where there are any.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train models on a task: learning curves, scores beside baselines, generated sequences."""
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
    made = _task(spec, cases[0], options)
    recipe = _recipe(made.recipe, optimizer, {**given, "chrono": chrono or None})
    label = "+".join([task, *(f"{name}={value}" for name, value in made.options.items())])
    place = home_of(home) / "train" / label
    runs, loops = [], {}
    try:
        with training_progress(len(cases)) as show:
            for case in cases:
                run, loops[case.model] = _run(case, made, recipe, place, resume=resume, show=show)
                runs.append(run)
    except KeyboardInterrupt:
        say("interrupted; the same command with --resume goes on from the last point of the curve")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    document = {
        "task": task,
        "options": dict(made.options),
        "seq_len": cases[0].seq_len,
        "batch_size": cases[0].batch_size,
        "match": cases[0].match,
        "baselines": made.baseline_errors(),
        "runs": runs,
    }
    document["files"] = _train_output.write(output or place, document, loops)
    if as_json:
        print_json(document)
    else:
        _train_output.show(document)
    if any(run["status"] == "failed" for run in runs):
        raise typer.Exit(1)


def _settings(axis: list[str], seed: int | None) -> dict[str, Value]:
    """The axes that were set, one value each; `device=auto` resolved."""
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
    """Name and value of a task's option."""
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


def _recipe(own: Recipe, optimizer: str | None, given: dict[str, Any]) -> Recipe:
    """The task's recipe with what was given; a budget given in seconds alone has no steps."""
    from benchsuite.errors import unknown
    from benchsuite.tasks.recipe import DEFAULTS

    if optimizer is not None and optimizer != own.optimizer:
        if optimizer not in DEFAULTS:
            raise unknown("optimizer", optimizer, DEFAULTS)
        own = DEFAULTS[optimizer]
    changes = {name: value for name, value in given.items() if value is not None}
    if "seconds" in changes:
        changes.setdefault("steps", None)
    return own.replace(**changes)


def _run(
    case: Case, task: Task, recipe: Recipe, place: Path, *, resume: bool, show: Show
) -> tuple[dict[str, Any], Continuation | None]:
    """Train one model in a child process; whatever happens becomes a result, kept on disk."""
    from benchsuite.learning import trainer
    from benchsuite.learning.scores import result_of

    named = [f"{k}={v}" for k, v in recipe.identity().items() if v != task.recipe.identity()[k]]
    directory = place / "-".join([case.id, *named])
    result: dict[str, Any] = {
        "model": case.model,
        "case": case.id,
        "status": "ok",
        "reason": "",
        "directory": str(directory),
    }
    loop = None
    try:
        values, loop = in_child(
            lambda report: result_of(
                trainer.train(
                    case,
                    task,
                    recipe,
                    path=directory / "checkpoint.pt",
                    resume=resume,
                    on_progress=report,
                )
            ),
            on_report=lambda progress: show(case.model, progress),
        )
        result.update(values)
    except Unsupported as reason:
        result.update(status="skipped", reason=str(reason))
    except UsageError:
        raise
    except BenchsuiteError as error:  # a model from outside may fail in any way; the others go on
        result.update(status="failed", reason=str(error))
    if result["status"] != "ok":
        say(f"{result['status']}: {case.model}: {result['reason']}")
    _train_output.save(directory / "result.json", json.dumps(result, indent=1, allow_nan=False))
    return result, loop
