"""`benchsuite list`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from benchsuite.cli._app import AsJson, app, print_json
from benchsuite.errors import unknown


@app.command("list", epilog="Example: benchsuite list models --json")
def list_(
    what: Annotated[
        str | None, typer.Argument(metavar="[models|tasks|measures|studies|axes]")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the models, tasks, measures, studies and axes there are."""
    tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "models": _models,
        "tasks": _tasks,
        "measures": _measures,
        "studies": _studies,
        "axes": _axes,
    }
    if what is not None and what not in tables:
        raise unknown("list", what, tables)
    chosen = {what: tables[what]()} if what else {name: make() for name, make in tables.items()}
    if as_json:
        print_json(chosen[what] if what else chosen)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, rows in chosen.items():
        table = Table(title=name, title_justify="left", box=None, pad_edge=False)
        for column in rows[0]:
            table.add_column(column, overflow="fold", no_wrap=column == "name")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        console.print(table)
        console.print()


def _models() -> list[dict[str, Any]]:
    from benchsuite.catalog.models import MODELS

    return [{"name": m.name, "family": m.family, "summary": m.summary} for m in MODELS]


def _tasks() -> list[dict[str, Any]]:
    from benchsuite.catalog.tasks import TASKS

    return [
        {
            "name": t.name,
            "axes": [f"{axis}={value}" for axis, value in t.axes.items()],
            "options": [f"{option}: {meaning}" for option, meaning in t.options.items()],
            "summary": t.summary,
        }
        for t in TASKS
    ]


def _measures() -> list[dict[str, Any]]:
    from benchsuite.catalog.measures import MEASURES

    return [
        {"name": m.name, "unit": m.unit, "better": m.direction, "summary": m.summary}
        for m in MEASURES
    ]


def _studies() -> list[dict[str, Any]]:
    from benchsuite.grid.study import load_study, shipped

    return [
        {
            "name": study.name,
            "cases": study.size,
            "measures": list(study.measures),
            "summary": study.description,
        }
        for study in map(load_study, shipped())
    ]


def _axes() -> list[dict[str, Any]]:
    from benchsuite.grid.case import AXES, DEFAULTS

    return [
        {
            "name": axis.name,
            "allowed": list(axis.choices) or _bounds(axis.low, axis.high, axis.kind),
            "default": DEFAULTS[axis.name] or None
            if axis.name == "input_size"
            else DEFAULTS[axis.name],
            "summary": axis.help,
        }
        for axis in AXES.values()
    ]


def _bounds(low: int | None, high: int | None, kind: type) -> str:
    if kind is bool:
        return "true, false"
    return f"{low} to {high}" if low is not None else "see summary"


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
