"""`benchsuite field`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import PLAIN_WIDTH, AsJson, AxisSettings, Home, app, print_json, say
from benchsuite.cli._isolated import in_child
from benchsuite.errors import BenchsuiteError, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.field.summary import ModelField
    from benchsuite.grid.case import Case
    from benchsuite.tasks.task import Task

    Exercise = Callable[[Case], tuple[nn.Module, int, Callable[[int, int], Tensor]]]

#: Axes that change a model's field; the others are of how it is run.
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


@app.command(epilog="Example: benchsuite field lstm tcn -a seq_len=512 -o fields")
def field(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Models, package.module:factory, or all."),
    ],
    axis: AxisSettings = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Fail for a model that sees the future.")
    ] = False,
    task: Annotated[
        str | None, typer.Option(help="Take this task's inputs, and its head on the model.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("-t", "--task-option", metavar="NAME=N", help="Set an option of the task."),
    ] = None,
    train: Annotated[bool, typer.Option("--train", help="Train on the task first.")] = False,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of that training.")] = None,
    chrono: Annotated[
        bool, typer.Option("--chrono", help="Chrono initialisation of LSTM and GRU gates.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Directory of the figure (default: field in --home)."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """What models can see and what they look at: by formula, as probed, and by gradient.

    Lags are counted in timesteps; erf50 and erf95 are the steps that hold half and 95 % of the
    gradient norm (erf50_sq, erf95_sq: of its square) within the horizon.
    """
    from benchsuite.records.home import home_of

    cases = _cases(models, axis or [])
    if task is None and (train or option or chrono):
        raise UsageError("--train, --task-option and --chrono need a --task; see `list tasks`")
    if steps is not None and not train:
        raise UsageError(f"--steps {steps} is of a training; add --train")
    exercise = _exercise(task, option or [], train=train, steps=steps, chrono=chrono)
    found: dict[str, ModelField | None] = {}
    for case in _shown(cases):
        try:
            found[case.model] = _in_child(case, exercise, causal=causal)
        except BenchsuiteError as error:
            if len(cases) == 1:
                raise
            say(f"error: {case.model}: {error}")
            found[case.model] = None
    for model, result in found.items():
        for note in result.notes if result is not None else ():
            say(f"note: {model}: {note}")
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


def _in_child(case: Case, exercise: Exercise | None, *, causal: bool) -> ModelField:
    return in_child(lambda _: _field(case, exercise, causal=causal))


def _field(case: Case, exercise: Exercise | None, *, causal: bool) -> ModelField:
    import torch

    from benchsuite.field.summary import field_of

    torch.set_num_threads(case.num_threads)
    if exercise is None:
        module, input_size, draw = _module(case), case.input_size, None
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
    """How a case's model is put to a task: its module with a head, features, and inputs."""
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


def _module(case: Case) -> nn.Module:
    """The case's model as it is before training."""
    import torch

    from benchsuite.runtime.build import build
    from benchsuite.runtime.match import matched

    torch.manual_seed(case.seed)
    return build(case.model, matched(case)[0])


def _plain(result: ModelField | None) -> dict[str, Any]:
    from benchsuite.field.summary import NOT_FOUND

    return (NOT_FOUND if result is None else result).as_dict()


def _draw(found: dict[str, ModelField | None], case: Case, what: str, path: Path) -> Path | None:
    """Write the figure, if there is a gradient to draw."""
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

    from benchsuite.cli._console import SafeConsole

    table = Table(box=None, pad_edge=False)
    columns = ("field", "probed", "causal", "erf50/95", "squared", "centre", "half-life", "support")
    table.add_column("model", overflow="fold")
    for column in (*columns, "horizon", "error"):
        table.add_column(column, justify="right")
    for row in rows:
        result = found[row["model"]]
        effective = result.effective if result is not None else None
        table.add_row(
            row["model"],
            _cell(row["receptive_field"]),
            _cell(row["probed_field"]),
            _cell(row["causal"]),
            f"{_cell(row['erf50'])}/{_cell(row['erf95'])}{'*' if row['saturated'] else ''}",
            f"{_cell(row['erf50_sq'])}/{_cell(row['erf95_sq'])}",
            *(_cell(row[name]) for name in ("centre_of_mass", "half_life", "support", "horizon")),
            f"{effective.relative_error:.1%}" if effective is not None else "–",
        )
    console = SafeConsole() if sys.stdout.isatty() else SafeConsole(width=PLAIN_WIDTH)
    console.print(table)
    console.print(
        "In timesteps. squared: erf50/95 of the squared norm; error: greatest standard error of a"
        " norm within erf95; *: saturated, more may lie beyond the horizon",
        highlight=False,
    )


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _shown(cases: list[Case]) -> Iterator[Case]:
    """The cases one by one, told on standard error: a bar on a terminal, a line each elsewhere."""
    if not sys.stderr.isatty():
        for number, case in enumerate(cases, 1):
            if len(cases) > 1:
                say(f"[{number}/{len(cases)}] {case.model}")
            yield case
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress

    from benchsuite.cli._console import FieldColumn, SafeConsole

    columns = (FieldColumn("{model}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=SafeConsole(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(cases), model="")
        for case in cases:
            bar.update(task, model=case.model)
            yield case
            bar.advance(task)
