"""`benchsuite list`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from benchsuite.cli._app import AsJson, app, print_json
from benchsuite.errors import unknown

#: Fields too long for a column; each is a line under the summary.
_DETAILS = ("mathematics", "execution", "allowed", "axes", "options", "measures")
#: Fields that depend on the machine; the documentation's tables leave them out.
_OF_MACHINE = ("available", "reason")


@app.command("list", epilog="Example: benchsuite list models --json")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="models, tasks, measures, engines, studies or axes (default: all).",
        ),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown tables, as in docs/catalog.md.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List models, tasks, measures, engines, studies and axes."""
    tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "models": _models,
        "tasks": _tasks,
        "measures": _measures,
        "engines": _engines,
        "studies": _studies,
        "axes": _axes,
    }
    if what is not None and what not in tables:
        raise unknown("list", what, tables)
    chosen = {what: tables[what]()} if what else {name: make() for name, make in tables.items()}
    if as_json:
        print_json(chosen[what] if what else chosen)
        return
    if markdown:
        print("\n".join(line for name, rows in chosen.items() for line in _markdown(name, rows)))
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


def _markdown(name: str, rows: list[dict[str, Any]]) -> Iterator[str]:
    """A heading and a table of rows that have the same columns."""
    rows = [{key: row[key] for key in row if key not in _OF_MACHINE} for row in rows]
    yield from (f"## {name.capitalize()}", "", f"| {' | '.join(rows[0])} |")
    yield "|" + "-|" * len(rows[0])
    for row in rows:
        yield f"| {' | '.join(_cell(value).replace('|', '/') for value in row.values())} |"
    yield ""


def _models() -> list[dict[str, Any]]:
    from benchsuite.catalog.models import MODELS

    columns = ("name", "family", "mathematics", "execution", "summary")
    return [{column: getattr(model, column) for column in columns} for model in MODELS]


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


def _engines() -> list[dict[str, Any]]:
    from benchsuite.catalog.engines import ENGINES

    reasons = {engine.name: engine.factory()().unavailable() for engine in ENGINES}
    return [
        {
            "name": engine.name,
            "available": not reasons[engine.name],
            "reason": reasons[engine.name] or None,
            "summary": engine.summary,
        }
        for engine in ENGINES
    ]


def _studies() -> list[dict[str, Any]]:
    from benchsuite.grid.study_file import load_study, shipped

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
    from benchsuite.grid.axes import AXES
    from benchsuite.grid.case import DEFAULTS

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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
