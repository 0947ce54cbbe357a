"""`benchsuite ladder`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import (
    EXIT_INTERRUPTED,
    AsJson,
    AxisSettings,
    Home,
    Machine,
    app,
    message,
    print_json,
)

if TYPE_CHECKING:
    import pandas as pd

    from benchsuite.grid.study import Study

#: Measured of each rung; of the first one latency, what the table shows beside it.
_MEASURES = ("latency", "numeric_error", "first_call")
_SHORT = {"seq_len": "T", "batch_size": "B", "hidden_size": "H"}


@app.command(epilog="Example: benchsuite ladder lstm -a T=128 -a B=1 -a H=64")
def ladder(
    mathematics: Annotated[
        str,
        typer.Argument(
            metavar="MATHEMATICS",
            help="What is computed, such as lstm, gru or tcn; or your own package.module:factory.",
        ),
    ],
    axis: AxisSettings = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="RUNG",
            help='The rung that others are divided by: lstm, "lstm (onnxruntime)" (default: the'
            " library's layer in eager PyTorch).",
        ),
    ] = None,
    runs: Annotated[
        int,
        typer.Option(
            min=1,
            max=100,
            metavar="N",
            help="Processes that measure each rung; from two on, intervals include the noise"
            " between processes.",
        ),
    ] = 1,
    timeout: Annotated[
        float, typer.Option(min=1, max=86_400, metavar="S", help="Seconds for one measurement.")
    ] = 120.0,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY|PATH", help="Show these records, and measure nothing; -a selects."
        ),
    ] = None,
    machine: Machine = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare executions of one mathematics, by every engine.

    A rung of the ladder is a model and an engine. The table shows its latency, the ratio to a
    baseline with a 95 % interval, its rounding error, the seconds to compile or export it, and the
    calls after which these have paid for themselves. What an engine cannot do is listed with the
    reason. Results are kept like those of `run`, and measured once.
    """
    from benchsuite import analysis
    from benchsuite.analysis.ladder import ladders, require_mathematics
    from benchsuite.cli._sources import find_records, load_source
    from benchsuite.grid.axes import parse_assignments
    from benchsuite.records.home import home_of

    models = require_mathematics(mathematics)
    name = analysis.ladder.mathematics_of(models[0])
    if study is None:
        chosen = _study(mathematics, models, axis or [], timeout)
        path = _measure(chosen, home_of(home), runs)
        settings = {}
    else:
        path, _ = find_records(study, home_of(home))
        settings = parse_assignments(axis or [])
    frame = load_source(path, every_attempt=True)
    for problem in frame.attrs.get("problems", []):
        message(f"note: {problem}")
    for key, values in settings.items():
        frame = frame[frame[key].isin(values)]
    newest = analysis.newest(frame, machine=machine)  # also refuses records of several machines
    frame = frame[frame["case"].isin(newest["case"])]
    if machine is not None:
        frame = frame[frame["machine"] == machine]
    table = ladders(frame, name, baseline)
    if as_json:
        print_json(_document(name, table))
    else:
        _show(table)


def _study(mathematics: str, models: list[str], axis: list[str], timeout: float) -> Study:
    """All executions and engines at the given shapes."""
    import re

    from benchsuite.catalog.engines import ENGINES
    from benchsuite.grid.axes import parse_assignments
    from benchsuite.grid.study import Budget, Study
    from benchsuite.sweep.guards import require_some_device, resolve_device

    base = Study(
        name=re.sub(r"[^A-Za-z0-9_.+=,-]", ".", f"ladder-{mathematics}")[:100],
        axes={"model": tuple(models), "engine": tuple(ENGINES.names())},
        measures=_MEASURES,
        budget=Budget(min_run_time=0.2, max_run_time=2.0, timeout=timeout),
        description=f"The executions of {mathematics} by every engine",
    )
    settings = parse_assignments(axis)
    chosen = resolve_device(base.derive(settings) if settings else base)
    require_some_device(chosen)
    return chosen


