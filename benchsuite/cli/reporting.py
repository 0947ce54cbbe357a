"""`benchsuite report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli.app import AsJson, Home, app, print_json, say
from benchsuite.errors import UsageError, unknown


@app.command(epilog="Example: benchsuite report quick -o quick-report")
def report(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[STUDY|PATH]",
            help="A study that was run, records, or asv's results; default: the last run.",
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
    from benchsuite.asv_results import is_asv_results, load_asv_results
    from benchsuite.home import home_of
    from benchsuite.records import load_records
    from benchsuite.report import write_report

    path, directory = _report_source(source, home_of(home))
    frame = load_asv_results(path) if is_asv_results(path) else load_records(path)
    for problem in frame.attrs["problems"]:
        say(f"note: {problem}")
    traces = (path if path.is_dir() else path.parent) / "traces"
    written = write_report(frame, output or directory, machine=machine, traces=traces)
    if as_json:
        print_json({name: str(file) for name, file in written.items()})
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
