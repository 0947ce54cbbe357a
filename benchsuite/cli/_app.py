"""The command line's application, the options that commands share, and how they speak."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from benchsuite import __version__, units
from benchsuite.cli._terminal import OutputError, escaped_json, safe_text

#: Exit code after Ctrl-C, as shells have it.
EXIT_INTERRUPTED = 130
#: Width of a table where there is no terminal to ask.
PLAIN_WIDTH = 120
#: Least time between two lines of progress in a log.
PLAIN_LINE_SECONDS = 5.0

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
Machine = Annotated[
    str | None,
    typer.Option("--machine", help="Which machine's records, where there are several."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
AxisSettings = Annotated[
    list[str] | None,
    typer.Option(
        "-a",
        "--axis",
        metavar="AXIS=VALUES",
        help="Set an axis: seq_len=64,256 or T=64:4096:*2 or H=32:256:+32 (`list axes`).",
    ),
]


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    """Show the version if asked."""
    if version:
        print(f"benchsuite {__version__}")
        raise typer.Exit


def size(text: str) -> float:
    """Parser of an option that takes bytes: "200MB", "1.5 GiB" or a bare number."""
    return _quantity(text, "B")


def duration(text: str) -> float:
    """Parser of an option that takes seconds: "90", "500ms" or "2min"."""
    return _quantity(text, "s")


def _quantity(text: str, unit: str) -> float:
    try:
        return units.parse(text, unit)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not allowed; {error}") from None


def print_json(value: object) -> None:
    """The one document on standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=not _is_unicode(sys.stdout.encoding))
    print(escaped_json(text))


def _is_unicode(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "").startswith("utf")


def say(text: str) -> None:
    """A line for people, on standard error."""
    with suppress(OSError, OutputError):  # where nobody can read it, the exit code remains
        print(safe_text(text), file=sys.stderr, flush=True)
