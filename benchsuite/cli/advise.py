"""`benchsuite advise`."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import (
    PLAIN_WIDTH,
    AsJson,
    AxisSettings,
    Home,
    Machine,
    app,
    print_json,
    say,
)
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from benchsuite.analysis.advice import Advice
    from benchsuite.grid.axes import Value

#: The axes that make a point, by the letters that the page and the help use.
_SHAPE = {"T": "seq_len", "B": "batch_size", "H": "hidden_size"}
#: Columns that the tables need.
_LEAST_WIDTH = 80
#: Characters of a model's name in a table.
_LONGEST_NAME = 20


@app.command(epilog="Example: benchsuite advise -a seq_len=900 -a batch_size=4 -a hidden_size=64")
def advise(
    axis: AxisSettings = None,
    mode: Annotated[str, typer.Option(help="infer or train.")] = "infer",
    need_field: Annotated[
        int | None,
        typer.Option(
            min=0, help="Timesteps that an output has to see (default: seq_len; 0: any field)."
        ),
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
    """Which measured model to use at one point, between the cells that were measured."""
    from benchsuite import analysis
    from benchsuite.cli._sources import find_records, load_source
    from benchsuite.records.home import home_of

    point = _point(axis or [], mode)
    frame = load_source(find_records(study, home_of(home))[0])
    for problem in frame.attrs["problems"]:
        say(f"note: {problem}")
    chosen = analysis.newest(frame, machine=machine)
    found = analysis.advices(chosen, point, need_field=need_field, max_memory=max_memory)
    if as_json:
        first, *others = map(_document, found)
        print_json({**first, "other_matches": others})
    else:
        for number, advice in enumerate(found):
            print("\n" * bool(number), end="")
            _show(advice, point, named=len(found) > 1)


def _document(advice: Advice) -> dict[str, Any]:
    """An advice as plain values."""
    return {
        "answer": dataclasses.asdict(advice.answer),
        "match": advice.match,
        "need_field": advice.need_field,
        "ranking": advice.ranking,
        "excluded": advice.excluded,
        "validation": {
            "median_abs_error": _number(advice.median_abs_error),
            "coverage": _number(advice.coverage),
        },
    }


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None


def _point(settings: list[str], mode: str) -> dict[str, Value]:
    from benchsuite.grid.axes import axis_named, parse_assignment, parse_values

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


def _show(advice: Advice, point: Mapping[str, Value], *, named: bool) -> None:
    """The answer first, then why, then the table; nothing wider than the terminal.

    Args:
        advice: What to show.
        point: What was asked.
        named: Whether the answer has to name its match, as there is another one.
    """
    from benchsuite.analysis import HELD
    from benchsuite.cli._console import SafeConsole

    console = SafeConsole()
    width = max(min(console.width, PLAIN_WIDTH), _LEAST_WIDTH)
    answer = advice.answer
    prefix = f"At {HELD[advice.match]}: " if named else ""
    end = "; to be sure run:" if answer.command else "."
    _print(f"{prefix}{answer.text}{end}", width)
    if answer.command:
        print(_continued(answer.command, width))
    asked = ", ".join(f"{letter}={point[name]}" for letter, name in _SHAPE.items())
    need = f"an output sees {advice.need_field}" if advice.need_field else "whatever an output sees"
    steps = " steps or more" if advice.need_field else ""
    _print(f"Asked: {point['mode']}, {asked}, {HELD[advice.match]}, {need}{steps}.", width)
    for entry in advice.ranking:
        _print(f"- {entry['model']}: {entry['reason']}", width)
    for gone in advice.excluded:
        _print(f"- excluded: {gone['model']}: {gone['reason']}", width)
    if advice.ranking:
        for table in _tables(advice.ranking):
            print()
            SafeConsole(width=width).print(table)
    if math.isfinite(advice.median_abs_error):
        print()
        _print(
            "Predicting each measured cell from the others misses by"
            f" {advice.median_abs_error:.0%} in the median; {advice.coverage:.0%} of the cells fell"
            " into their 95 % interval.",
            width,
        )


def _print(text: str, width: int) -> None:
    """A sentence in lines that fit; further lines are indented."""
    print(textwrap.fill(text, width, subsequent_indent="  ", break_on_hyphens=False))


def _continued(command: str, width: int) -> str:
    """A command in lines that fit and that a shell joins again; an option keeps its value."""
    glued = re.sub(r"(-a|--measure) ", "\\1\N{NO-BREAK SPACE}", command)
    lines = textwrap.wrap(glued, width - 6, break_long_words=False, break_on_hyphens=False)
    joined = " \\\n    ".join(["  " + lines[0], *lines[1:]])
    return joined.replace("\N{NO-BREAK SPACE}", " ")


def _tables(ranking: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """What a step costs; and, where it was measured, what each model learnt."""
    from benchsuite.units import show

    def interval(of: Mapping[str, float] | None, unit: str) -> tuple[str, str]:
        if of is None:
            return "–", "–"
        return show(of["value"], unit), f"{show(of['low'], unit)} to {show(of['high'], unit)}"

    costs = _table("model", "latency", "95 % interval", "memory", "parameters", "field")
    for entry in ranking:
        costs.add_row(
            entry["model"],
            *interval(entry["latency"], "s"),
            interval(entry.get("peak_memory"), "B")[0],
            show(entry.get("parameters"), "1"),
            _field(entry.get("receptive_field")),
        )
    yield costs
    errors = list(dict.fromkeys(k for e in ranking for k in e if k.endswith("_error")))
    if errors:
        learnt = _table("error", *(name.removesuffix("_error") for name in errors), "measured at")
        for entry in ranking:
            learnt.add_row(
                entry["model"],
                *(show(entry.get(name), "1") for name in errors),
                entry.get("errors_at", "–"),
            )
        yield learnt


def _table(first: str, *others: str) -> Table:
    """A table whose cells are never folded; of a long model name the end is left out."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="ellipsis", max_width=_LONGEST_NAME)
    for name in others:
        table.add_column(name, no_wrap=True)
    return table


def _field(field: Any) -> str:
    return "–" if field is None else str(field)
