"""The command line.

Nothing below this package prints, and no command imports torch before it has to.
"""

from __future__ import annotations

import importlib
import sys

from benchsuite.cli._app import EXIT_INTERRUPTED, app, say
from benchsuite.errors import BenchsuiteError, UsageError

__all__ = ["app", "main"]

#: A module for each command, by the command's name; importing it adds the command to `app`.
COMMANDS = (
    *("run", "report", "list", "check", "field", "train", "trace", "advise", "compare"),
    *("publish", "init", "tensorboard"),
)
for _command in COMMANDS:
    importlib.import_module(f"benchsuite.cli.{_command}")


def main() -> None:
    """Entry point: errors that people can mend are one line on standard error."""
    sys.path.append("")  # models given as module:factory may live in the working directory
    try:
        app()
    except UsageError as error:
        say(f"error: {error}")
        sys.exit(2)
    except BenchsuiteError as error:
        say(f"error: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(EXIT_INTERRUPTED)
