"""`benchsuite report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli._app import AsJson, Home, Machine, app, message, output_option, print_json


@app.command(epilog="Example: benchsuite report quick -o quick-report")
def report(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY|PATH",
            help="A study that was run, a file or directory of records, or asv's results (default:"
            " the last run).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        output_option(
            "Directory of the report (default: HOME/STUDY/report; benchsuite-report for a path)."
        ),
    ] = None,
    machine: Machine = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Compress records.csv, for a report to publish.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write a report: a self-contained page, figures and tables.

    Prints the path of the page. It needs no network, and each figure's data lies beside it as CSV.
    """
    from benchsuite.cli._sources import find_records, load_source
    from benchsuite.records.home import home_of

    path, study_home = find_records(source, home_of(home))
    directory = study_home.report if study_home else Path("benchsuite-report")
    frame = load_source(path)
    for problem in frame.attrs["problems"]:
        message(f"note: {problem}")
    from benchsuite.report.page import write_report

    traces = (path if path.is_dir() else path.parent) / "traces"
    written = write_report(
        frame, output or directory, machine=machine, traces=traces, compress=compress
    )
    if as_json:
        print_json({name: str(file) for name, file in written.items()})
    else:
        print(written["index"])
