"""`benchsuite report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli._app import AsJson, Home, Machine, app, message, print_json


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
    machine: Machine = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Gzip records.csv, for a report to publish.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Turn records into a self-contained page, tables and figures."""
    from benchsuite.cli._sources import find_records, load_source
    from benchsuite.records.home import home_of
    from benchsuite.report.page import write_report

    path, place = find_records(source, home_of(home))
    directory = place.report if place else Path("benchsuite-report")
    frame = load_source(path)
    for problem in frame.attrs["problems"]:
        message(f"note: {problem}")
    traces = (path if path.is_dir() else path.parent) / "traces"
    written = write_report(
        frame, output or directory, machine=machine, traces=traces, compress=compress
    )
    if as_json:
        print_json({name: str(file) for name, file in written.items()})
    else:
        print(written["index"])
