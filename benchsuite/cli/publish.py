"""`benchsuite publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli._app import AsJson, Home, app, message, output_option, print_json
from benchsuite.errors import UsageError


@app.command(epilog="Example: benchsuite publish -o site && python -m http.server -d site")
def publish(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY|CONFIG",
            help="A study that was run, or asv's configuration (default: asv.conf.json).",
        ),
    ] = None,
    output: Annotated[
        Path | None, output_option("Directory of the pages (default: asv's html_dir).")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Build asv's web pages of results over commits.

    The pages need a web server, but no network. asv's detector of regressions takes higher values
    for worse; rates of the machine itself are excluded from it.
    """
    from benchsuite.history.publish import publish
    from benchsuite.records.home import home_of

    site = publish(_configuration(source, home_of(home)), output)
    for note in site.notes:
        message(f"note: {note}")
    if as_json:
        print_json({"index": str(site.index), "commits": site.commits, "notes": list(site.notes)})
    else:
        print(site.index)


def _configuration(source: str | None, home: Path) -> Path:
    from benchsuite.cli._sources import measured_studies
    from benchsuite.history.publish import CONFIGURATION
    from benchsuite.records.home import StudyHome

    path = Path(source or CONFIGURATION)
    if source in (studies := measured_studies(home)):
        path = StudyHome.of(home, source).asv / CONFIGURATION
    if path.is_dir():
        path /= CONFIGURATION
    if not path.is_file():
        raise UsageError(
            f"{source or CONFIGURATION!r} is neither asv's configuration nor a measured study;"
            f" measured in {home}: {', '.join(studies) or 'none'}"
        )
    return path
