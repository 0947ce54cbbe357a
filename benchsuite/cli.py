"""The command line.

Nothing below this module prints, and no command imports torch before it has to.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite import __version__
from benchsuite.errors import BenchsuiteError, UsageError, unknown

if TYPE_CHECKING:
    from benchsuite.study import Study
    from benchsuite.sweep.driver import Balance, Progress

EXIT_INTERRUPTED = 130
_PLAIN_LINE_SECONDS = 5.0

app = typer.Typer(
    name="benchsuite",
    help="Recurrence or convolution? Measured on your hardware, at your T, B and H.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="BENCHSUITE_HOME",
        help="Root of all results (default: .benchsuite here).",
        show_envvar=True,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Axes = Annotated[
    list[str] | None,
    typer.Option(
        "-a",
        "--axis",
        metavar="AXIS=VALUES",
        help="Set an axis: seq_len=64,256 or seq_len=64:4096:*2 or hidden_size=32:256:+32.",
    ),
]


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        print(f"benchsuite {__version__}")
        raise typer.Exit


@app.command("list", epilog="Example: benchsuite list models --json")
def list_(
    what: Annotated[str | None, typer.Argument(metavar="[models|measures|studies|axes]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the models, measures, studies and axes there are."""
    tables: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "models": _models,
        "measures": _measures,
        "studies": _studies,
        "axes": _axes,
    }
    if what is not None and what not in tables:
        raise unknown("list", what, tables)
    chosen = {what: tables[what]()} if what else {name: make() for name, make in tables.items()}
    if as_json:
        _print_json(chosen[what] if what else chosen)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, rows in chosen.items():
        table = Table(title=name, title_justify="left", box=None, pad_edge=False)
        for column in rows[0]:
            table.add_column(column, overflow="fold", no_wrap=column == "name")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        console.print(table)
        console.print()


def _models() -> list[dict[str, Any]]:
    from benchsuite.registry import MODELS

    return [{"name": m.name, "family": m.family, "summary": m.summary} for m in MODELS]


def _measures() -> list[dict[str, Any]]:
    from benchsuite.registry import MEASURES

    return [
        {"name": m.name, "unit": m.unit, "better": m.direction, "summary": m.summary}
        for m in MEASURES
    ]


