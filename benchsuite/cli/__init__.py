"""The command line.

Nothing below this package prints, and no command imports torch before it has to.
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


#: What typer raises for a command line that it cannot read: the UsageError of the click in use,
#: which is inside recent versions of typer and a package beside older ones.
_Misread: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Entry point: errors that people can mend are one line on standard error."""
    sys.path.append("")  # models given as module:factory may live in the working directory
    try:
        sys.exit(app(prog_name="benchsuite", standalone_mode=False) or 0)
    except _Misread as error:
        message(_misread(error))
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


def _misread(error: Any) -> str:
    """One line on what could not be read; the whole help where nothing was given."""
    text = error.format_message()
    if text.startswith("Usage:"):
        return str(text)
    words = " ".join(text.split()).rstrip(".")
    details = getattr(error.__cause__, "errors", None)  # a number that typer could not read
    if details is not None:
        words += f": {details()[0]['input']!r}"
    command = error.ctx.command_path if error.ctx is not None else "benchsuite"
    return f"error: {words}; see `{command} --help`"
