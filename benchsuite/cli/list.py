"""`benchsuite list`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from benchsuite.cli._app import AsJson, app, print_json
from benchsuite.errors import unknown

#: Fields too long for a column; each is a line under the summary.
_DETAILS = ("allowed", "axes", "options", "measures")


@app.command("list", epilog="Example: benchsuite list models --json")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT", help="models, tasks, measures, studies or axes (default: all)."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List models, tasks, measures, studies and axes."""
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
    from rich.table import Table

    from benchsuite.cli._output import console

    for name, rows in chosen.items():
        table = Table(title=name, title_justify="left", box=None, pad_edge=False)
        short = [column for column in rows[0] if column not in _DETAILS]
        for column in short:
            table.add_column(column, no_wrap=column != "summary")
        for row in rows:
            cells = {column: _cell(row[column]) for column in short}
            cells["summary"] += "".join(
                f"\n{column}: {_cell(row[column])}" for column in _DETAILS if row.get(column)
            )
            table.add_row(*cells.values())
        console().print(table, highlight=False)
        print()


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
            "alias": axis.alias or None,
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
    return f"{low} to {high}" if low is not None else ""


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