def _studies() -> list[dict[str, Any]]:
    from benchsuite.study import load_study, shipped

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
    from benchsuite.case import AXES, DEFAULTS

    return [
        {
            "name": axis.name,
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
    return f"{low} to {high}" if low is not None else "see summary"


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


@app.command(epilog="Example: benchsuite run quick -a seq_len=64:1024:*2 --device cpu")
def run(
    study: Annotated[
        str, typer.Argument(help="A study's name, or the path of its TOML file.")
    ] = "quick",
    axis: Axes = None,
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
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Measure a study; what an earlier run has finished is not measured again."""
    from benchsuite.home import home_of
    from benchsuite.sweep import driver

    chosen = _study(study, axis or [], device, measure or [], name)
    with _shown_progress() as show:
        balance = driver.run_study(chosen, home_of(home), fresh=fresh, on_progress=show)
    for note in balance.notes:
        _say(f"note: {note}")
    if as_json:
        _print_json(
            {
                key: value
                for key, value in dataclasses.asdict(balance).items()
                if key not in {"notes", "failures"}
            }
        )
    else:
        print(_sentence(balance))
    if balance.interrupted:
        _say("interrupted; the same command goes on from here")
        raise typer.Exit(EXIT_INTERRUPTED)
    if balance.failed:
        raise typer.Exit(1)


def _study(
    name_or_path: str, axis: list[str], device: str | None, measure: list[str], name: str | None
) -> Study:
    from benchsuite.case import axis_named, parse_assignment, parse_values
    from benchsuite.registry import MEASURES
    from benchsuite.study import load_study
    from benchsuite.sweep.driver import resolve_device

    study = load_study(name_or_path)
    axes = dict(parse_assignment(text) for text in axis)
    measures = [MEASURES.get(item).name for item in measure]
    if device is not None:
        (device,) = map(str, parse_values(axis_named("device"), device))
    if axes or measures or name:
        study = study.derive(axes, measures=measures, name=name)
    return resolve_device(study, device)


def _sentence(balance: Balance) -> str:
    """The one-line balance."""
    inside = balance.measure_seconds + balance.setup_seconds
    kinds = ", ".join(f"{n} {status}" for status, n in balance.failures.items())
    parts = [
        f"{balance.study}: {balance.ok} of {balance.cases} cases ok, {balance.skipped} skipped,"
        f" {balance.failed} failed"
        + (f" (measurements: {kinds})" if kinds else "")
        + (f", {balance.remaining} not measured yet" if balance.remaining else "")
    ]
    if balance.reused:
        parts.append(f"{balance.reused} measurements were there already")
    ratio = f" (clock/inside {balance.wall_seconds / inside:.2f})" if inside else ""
    parts.append(
        f"{balance.measure_seconds:.1f} s measuring + {balance.setup_seconds:.1f} s setting up of"
        f" {balance.wall_seconds:.1f} s on the clock{ratio}"
    )
    return "; ".join([*parts, balance.records])


@contextmanager
def _shown_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, a line now and then elsewhere; on standard error in both cases."""
    if not sys.stderr.isatty():
        yield _PlainProgress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    from benchsuite.units import show_clock

    with Bar(
        TextColumn("{task.fields[case]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("ETA {task.fields[eta]}  failed {task.fields[failed]}"),
        console=Console(stderr=True),
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
            if progress.last is not None and progress.last.status not in {"ok", "skipped"}:
                bar.console.print(_failure_line(progress))

        yield show


class _PlainProgress:
    """Lines for logs: at most one in five seconds, and one for each failure."""

    def __init__(self) -> None:
        self._last_line = 0.0
        self._told = ""

    def __call__(self, progress: Progress) -> None:
        from benchsuite.units import show_clock

        failure = progress.last if progress.last and progress.failed else None
        if failure and failure.status not in {"ok", "skipped"} and failure.uid != self._told:
            self._told = failure.uid
            _say(_failure_line(progress))
        if time.monotonic() - self._last_line < _PLAIN_LINE_SECONDS or not progress.current:
            return
        self._last_line = time.monotonic()
        eta = "–" if progress.eta is None else show_clock(progress.eta)
        _say(
            f"[{progress.reused + progress.done}/{progress.total}] {progress.current}"
            f"  ETA {eta}  failed {progress.failed}"
        )


def _failure_line(progress: Progress) -> str:
    record = progress.last
    assert record is not None
    return f"{record.status}: {record.case.id} {record.measure}: {record.reason}"


@app.command(epilog="Example: benchsuite report quick -o quick-report")
def report(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY|PATH]", help="A study that was run, or records; default: the last run."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Directory of the report.")
    ] = None,
    machine: Annotated[
        str | None, typer.Option(help="Which machine's records, where there are several.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Turn records into a self-contained page, tables and figures."""
    from benchsuite.home import home_of
    from benchsuite.records import load_records
    from benchsuite.report import write_report

    path, directory = _report_source(source, home_of(home))
    frame = load_records(path)
    for problem in frame.attrs["problems"]:
        _say(f"note: {problem}")
    written = write_report(frame, output or directory, machine=machine)
    if as_json:
        _print_json({name: str(file) for name, file in written.items()})
    else:
        print(written["index"])


def _report_source(source: str | None, home: Path) -> tuple[Path, Path]:
    """Where the records are, and where their report goes by default."""
    from benchsuite.home import StudyHome
    from benchsuite.records import FILE_NAME

    files = sorted(home.glob(f"*/{FILE_NAME}"), key=lambda file: file.stat().st_mtime)
    if source is None:
        if not files:
            raise UsageError(f"nothing was measured yet in {home}; start with `benchsuite run`")
        source = files[-1].parent.name
    names = [file.parent.name for file in files]
    if source in names:
        place = StudyHome.of(home, source)
        return place.records.path, place.report
    if Path(source).exists():
        return Path(source), Path("benchsuite-report")
    raise unknown(
        "study or path",
        source,
        names or ["(none measured yet)"],
        f"a study is measured with `benchsuite run`; looked in {home}",
    )


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Entry point: errors that people can mend are one line on standard error."""
    sys.path.insert(0, "")  # models given as module:factory may live in the working directory
    try:
        app()
    except UsageError as error:
        _say(f"error: {error}")
        sys.exit(2)
    except BenchsuiteError as error:
        _say(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(EXIT_INTERRUPTED)
