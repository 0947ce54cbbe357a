"""`benchsuite field`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import (
    AsJson,
    AxisSetting,
    Chrono,
    Home,
    TaskOptions,
    app,
    message,
    output_option,
    print_json,
    task_options,
)
from benchsuite.cli._progress import State, progress
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError
from benchsuite.sweep.launchers.isolated import FIRST_STEP, Children

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from benchsuite.field.effective import EffectiveField
    from benchsuite.grid.case import Case
    from benchsuite.tasks.task import Task

#: What a child process imports before it looks for a model's field.
_MODULES = (__name__, "benchsuite.field.summary", "benchsuite.runtime.assemble")
#: Axes that change a model's field.
_AXES = (
    "seq_len",
    "hidden_size",
    "input_size",
    "num_layers",
    "bidirectional",
    "num_threads",
    "match",
    "seed",
)
#: Rows of a training batch.
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exercise:
    """A task whose inputs and head a model gets.

    Attributes:
        task: Name of the task.
        options: The task's options.
        train: Train the model first.
        steps: Optimiser steps of that training; None: as many as the task's recipe has.
        chrono: Initialise the gates for long lags.
    """

    task: str
    options: dict[str, str]
    train: bool
    steps: int | None
    chrono: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gradient:
    """Gradient against lag, as in `EffectiveField`.

    Attributes:
        lags: The lags (K), ascending.
        norm: Mean norm of the Jacobian (K).
        norm_error: Its standard error (K).
        half: Timesteps that hold half of the norm.
        most: Timesteps that hold 95 %.
        relative_error: The greatest standard error within those, relative to the norm.
    """

    lags: np.ndarray
    norm: np.ndarray
    norm_error: np.ndarray
    half: int
    most: int
    relative_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The field of one model, in plain values.

    Attributes:
        row: Its numbers, as `--json` prints them.
        notes: A sentence for each thing that is not known or disagrees.
        gradient: None where no gradient reaches the input, or nothing could be found.
    """

    row: dict[str, Any]
    notes: tuple[str, ...] = ()
    gradient: _Gradient | None = None


