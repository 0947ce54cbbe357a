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
from benchsuite.errors import UsageError, described

if TYPE_CHECKING:
    from benchsuite.grid.study import Study
    from benchsuite.sweep.driver import Balance
    from benchsuite.sweep.watch import Progress


@app.command(epilog="Example: benchsuite run quick -a T=64:1024:*2 --device cpu")
def run(
    study: Annotated[
        str,
        typer.Argument(
            metavar="STUDY", help="A name of `benchsuite list studies`, or the path of a TOML file."
        ),
    ] = "quick",
    axis: AxisSettings = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="auto, cpu or cuda; overrides the study's."),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Take only this measure; repeatable."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the results if -a, --device or --measure change the study.",
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Measure finished cases again; earlier results are kept."),
    ] = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Afterwards, trace each model and mode at its largest T."),
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Measure a study, or continue one that was interrupted.

    A study is a grid of cases (models, sequence lengths …) and the measures to take of each. Every
    result is stored at once in HOME/STUDY/records.jsonl, and a later run skips cases that have one.
    Exit code 1 means that a case failed, crashed or ran out of time or memory.
    """
    from benchsuite.records.home import home_of
    from benchsuite.sweep import driver

    chosen = _study(study, axis or [], device, measure or [], name)
    with progress() as display:
        balance = driver.run_study(
            chosen,
            home_of(home),
            fresh=fresh,
            on_progress=lambda state: show_progress(display, state),
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
        command = "the same command without --fresh" if fresh else "the same command"
        message(f"interrupted; {command} continues from here")
        raise typer.Exit(EXIT_INTERRUPTED)
    if balance.failed:
        raise typer.Exit(1)


def _study(
    name_or_path: str, axis: list[str], device: str | None, measure: list[str], name: str | None
) -> Study:
    from benchsuite.catalog.measures import MEASURES
    from benchsuite.grid.axes import axis_named, parse_assignments, parse_values
    from benchsuite.grid.study_file import load_study
    from benchsuite.sweep.guards import require_some_device, resolve_device

    study = load_study(name_or_path)
    axes = parse_assignments(axis)
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
    """Refuse a model whose module cannot be imported, before every case of it fails."""
    from importlib.util import find_spec

    for model in map(str, study.axes["model"]):
        module = model.partition(":")[0]
        try:
            importable = ":" not in model or find_spec(module) is not None
        except (ImportError, ValueError):  # a missing parent, or a module made without a file
            importable = False
        except (Exception, SystemExit) as error:  # finding a module runs the packages it is in
            raise UsageError(
                f"cannot import {module!r} of model {model!r}: {described(error)}"
            ) from error
        if not importable:
            raise UsageError(
                f"cannot import {module!r} of model {model!r}; install it, or run"
                " in the directory that contains it"
            )


def _sentence(balance: Balance) -> str:
    """One line about what was measured, and how long it took."""
    failures = ", ".join(f"{n} {status}" for status, n in balance.failures.items())
    parts = [
        f"{balance.study}: {balance.ok} of {balance.cases} cases ok, {balance.skipped} skipped,"
        f" {balance.failed} failed"
        + (f" (measurements: {failures})" if failures else "")
        + (f", {balance.remaining} not measured yet" if balance.remaining else "")
    ]
    if balance.measured:
        if balance.reused:
            parts.append(f"{balance.reused} measurements were already finished")
        parts.append(
            f"{balance.wall_seconds:.1f} s in all: {balance.measure_seconds:.1f} s measuring,"
            f" {balance.setup_seconds:.1f} s setting up"
        )
    elif balance.reused:
        parts.append(f"all {balance.reused} measurements were already finished")
    return "; ".join([*parts, balance.records])


def show_progress(display: Display, state: Progress) -> None:
    """Show where a run stands; a failure is a line that stays."""
    from benchsuite.units import show_clock

    if (failure := state.failure) is not None:
        display.note(f"{failure.status}: {failure.case.id} {failure.measure}: {failure.reason}")
    if state.again:
        count = f"{state.again} measurement{'s' if state.again > 1 else ''}"
        display.note(f"measuring {count} again: the machine was suspended, slower or busier then")
    if not state.current:
        finished = f", {state.reused} already finished" if state.reused else ""
        text = f"starting asv for {state.total} measurements{finished}"
        display.show(State(text, always=True))
        return
    time_left = "–" if state.eta is None else show_clock(state.eta)
    ended = state.reused + state.done
    detail = f"ETA {time_left}  failed {state.failed}"
    display.show(State(state.current, ended, state.total, share=1.0, detail=detail))
