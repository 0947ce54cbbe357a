"""`benchsuite field`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import AsJson, AxisSetting, Home, TaskOption, app, message, print_json
from benchsuite.cli._progress import State, progress
from benchsuite.errors import BenchsuiteError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.field.summary import ModelField
    from benchsuite.grid.case import Case
    from benchsuite.tasks.task import Task

    Exercise = Callable[[Case], tuple[nn.Module, int, Callable[[int, int], Tensor]]]

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
    option: TaskOption = None,
    train: Annotated[bool, typer.Option("--train", help="Train on the task first.")] = False,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Optimiser steps of that training.")
    ] = None,
    chrono: Annotated[
        bool, typer.Option("--chrono", help="Initialise LSTM and GRU gates for long lags (chrono).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="DIR", help="Directory of the figure (default: HOME/field)."
        ),
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
    exercise = _exercise(task, option or [], train=train, steps=steps, chrono=chrono)
    found: dict[str, ModelField | None] = {}
    with progress() as display:
        for number, case in enumerate(cases, 1):
            if len(cases) > 1:
                display.show(State(case.model, number, len(cases), always=True))
            try:
                found[case.model] = _field(case, exercise, causal=causal)
            except BenchsuiteError as error:
                if len(cases) == 1:
                    raise
                display.note(f"error: {case.model}: {error}")
                found[case.model] = None
    for model, result in found.items():
        for note in result.notes if result is not None else ():
            message(f"note: {model}: {note}")
    rows = [{"model": model, **_plain(result)} for model, result in found.items()]
    what = f"; {'after training on ' if train else ''}{task}" if task else ""
    figure = _draw(found, cases[0], what, (output or home_of(home) / "field") / "field.svg")
    if as_json:
        print_json(rows[0] if len(rows) == 1 else rows)
    else:
        _print_table(rows, found)
        if figure is not None:
            print(figure)
    if None in found.values():
        raise typer.Exit(1)


def _cases(models: list[str], axis: list[str]) -> list[Case]:
    from benchsuite.catalog.models import MODELS
    from benchsuite.grid.axes import parse_single
    from benchsuite.grid.case import Case

    settings: dict[str, Any] = parse_single(axis, _AXES, "axis of a field", "a field has")
    names = [spec.name for spec in MODELS] if models == ["all"] else list(dict.fromkeys(models))
    return [Case(model=name, **settings) for name in names]


def _field(case: Case, exercise: Exercise | None, *, causal: bool) -> ModelField:
    import torch

    from benchsuite.field.summary import field_of
    from benchsuite.runtime.assemble import assemble

    torch.set_num_threads(case.num_threads)
    module: nn.Module
    if exercise is None:
        module, input_size, draw = assemble(case), case.input_size, None
    else:
        module, input_size, draw = exercise(case)
    return field_of(
        module,
        input_size=input_size,
        seq_len=case.seq_len,
        seed=case.seed,
        causal=causal,
        draw=draw,
    )


def _exercise(
    task: str | None, options: list[str], *, train: bool, steps: int | None, chrono: bool
) -> Exercise | None:
    """Return a function from a case to its module with the task's head, features and inputs."""
    if task is None:
        return None
    from benchsuite.catalog.tasks import TASKS
    from benchsuite.cli.train import option_of

    name, given = TASKS.get(task).name, dict(map(option_of, options))

    def put(case: Case) -> tuple[nn.Module, int, Callable[[int, int], Tensor]]:
        from benchsuite.learning import trainer
        from benchsuite.learning.predictor import build_predictor
        from benchsuite.tasks.task import make_task

        def made(seq_len: int, rows: int) -> Task:
            own = {"seq_len": seq_len, "batch_size": rows, "seed": case.seed}
            return make_task(name, **own, options=given)

        exercise = made(case.seq_len, _BATCH)
        recipe = exercise.recipe.replace(
            chrono=chrono, **({} if steps is None else {"steps": steps})
        )
        case = case.replace(mode="train", batch_size=_BATCH)
        if train:
            built = trainer.train(case, exercise, recipe).built
        else:
            built = build_predictor(case, exercise, chrono=chrono)
        return (
            built.module.double(),
            exercise.input_size,
            lambda samples, length: made(length, samples).batch(0).x_BTF,
        )

    return put


def _plain(result: ModelField | None) -> dict[str, Any]:
    from benchsuite.field.summary import NOT_FOUND

    return (NOT_FOUND if result is None else result).as_dict()


def _draw(found: dict[str, ModelField | None], case: Case, what: str, path: Path) -> Path | None:
    """Write the figure, if there is a gradient to show."""
    from benchsuite.cli._train_output import save
    from benchsuite.report.figures.gradient_by_lag import Curve, lag_figure

    curves = {}
    for model, result in found.items():
        effective = result.effective if result is not None else None
        if effective is None:
            continue
        half, most = effective.quantile(0.5), effective.quantile(0.95)
        curves[model] = Curve(
            lags=effective.lags,
            norm=effective.norm,
            error=effective.norm_error,
            marks=(half - 1, most - 1),
            note=f"50 % in {half}, 95 % in {most} steps",
        )
    if not curves:
        return None
    title = (
        f"gradient norm against lag: T={case.seq_len}, H={case.hidden_size},"
        f" I={case.input_size}, float64; match={case.match}{what}"
    )
    save(path, lag_figure(curves, title))
    return path


def _print_table(rows: list[dict[str, Any]], found: dict[str, ModelField | None]) -> None:
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
        result = found[row["model"]]
        effective = result.effective if result is not None else None
        table.add_row(
            row["model"],
            _cell(row["receptive_field"]),
            _cell(row["probed_field"]),
            _cell(row["causal"]),
            f"{_cell(row['erf50'])}/{_cell(row['erf95'])}{'*' if row['saturated'] else ''}",
            *(_cell(row[name]) for name in ("centre_of_mass", "half_life")),
            f"{_cell(row['support'])}/{_cell(row['horizon'])}",
            f"{effective.relative_error:.1%}" if effective is not None else "–",
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