def _measure(chosen: Study, root: Path, runs: int) -> Path:
    """Measure what is missing, and return the path of the records."""
    from benchsuite.cli._progress import progress
    from benchsuite.cli.run import show_progress
    from benchsuite.records.home import StudyHome
    from benchsuite.sweep import driver

    for number in range(runs):
        with progress() as display:
            balance = driver.run_study(
                chosen,
                root,
                fresh=number > 0,
                on_progress=lambda state: show_progress(display, state),
            )
        for note in balance.notes:
            message(f"note: {note}")
        if balance.interrupted:
            message("interrupted; the same command continues from here")
            raise typer.Exit(EXIT_INTERRUPTED)
    return StudyHome.of(root, chosen.name).records.path


def _document(mathematics: str, table: pd.DataFrame) -> dict[str, Any]:
    def number(value: Any) -> float | None:
        return float(value) if value is not None and math.isfinite(value) else None

    return {
        "mathematics": mathematics,
        "baseline": next(filter(None, table["baseline"]), None),
        "rows": [
            {
                "model": row.model,
                "engine": row.engine,
                "execution": row.execution,
                "mode": row.mode,
                **{axis: int(getattr(row, axis)) for axis in _SHORT},
                "latency": number(row.latency),
                "ratio": {
                    "value": number(row.ratio),
                    "low": number(row.low),
                    "high": number(row.high),
                },
                "numeric_error": number(row.numeric_error),
                "engine_error": number(row.engine_error),
                "precision": row.engine_precision or None,
                "preparation": number(row.preparation),
                "first_call": number(row.first_call),
                "break_even_calls": number(row.break_even),
                "status": row.status,
                "reason": row.reason or None,
            }
            for row in table.itertuples()
        ],
    }


def _show(table: pd.DataFrame) -> None:
    """Print a table for each shape, then what could not be measured."""
    from rich.table import Table

    from benchsuite.analysis.ladder import STEP
    from benchsuite.cli._output import console, paragraph

    varying = [name for name in STEP if table[name].nunique() > 1 and name not in _SHORT]
    for _, rows in table.groupby(STEP, sort=False):
        first = rows.iloc[0]
        words = [f"{short}={first[name]}" for name, short in _SHORT.items()]
        words += [f"{name}={first[name]}" for name in varying if name != "mode"]
        base = next(filter(None, rows["baseline"]), "–")
        shown = Table(box=None, pad_edge=False, collapse_padding=True)
        shown.add_column("rung", overflow="fold")
        for head in ("latency", "ratio", "95 % interval", "error", "compile", "pays after"):
            shown.add_column(head, justify="right", no_wrap=True)
        for row in rows[rows["status"] == "ok"].sort_values("latency").itertuples():
            shown.add_row(*_cells(row))
        print(paragraph(f"{first['mathematics']}, {first['mode']}, {', '.join(words)}"))
        console().print(shown)
        failed = rows[rows["status"] != "ok"]
        for (status, reason), own in failed.groupby(["status", "reason"], sort=False):
            print(paragraph(f"- {status}: {', '.join(own['rung'])}: {reason}", "  "))
        print(paragraph(f"Ratio: latency divided by that of {base}."))
        print()
    print(
        paragraph(
            "error: largest rounding error in ulp of the dtype, against float64; compile: time to"
            " compile, or to export and load; pays after: calls until that time is saved, compared"
            " with the same model in eager PyTorch."
        )
    )


def _cells(row: Any) -> list[str]:
    from benchsuite.units import show

    def known(value: float) -> bool:
        return not math.isnan(value)

    interval = f"{row.low:.2f} to {row.high:.2f}" if known(row.ratio) else "–"
    calls = "–"
    if known(row.break_even):
        calls = "never" if math.isinf(row.break_even) else f"{row.break_even:,.0f} calls"
    return [
        row.rung,
        show(row.latency, "s"),
        f"{row.ratio:.2f}" if known(row.ratio) else "–",
        "baseline" if row.rung == row.baseline else interval,
        f"{row.numeric_error:,.0f} ulp" if known(row.numeric_error) else "–",
        show(row.preparation, "s") if known(row.preparation) else "–",
        calls,
    ]
