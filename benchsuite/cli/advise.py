"""`benchsuite advise`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import AsJson, AxisSettings, Home, Machine, app, print_json, say
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from benchsuite.analysis.advice import Advice
    from benchsuite.grid.case import Value


@app.command(epilog="Example: benchsuite advise -a seq_len=900 -a batch_size=4 -a hidden_size=64")
def advise(
    axis: AxisSettings = None,
    mode: Annotated[str, typer.Option(help="infer or train.")] = "infer",
    need_field: Annotated[
        int | None, typer.Option(min=1, help="Timesteps that an output has to see.")
    ] = None,
    max_memory: Annotated[
        float | None, typer.Option(min=1, help="Bytes a step may hold beyond parameters and input.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="A study that was run, or records; default: the last run.")
    ] = None,
    machine: Machine = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Rank the measured models for one point, between the cells that were measured."""
    from benchsuite import analysis
    from benchsuite.cli._sources import find_records, load_source
    from benchsuite.records.home import home_of

    point = _point(axis or [], mode)
    frame = load_source(find_records(study, home_of(home))[0])
    for problem in frame.attrs["problems"]:
        say(f"note: {problem}")
    chosen = analysis.newest(frame, machine=machine)
    advice = analysis.advise(chosen, point, need_field=need_field, max_memory=max_memory)
    if as_json:
        print_json(
            {
                "ranking": advice.ranking,
                "excluded": advice.excluded,
                "validation": {
                    "median_abs_error": _number(advice.median_abs_error),
                    "coverage": _number(advice.coverage),
                },
            }
        )
    else:
        _show(advice)


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _point(settings: list[str], mode: str) -> dict[str, Value]:
    from benchsuite.grid.case import axis_named, parse_assignment, parse_values

    point = {"mode": parse_values(axis_named("mode"), mode)[0]}
    for text in settings:
        name, values = parse_assignment(text)
        if name == "model":
            raise UsageError("axis 'model' is what is advised on; leave it out")
        if len(values) > 1:
            raise UsageError(
                f"axis {name!r}: {text!r} gives {len(values)} values; advise takes one"
            )
        point[name] = values[0]
    return point


def _show(advice: Advice) -> None:
    from rich.console import Console
    from rich.table import Table

    from benchsuite.units import show

    def interval(of: dict[str, float] | None, unit: str) -> str:
        if of is None:
            return "–"
        return f"{show(of['value'], unit)}\n{show(of['low'], unit)} to {show(of['high'], unit)}"

    extra = list(dict.fromkeys(k for e in advice.ranking for k in e if k.endswith("_error")))
    table = Table(box=None, pad_edge=False)
    for name in ("model", "latency", "memory", "parameters", "field", *extra):
        table.add_column(name, overflow="fold")
    for entry in advice.ranking:
        table.add_row(
            entry["model"],
            interval(entry["latency"], "s"),
            interval(entry.get("peak_memory"), "B"),
            show(entry.get("parameters"), "1"),
            _field(entry.get("receptive_field")),
            *(show(entry.get(name), "1") for name in extra),
        )
    if advice.ranking:
        Console().print(table)
        for entry in advice.ranking:
            print(f"{entry['model']}: {entry['reason']}")
    else:
        print("no model is left")
    for gone in advice.excluded:
        print(f"excluded: {gone['model']}: {gone['reason']}")
    if math.isfinite(advice.median_abs_error):
        print(
            f"predicting each measured cell from the others misses by {advice.median_abs_error:.0%}"
            f" in the median; {advice.coverage:.0%} fell into their 95 % interval"
        )


def _field(field: Any) -> str:
    return "–" if field is None else str(field)
