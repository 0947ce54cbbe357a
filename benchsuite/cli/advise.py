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
    AsJson,
    AxisSetting,
    Home,
    Machine,
    app,
    duration,
    message,
    print_json,
    size,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from benchsuite.analysis.advice import Advice
    from benchsuite.grid.axes import Value

#: The axes that an answer is interpolated over, by letter.
_SHAPE = {"T": "seq_len", "B": "batch_size", "H": "hidden_size"}
#: What is shown of the tail of a stream's calls: keys of a ranking's entries, and heads.
_TAILS = {"p99": "p99", "worst": "longest call", "over_deadline": "after the deadline"}
#: The tables need this many columns.
_LEAST_WIDTH = 80
#: Sentences in longer lines are hard to read.
_MOST_WIDTH = 120
#: Longer names of models are cut in a table; the sentences have them whole.
_LONGEST_NAME = 20


@app.command(epilog="Example: benchsuite advise -a T=900 -a B=4 -a H=64 --max-memory 200MB")
def advise(
    axis: AxisSetting = None,
    mode: Annotated[str, typer.Option(metavar="MODE", help="infer, train or stream.")] = "infer",
    need_field: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="STEPS",
            help="Timesteps that an output has to see (default: T); 0 if it does not matter.",
        ),
    ] = None,
    max_memory: Annotated[
        float | None,
        typer.Option(
            parser=size,
            metavar="SIZE",
            help="Most memory a step may need beyond parameters and input: 200MB, 1GiB.",
        ),
    ] = None,
    deadline: Annotated[
        float | None,
        typer.Option(
            parser=duration,
            metavar="TIME",
            help="In mode stream, show the share of calls that take longer: 1ms, 500us.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY|PATH", help="A study that was run, or records (default: the last run)."
        ),
    ] = None,
    machine: Machine = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Recommend a model for one T, B and H, from measured records.

    The answer comes first, then the reasons and a table. Latency between measured cells is
    interpolated, and the last line reports the error of doing so. Models that do not see the whole
    sequence are excluded, unless --need-field allows fewer timesteps. With --mode stream, T is the
    field to cover, and models are ranked by the median time of a call, beside its tail. More than a
    factor of two outside the measured range, the answer is the study to run.
    """
    from benchsuite.cli._sources import find_records, load_source
    from benchsuite.records.home import home_of

    point = _point(axis or [], mode)
    path, _ = find_records(study, home_of(home))
    from benchsuite import analysis
    from benchsuite.analysis.advice import COLUMNS
    from benchsuite.analysis.prediction import INTERVALS, IntervalsMissingError
    from benchsuite.analysis.streaming import STREAM, TAIL

    def advices_of(frame: pd.DataFrame) -> list[Advice]:
        records = analysis.newest(frame, machine=machine)
        limits: dict[str, Any] = {"max_memory": max_memory, "deadline": deadline}
        return analysis.advices(records, point, need_field=need_field, **limits)

    columns = [*COLUMNS]  # raw samples are most of a file
    if point["mode"] == STREAM:
        columns += [*TAIL, *INTERVALS, *(["samples"] if deadline is not None else [])]
    frame = load_source(path, columns=columns)
    for problem in frame.attrs["problems"]:
        message(f"note: {problem}")
    try:
        advices = advices_of(frame)
    except IntervalsMissingError:
        advices = advices_of(load_source(path, columns=(*COLUMNS, *INTERVALS)))
    if as_json:
        first, *others = map(_document, advices)
        print_json({**first, "other_matches": others})
    else:
        for number, advice in enumerate(advices):
            print("\n" * bool(number), end="")
            _show(advice, point, named=len(advices) > 1)


def _document(advice: Advice) -> dict[str, Any]:
    """One advice as plain values, for JSON."""
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
    """The number, or None for NaN, which JSON does not have."""
    return value if math.isfinite(value) else None


def _point(settings: list[str], mode: str) -> dict[str, Value]:
    """The value of each axis that was given."""
    from benchsuite.grid.axes import AXES, parse_single

    refused = {"model": "advise ranks all measured models; leave it out"}
    given = parse_single([f"mode={mode}"], AXES, "axis", "advise takes")
    return {**given, **parse_single(settings, AXES, "axis", "advise takes", refused=refused)}


def _show(advice: Advice, point: Mapping[str, Value], *, named: bool) -> None:
    """Print the answer, then the reasons, then the tables, no wider than the terminal.

    Args:
        advice: The answer at one match.
        point: The values that were asked for.
        named: Whether to begin with the match, because there is an advice for another one too.
    """
    from benchsuite.analysis import HELD
    from benchsuite.cli import _output

    width = max(min(_output.width(), _MOST_WIDTH), _LEAST_WIDTH)
    answer = advice.answer
    prefix = f"At {HELD[advice.match]}: " if named else ""
    end = "; to be sure, run:" if answer.command else "."
    _print(f"{prefix}{answer.text}{end}", width)
    if answer.command:
        print(_continued(answer.command, width))
    asked = ", ".join(f"{letter}={point[name]}" for letter, name in _SHAPE.items())
    need = advice.need_field
    field = f"outputs that see at least {need} timesteps" if need else "any receptive field"
    _print(f"Asked: {point['mode']}, {asked}, {HELD[advice.match]}, {field}.", width)
    for entry in advice.ranking:
        _print(f"- {entry['model']}: {entry['reason']}", width)
    for entry in advice.excluded:
        _print(f"- excluded: {entry['model']}: {entry['reason']}", width)
    if advice.ranking:
        for table in _tables(advice.ranking):
            print()
            _output.console(width).print(table)
    if math.isfinite(advice.median_abs_error):
        print()
        _print(_accuracy(advice), width)


def _accuracy(advice: Advice) -> str:
    """Errors of interpolation; the coverage of the intervals too, if it could be checked."""
    text = (
        "Accuracy: predicting each measured cell from the others misses by"
        f" {_percent(advice.median_abs_error)} in the median"
    )
    if math.isfinite(advice.coverage):
        text += f"; {_percent(advice.coverage)} of the cells lie within their 95 % interval"
    return f"{text}."


def _print(text: str, width: int) -> None:
    """Print a paragraph; all lines after the first are indented."""
    from benchsuite.cli._output import paragraph

    print(paragraph(text, "  ", width))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _continued(command: str, width: int) -> str:
    """Break a command into lines that a shell joins again; an option stays with its value."""
    glued = re.sub(r"(-a|--measure) ", "\\1\N{NO-BREAK SPACE}", command)
    lines = textwrap.wrap(glued, width - 6, break_long_words=False, break_on_hyphens=False)
    joined = " \\\n    ".join(["  " + lines[0], *lines[1:]])
    return joined.replace("\N{NO-BREAK SPACE}", " ")


def _tables(ranking: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    """Cost of a step per model; the tail of a stream's calls; errors on tasks, if measured."""
    from benchsuite.catalog.measures import task_of
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
    tails = [name for name in _TAILS if any(name in entry for entry in ranking)]
    if tails:
        calls = _table("model", *(_TAILS[name] for name in tails))
        for entry in ranking:
            calls.add_row(entry["model"], *(_tail(entry.get(name), name) for name in tails))
        yield calls
    errors = list(dict.fromkeys(key for entry in ranking for key in entry if task_of(key)))
    if errors:
        learned = _table("error", *(task_of(name) for name in errors), "measured at")
        for entry in ranking:
            learned.add_row(
                entry["model"],
                *(show(entry.get(name), "1") for name in errors),
                entry.get("errors_at", "–"),
            )
        yield learned


def _tail(value: float | None, name: str) -> str:
    from benchsuite.units import show

    if value is None:
        return "–"
    return f"{100 * value:.3g} %" if name == "over_deadline" else show(value, "s")


def _table(first: str, *others: str) -> Table:
    """A table whose cells are not folded; long names of models are cut."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="ellipsis", max_width=_LONGEST_NAME)
    for name in others:
        table.add_column(name, no_wrap=True)
    return table


def _field(field: Any) -> str:
    return "–" if field is None else str(field)
