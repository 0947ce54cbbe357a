"""`benchsuite run`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from benchsuite.cli._app import (
    EXIT_INTERRUPTED,
    AsJson,
    AxisSettings,
    Home,
    app,
    message,
    print_json,
)
from benchsuite.cli._progress import Display, State, progress
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from benchsuite.grid.case import Value
    from benchsuite.grid.study import Study
    from benchsuite.sweep.driver import Balance, Progress


@app.command(epilog="Example: benchsuite run quick -a seq_len=64:1024:*2 --device cpu")
def run(
    study: Annotated[
        str, typer.Argument(help="A study's name, or the path of its TOML file.")
    ] = "quick",
    axis: AxisSettings = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu or cuda; overrides the study's.")
    ] = None,
    measure: Annotated[
        list[str] | None, typer.Option(help="Measure only this; may be given several times.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of a study derived with -a or --measure.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure finished cases again too.")
    ] = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Then trace each model and mode at the largest seq_len."),
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Measure a study; what an earlier run has finished is not measured again."""
    from benchsuite.records.home import home_of
    from benchsuite.sweep import driver

    chosen = _study(study, axis or [], device, measure or [], name)
    with progress() as display:
        balance = driver.run_study(
            chosen, home_of(home), fresh=fresh, on_progress=lambda state: _show(display, state)
        )
    notes = list(balance.notes)
    if trace and not balance.interrupted:
        from benchsuite.sweep.trace_study import trace_study

        with progress() as display:
            notes += trace_study(
                chosen,
                home_of(home),
                fresh=fresh,
                on_case=lambda case, number, total: display.show(
                    State(f"tracing {case.id}", number, total, always=True)
                ),
            )
    for note in notes:
        message(f"note: {note}")
    if as_json:
        print_json(
            {
                key: value
                for key, value in dataclasses.asdict(balance).items()
                if key not in {"notes", "failures"}
            }
        )
    else:
        print(_sentence(balance))
    if balance.interrupted:
        again = "the same command without --fresh" if fresh else "the same command"
        message(f"interrupted; {again} goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED)
    if balance.failed:
        raise typer.Exit(1)


def _study(
    name_or_path: str, axis: list[str], device: str | None, measure: list[str], name: str | None
) -> Study:
    from benchsuite.catalog.measures import MEASURES
    from benchsuite.grid.case import axis_named, parse_assignment, parse_values
    from benchsuite.grid.study import load_study
    from benchsuite.sweep.guards import require_some_device, resolve_device

    study = load_study(name_or_path)
    axes: dict[str, list[Value]] = {}
    for text in axis:
        key, values = parse_assignment(text)
        axes[key] = list(dict.fromkeys([*axes.get(key, []), *values]))
    measures = [MEASURES.get(item).name for item in measure]
    if device is not None and (devices := parse_values(axis_named("device"), device)) != ["auto"]:
        axes["device"] = devices
    if axes or measures or name:
        study = study.derive(axes, measures=measures, name=name)
    _check_importable(study)
    study = resolve_device(study)
    require_some_device(study)
    return study


def _check_importable(study: Study) -> None:
    """Refuse a model whose module is not there, before every case of it fails."""
    from importlib.util import find_spec

    for model in map(str, study.axes["model"]):
        module = model.partition(":")[0]
        try:
            found = ":" not in model or find_spec(module) is not None
        except (ImportError, ValueError):  # a parent is not there, or it was made without a file
            found = False
        except Exception as error:  # finding a module runs the packages it is in
            words = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UsageError(f"cannot import {module!r} of model {model!r}: {words}") from error
        if not found:
            raise UsageError(
                f"cannot import {module!r} of model {model!r}; it must be installed, or in the"
                " directory you are in"
            )


def _sentence(balance: Balance) -> str:
    """The one-line balance."""
    kinds = ", ".join(f"{n} {status}" for status, n in balance.failures.items())
    parts = [
        f"{balance.study}: {balance.ok} of {balance.cases} cases ok, {balance.skipped} skipped,"
        f" {balance.failed} failed"
        + (f" (measurements: {kinds})" if kinds else "")
        + (f", {balance.remaining} not measured yet" if balance.remaining else "")
    ]
    if balance.measured:
        if balance.reused:
            parts.append(f"{balance.reused} measurements were already there")
        parts.append(
            f"{balance.measure_seconds:.1f} s measuring + {balance.setup_seconds:.1f} s setting up"
            f" of {balance.wall_seconds:.1f} s on the clock"
        )
    elif balance.reused:
        parts.append(f"all {balance.reused} measurements were already there")
    return "; ".join([*parts, balance.records])


def _show(display: Display, state: Progress) -> None:
    """Show where a run stands; a failure is a line that stays."""
    from benchsuite.units import show_clock

    if (failure := state.failure) is not None:
        display.note(f"{failure.status}: {failure.case.id} {failure.measure}: {failure.reason}")
    if not state.current:
        finished = f", {state.reused} already finished" if state.reused else ""
        text = f"starting asv for {state.total} measurements{finished}"
        display.show(State(text, always=True))
        return
    time_left = "–" if state.eta is None else show_clock(state.eta)
    number = min(state.reused + state.done + 1, state.total)
    detail = f"ETA {time_left}  failed {state.failed}"
    display.show(State(state.current, number, state.total, detail=detail))
