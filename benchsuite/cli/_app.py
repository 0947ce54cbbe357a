"""The application, the options that commands share, and functions that print."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from benchsuite import __version__, units
from benchsuite.cli._terminal import OutputError, escaped_json, safe_text
from benchsuite.errors import UsageError

#: Exit code after Ctrl-C, the same as a shell's.
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="benchsuite",
    help="Measure recurrent and convolutional sequence models side by side, on your hardware, at"
    " your sequence length (T), batch size (B) and hidden size (H).",
    epilog="Start with: benchsuite run quick && benchsuite report quick",
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
        metavar="DIR",
        help="HOME, the directory of all results (default: .benchsuite).",
        show_envvar=True,
    ),
]
Machine = Annotated[
    str | None,
    typer.Option(
        "--machine", metavar="NAME", help="Use this machine's records, if there are several."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
AxisSettings = Annotated[
    list[str] | None,
    typer.Option(
        "-a",
        "--axis",
        metavar="AXIS=VALUES",
        help="Set an axis: seq_len=64,256 or T=64:4096:*2 or H=32:256:+32;"
        " `benchsuite list axes` shows all.",
    ),
]
AxisSetting = Annotated[
    list[str] | None,
    typer.Option(
        "-a",
        "--axis",
        metavar="AXIS=VALUE",
        help="Set an axis to one value: seq_len=512 or T=512; `benchsuite list axes` shows all.",
    ),
]
TaskOptions = Annotated[
    list[str] | None,
    typer.Option(
        "-t",
        "--task-option",
        metavar="NAME=N",
        help="Set an option of the task: lag=64; `benchsuite list tasks` shows all.",
    ),
]
Chrono = Annotated[
    bool, typer.Option("--chrono", help="Initialise LSTM and GRU gates for long lags (chrono).")
]


def output_option(help: str) -> Any:  # noqa: A002 - typer's name
    """The option -o of a command that writes into a directory; `help` names its default."""
    return typer.Option("-o", "--output", metavar="DIR", help=help)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Show the version if `--version` was given."""
    if version:
        print(f"benchsuite {__version__}")
        raise typer.Exit


def task_options(texts: list[str] | None) -> dict[str, str]:
    """Names and values of a task's options, each given as "NAME=N".

    Raises:
        UsageError: for a text without "=".
    """
    options = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"task option {text!r} has no '='; write NAME=N")
        options[name] = value
    return options


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
    """Write the one JSON document of `--json` to standard output."""
    text = json.dumps(value, indent=2, ensure_ascii=not _is_unicode(sys.stdout.encoding))
    print(escaped_json(text))


def _is_unicode(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("-", "").startswith("utf")


def message(text: str) -> None:
    """Write a line for people to standard error."""
    with suppress(OSError, OutputError):  # where nobody can read it, the exit code remains
        print(safe_text(text), file=sys.stderr, flush=True)