@app.command(epilog="Example: benchsuite field lstm tcn -a T=512 -o fields")
def field(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Names of models, package.module:factory, or all."),
    ],
    axis: AxisSetting = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Fail if an output depends on later inputs.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(metavar="TASK", help="Use this task's inputs, and its head on the model."),
    ] = None,
    option: TaskOptions = None,
    train: Annotated[bool, typer.Option("--train", help="Train on the task first.")] = False,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Optimiser steps of that training.")
    ] = None,
    chrono: Chrono = False,
    output: Annotated[
        Path | None, output_option("Directory of the figure (default: HOME/field).")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show how far back models can see, and how far they look.

    The receptive field is the number of timesteps that one output may depend on: by formula
    (field) and tested by running the model (probed). The effective field is the number of
    timesteps that hold half (erf50) or 95 % (erf95) of the norm of an output's gradient. A figure
    shows the gradient against the lag.
    """
    from benchsuite.records.home import home_of

    cases = _cases(models, axis or [])
    if task is None and (train or option or chrono):
        raise UsageError("--train, --task-option and --chrono need a --task; see `list tasks`")
    if steps is not None and not train:
        raise UsageError(f"--steps {steps} needs a training; add --train")
    options = task_options(option)
    exercise = _exercise(task, options, train=train, steps=steps, chrono=chrono)
    found: dict[str, _Found] = {}
    failed = False
    modules = _MODULES if len(cases) == 1 else (*_MODULES, FIRST_STEP)
    with Children(*modules) as children, progress() as display:
        for number, case in enumerate(cases, 1):
            if len(cases) > 1:
                display.show(State(case.model, number, len(cases), always=True))
            try:
                found[case.model] = children.call(_field, case, exercise, causal)
            except BenchsuiteError as error:
                if len(cases) == 1:
                    raise
                # Of all models, some are not for this device; one that was named is an error.
                skipped = models == ["all"] and isinstance(error, Unsupported)
                display.note(f"{'skipped' if skipped else 'error'}: {case.model}: {error}")
                found[case.model], failed = _nothing(), failed or not skipped
    for model, result in found.items():
        for note in result.notes:
            message(f"note: {model}: {note}")
    rows = [{"model": model, **result.row} for model, result in found.items()]
    what = f"; {'after training on ' if train else ''}{task}" if task else ""
    figure = _draw(found, cases[0], what, (output or home_of(home) / "field") / "field.svg")
    if as_json:
        print_json(rows[0] if len(rows) == 1 else rows)
    else:
        _print_table(rows, found)
        if figure is not None:
            print(figure)
    if failed:
        raise typer.Exit(1)


def _cases(models: list[str], axis: list[str]) -> list[Case]:
    from benchsuite.catalog.models import MODELS
    from benchsuite.grid.axes import parse_single
    from benchsuite.grid.case import Case

    settings: dict[str, Any] = parse_single(axis, _AXES, "axis of a field", "a field has")
    names = [spec.name for spec in MODELS] if models == ["all"] else list(dict.fromkeys(models))
    return [Case(model=name, **settings) for name in names]


def _field(case: Case, exercise: _Exercise | None, causal: bool) -> _Found:
    """Body of a child process: the field of one model."""
    from benchsuite.field.summary import field_of
    from benchsuite.runtime.assemble import assemble
    from benchsuite.sweep import processes

    processes.limit_memory()
    module: nn.Module
    draw: Callable[[int, int], Tensor] | None
    if exercise is None:
        module, input_size, draw = assemble(case), case.input_size, None
    else:
        module, input_size, draw = _exercised(case, exercise)
    result = field_of(
        module,
        input_size=input_size,
        seq_len=case.seq_len,
        seed=case.seed,
        causal=causal,
        draw=draw,
    )
    effective = result.effective
    return _Found(
        row=result.as_dict(),
        notes=result.notes,
        gradient=_gradient(effective) if effective is not None else None,
    )


def _gradient(effective: EffectiveField) -> _Gradient:
    return _Gradient(
        lags=effective.lags,
        norm=effective.norm,
        norm_error=effective.norm_error,
        half=effective.quantile(0.5),
        most=effective.quantile(0.95),
        relative_error=effective.relative_error,
    )


def _nothing() -> _Found:
    """The row of a model whose field was not found."""
    from benchsuite.field.summary import NOT_FOUND

    return _Found(row=NOT_FOUND.as_dict())


def _exercise(
    task: str | None, options: dict[str, str], *, train: bool, steps: int | None, chrono: bool
) -> _Exercise | None:
    if task is None:
        return None
    from benchsuite.catalog.tasks import TASKS

    name = TASKS.get(task).name
    return _Exercise(task=name, options=options, train=train, steps=steps, chrono=chrono)


def _exercised(
    case: Case, exercise: _Exercise
) -> tuple[nn.Module, int, Callable[[int, int], Tensor]]:
    """A case's module with the task's head, trained if asked for; its features; its inputs."""
    from benchsuite.learning import trainer
    from benchsuite.learning.predictor import build_predictor
    from benchsuite.tasks.task import make_task

    def made(seq_len: int, rows: int) -> Task:
        own = {"seq_len": seq_len, "batch_size": rows, "seed": case.seed}
        return make_task(exercise.task, **own, options=exercise.options)

    task = made(case.seq_len, _BATCH)
    steps = {} if exercise.steps is None else {"steps": exercise.steps}
    recipe = task.recipe.replace(chrono=exercise.chrono, **steps)
    case = case.replace(mode="train", batch_size=_BATCH)
    if exercise.train:
        built = trainer.train(case, task, recipe).built
    else:
        built = build_predictor(case, task, chrono=exercise.chrono)
    return (
        built.module.double(),
        task.input_size,
        lambda samples, length: made(length, samples).batch(0).x_BTF,
    )


def _draw(found: dict[str, _Found], case: Case, what: str, path: Path) -> Path | None:
    """Write the figure, if there is a gradient to show."""
    from benchsuite.cli._train_output import save
    from benchsuite.report.figures.gradient_by_lag import Curve, lag_figure

    curves = {
        model: Curve(
            lags=gradient.lags,
            norm=gradient.norm,
            error=gradient.norm_error,
            marks=(gradient.half - 1, gradient.most - 1),
            note=f"50 % in {gradient.half}, 95 % in {gradient.most} steps",
        )
        for model, result in found.items()
        if (gradient := result.gradient) is not None
    }
    if not curves:
        return None
    title = (
        f"gradient norm against lag: T={case.seq_len}, H={case.hidden_size},"
        f" I={case.input_size}, float64; match={case.match}{what}"
    )
    save(path, lag_figure(curves, title))
    return path


def _print_table(rows: list[dict[str, Any]], found: dict[str, _Found]) -> None:
    from rich.table import Table

    from benchsuite.cli._output import console, paragraph

    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("model", overflow="fold")
    for head in (
        "field",
        "probed",
        "causal",
        "erf50/95",
        "centre",
        "halves",
        "support",
        "error",
    ):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        gradient = found[row["model"]].gradient
        table.add_row(
            row["model"],
            _cell(row["receptive_field"]),
            _cell(row["probed_field"]),
            _cell(row["causal"]),
            f"{_cell(row['erf50'])}/{_cell(row['erf95'])}{'*' if row['saturated'] else ''}",
            *(_cell(row[name]) for name in ("centre_of_mass", "half_life")),
            f"{_cell(row['support'])}/{_cell(row['horizon'])}",
            f"{gradient.relative_error:.1%}" if gradient is not None else "–",
        )
    console().print(table)
    note = (
        "All in timesteps. centre: mean lag of the gradient; halves: steps in which its norm"
        " halves, from a fit; support: from the first to the last lag with a gradient, of those"
        " looked at; error: standard error of the norm within erf95, at most."
    )
    if any(row["saturated"] for row in rows):
        note += " *: more may lie beyond the timesteps looked at."
    print(paragraph(note))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
