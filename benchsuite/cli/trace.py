"""`benchsuite trace`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import AsJson, AxisSetting, Home, app, output_option, print_json

if TYPE_CHECKING:
    from benchsuite.grid.case import Case
    from benchsuite.profiling.compare import Comparison
    from benchsuite.profiling.trace_case import Traced


@app.command(epilog="Example: benchsuite trace lstm_cell lstm -a T=512 -a mode=train")
def trace(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A name of `benchsuite list models`, or package.module:factory."
        ),
    ],
    other: Annotated[
        str | None, typer.Argument(metavar="MODEL2", help="A model to compare it with.")
    ] = None,
    axis: AxisSetting = None,
    output: Annotated[
        Path | None, output_option("Directory of the traces (default: HOME/traces).")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Trace a step and explain where its time and memory go.

    A training step by default; -a mode=infer traces a forward pass. With two models their time per
    timestep is compared.
    """
    cases = [_case(name, axis or []) for name in (model, other) if name]
    from benchsuite.profiling.compare import compare
    from benchsuite.profiling.trace_case import trace_case
    from benchsuite.records.home import home_of

    root = output or home_of(home) / "traces"
    traced = [trace_case(case, root) for case in cases]
    comparison = compare(*(one.explanation for one in traced)) if other else None
    if as_json:
        print_json(
            {
                "traces": [
                    {
                        **one.explanation.to_dict(),
                        "files": {name: str(path) for name, path in one.files.items()},
                    }
                    for one in traced
                ],
                "comparison": comparison.to_dict() if comparison else None,
            }
        )
        return
    for one in traced:
        _show(one)
    if comparison:
        _show_comparison(comparison, [case.model for case in cases])


def _case(model: str, axis: list[str]) -> Case:
    """One case; by default of a training step, on CUDA if this machine has it."""
    from benchsuite.grid.axes import AXES, parse_single
    from benchsuite.grid.case import Case
    from benchsuite.host import usable_device

    refused = {"model": "models are arguments, `benchsuite trace MODEL`"}
    values: dict[str, Any] = {"mode": "train", "device": "auto"}
    values.update(parse_single(axis, AXES, "axis", "a trace takes", refused=refused))
    return Case(model=model, **{**values, "device": usable_device(values["device"])})


def _show(traced: Traced) -> None:
    from rich.table import Table

    from benchsuite import units
    from benchsuite.cli._output import console, paragraph

    explanation = traced.explanation
    out = console()
    out.print(explanation.case, style="bold")
    for sentence in explanation.sentences:
        print(paragraph(sentence))
    table = Table(box=None, pad_edge=False)
    for column in ("operator", "category", "calls", "self time", "share"):
        table.add_column(column, justify="left" if column in {"operator", "category"} else "right")
    for row in explanation.top[:8]:
        seconds = units.show(row["seconds"], "s")
        table.add_row(
            row["op"], row["category"], f"{row['calls']:,}", seconds, f"{row['share']:.1%}"
        )
    out.print(table)
    for name, path in traced.files.items():
        print(f"{name}: {path}")
    print()


def _show_comparison(comparison: Comparison, models: list[str]) -> None:
    from rich.table import Table

    from benchsuite import units
    from benchsuite.cli._output import console, paragraph

    out = console()
    for sentence in comparison.sentences:
        print(paragraph(sentence))
    table = Table("per timestep", box=None, pad_edge=False)
    for column in (*models, "difference"):
        table.add_column(column, justify="right", overflow="fold")
    for row in comparison.rows:
        cells = (units.show(row[key], "s") for key in ("first", "second", "difference"))
        table.add_row(row["category"], *cells)
    out.print(table)
