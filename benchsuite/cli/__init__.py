"""The command line.

Only this package prints, and each command imports torch as late as possible.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer

from benchsuite.cli._app import EXIT_INTERRUPTED, app, message
from benchsuite.errors import BenchsuiteError, UsageError

__all__ = ["app", "main"]

#: A module for each command, by the command's name; importing it adds the command to `app`.
COMMANDS = (
    *("run", "report", "list", "check", "field", "train", "trace", "advise", "compare"),
    *("publish", "init", "tensorboard"),
)
for _command in COMMANDS:
    importlib.import_module(f"benchsuite.cli.{_command}")


#: The exception for a command line that typer cannot read: click's UsageError, which recent
#: versions of typer contain and older ones take from the package click.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Entry point: an error that the user can fix is one line on standard error."""
    sys.path.append("")  # models given as module:factory may live in the working directory
    try:
        sys.exit(app(prog_name="benchsuite", standalone_mode=False) or 0)
    except _CommandLineError as error:
        message(_command_line_message(error))
        sys.exit(2)
    except typer.Abort:
        message("interrupted")
        sys.exit(EXIT_INTERRUPTED)
    except UsageError as error:
        message(f"error: {error}")
        sys.exit(2)
    except BenchsuiteError as error:
        message(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        message("interrupted")
        sys.exit(EXIT_INTERRUPTED)


def _command_line_message(error: Any) -> str:
    """One line about what could not be read; the whole help if no command was given."""
    text = error.format_message()
    if text.startswith("Usage:"):
        return str(text)
    words = " ".join(text.split()).rstrip(".")
    details = getattr(error.__cause__, "errors", None)  # a number that typer could not read
    if details is not None:
        words += f": {details()[0]['input']!r}"
    command = error.ctx.command_path if error.ctx is not None else "benchsuite"
    return f"error: {words}; see `{command} --help`"
