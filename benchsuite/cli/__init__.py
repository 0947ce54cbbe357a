"""The command line.

Only this package prints, and each command imports torch as late as possible.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import typer

from benchsuite.catalog.models import MODELS
from benchsuite.catalog.registry import exit_argument
from benchsuite.cli._app import EXIT_INTERRUPTED, app, message
from benchsuite.cli._terminal import EXIT_BROKEN_PIPE, OutputError, discard_output, printing
from benchsuite.errors import BenchsuiteError, UsageError

__all__ = ["app", "main"]

#: A module for each command, by the command's name; importing it adds the command to `app`.
COMMANDS = (
    *("run", "report", "list", "check", "field", "train", "trace", "advise", "compare"),
    "ladder",
    *("publish", "init", "tensorboard"),
)
for _command in COMMANDS:
    importlib.import_module(f"benchsuite.cli.{_command}")


#: Environment variable by which a shell asks typer for completions.
_COMPLETION = "_BENCHSUITE_COMPLETE"
#: What typer raises for a command line that it cannot read: the UsageError of the click in use,
#: which is inside recent versions of typer and a package beside older ones.
_CommandLineError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Entry point: an error that the user can fix is one line on standard error."""
    sys.path.append("")  # models given as module:factory may live in the working directory
    with printing():
        code = _exit_code()
        try:
            sys.stdout.flush()
        except OutputError as error:
            code = _unwritable(error)
    sys.exit(code)


def _exit_code() -> int:
    """Run the command, and report how it failed."""
    try:
        code = int(app(prog_name="benchsuite", standalone_mode=False) or 0)
    except _CommandLineError as error:
        message(_command_line_message(error))
        return 2
    except OutputError as error:
        return _unwritable(error)
    except UsageError as error:
        message(f"error: {error}")
        return 2
    except BenchsuiteError as error:
        message(f"error: {error}")
        return 1
    except SystemExit as error:
        if _COMPLETION in os.environ:  # the one place where typer ends the program
            raise
        message(
            f"error: the code that was run has called sys.exit({exit_argument(error)}), which ends"
            " the command without a result"
        )
        return 1
    except (KeyboardInterrupt, typer.Abort):
        message("interrupted")
        return EXIT_INTERRUPTED
    for problem in MODELS.problems:
        message(f"note: {problem}")
    return code


def _unwritable(error: OutputError) -> int:
    """Exit code if output cannot be written; if its reader has closed it, without a message."""
    discard_output()
    if error.broken_pipe:
        return EXIT_BROKEN_PIPE
    message(f"error: {error}")
    return 1


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
