"""`benchsuite trace`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import AsJson, AxisSettings, Home, app, print_json

if TYPE_CHECKING:
    from benchsuite.grid.case import Case
    from benchsuite.profiling.compare import Comparison
    from benchsuite.profiling.trace_case import Traced


@app.command(epilog="Example: benchsuite trace lstm_cell lstm -a seq_len=512 -a mode=train")
def trace(
    model: Annotated[str, typer.Argument(help="A model's name, or package.module:factory.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[MODEL2]", help="One to compare it with.")
    ] = None,
    axis: AxisSettings = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Directory of the traces (default: HOME/traces)."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Trace a training step and tell where its time and memory go."""
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
        _show_comparison(comparison)


def _case(model: str, axis: list[str]) -> Case:
    """One case: each axis has one value, the device is what there is, the step is training."""
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
    from benchsuite.cli._console import SafeConsole

    explanation = traced.explanation
    console = SafeConsole()
    console.print(explanation.case, style="bold")
    for sentence in explanation.sentences:
        console.print(sentence, highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("operator", "category", "calls", "self time", "share"):
        table.add_column(column, justify="left" if column in {"operator", "category"} else "right")
    for row in explanation.top[:8]:
        seconds = units.show(row["seconds"], "s")
        table.add_row(
            row["op"], row["category"], f"{row['calls']:,}", seconds, f"{row['share']:.1%}"
        )
    console.print(table)
    for name, path in traced.files.items():
        print(f"{name}: {path}")
    print()


def _show_comparison(comparison: Comparison) -> None:
    from rich.table import Table

    from benchsuite import units
    from benchsuite.cli._console import SafeConsole

    console = SafeConsole()
    for sentence in comparison.sentences:
        console.print(sentence, highlight=False)
    table = Table("per timestep", box=None, pad_edge=False)
    for column in (comparison.first, comparison.second, "difference"):
        table.add_column(column, justify="right", overflow="fold")
    for row in comparison.rows:
        cells = (units.show(row[key], "s") for key in ("first", "second", "difference"))
        table.add_row(row["category"], *cells)
    console.print(table)
