"""`benchsuite run`."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from benchsuite.cli._app import (
    EXIT_INTERRUPTED,
    PLAIN_LINE_SECONDS,
    AsJson,
    AxisSettings,
    Home,
    app,
    print_json,
    say,
)
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from benchsuite.grid.axes import Value
    from benchsuite.grid.study import Study
    from benchsuite.records import Record
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
    with _shown_progress() as show:
        balance = driver.run_study(chosen, home_of(home), fresh=fresh, on_progress=show)
    notes = list(balance.notes)
    if trace and not balance.interrupted:
        from benchsuite.sweep.trace_study import trace_study

        notes += trace_study(
            chosen,
            home_of(home),
            fresh=fresh,
            on_case=lambda case, number, total: say(f"[{number}/{total}] tracing {case.id}"),
        )
    for note in notes:
        say(f"note: {note}")
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
        say(f"interrupted; {again} goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED)
    if balance.failed:
        raise typer.Exit(1)


def _study(
    name_or_path: str, axis: list[str], device: str | None, measure: list[str], name: str | None
) -> Study:
    from benchsuite.catalog.measures import MEASURES
    from benchsuite.grid.axes import axis_named, parse_assignment, parse_values
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
        except (Exception, SystemExit) as error:  # finding a module runs the packages it is in
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


@contextmanager
def _shown_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line now and then elsewhere; on standard error in both cases."""
    if not sys.stderr.isatty():
        yield _PlainProgress()
        return
    from rich.progress import BarColumn, MofNCompleteColumn
    from rich.progress import Progress as Bar

    from benchsuite.cli._console import FieldColumn, SafeConsole
    from benchsuite.units import show_clock

    with Bar(
        FieldColumn("{case}"),
        BarColumn(),
        MofNCompleteColumn(),
        FieldColumn("ETA {eta}  failed {failed}"),
        console=SafeConsole(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", case="starting asv", eta="–", failed=0)

        def show(progress: Progress) -> None:
            bar.update(
                task,
                total=progress.total,
                completed=progress.reused + progress.done,
                case=progress.current or "starting asv",
                eta="–" if progress.eta is None else show_clock(progress.eta),
                failed=progress.failed,
            )
            if progress.failure is not None:
                bar.console.print(_failure_line(progress.failure))

        yield show


class _PlainProgress:
    """Lines for logs: at most one in five seconds, and one for each failure."""

    def __init__(self) -> None:
        self._last_line = 0.0

    def __call__(self, progress: Progress) -> None:
        from benchsuite.units import show_clock

        if progress.failure is not None:
            say(_failure_line(progress.failure))
        if not progress.current:
            there = f", {progress.reused} already there" if progress.reused else ""
            say(f"starting asv for {progress.total} measurements{there}")
            return
        if time.monotonic() - self._last_line < PLAIN_LINE_SECONDS:
            return
        self._last_line = time.monotonic()
        eta = "–" if progress.eta is None else show_clock(progress.eta)
        say(
            f"[{progress.reused + progress.done}/{progress.total}] {progress.current}"
            f"  ETA {eta}  failed {progress.failed}"
        )


def _failure_line(record: Record) -> str:
    return f"{record.status}: {record.case.id} {record.measure}: {record.reason}"
