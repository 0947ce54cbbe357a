"""The command line.

Nothing below this package prints, and no command imports torch before it has to.
"""

from __future__ import annotations

import sys

from benchsuite.cli import (
    advising,
    checking,
    comparing,
    init,
    listing,
    publishing,
    reporting,
    running,
    seeing,
    tensorboard,
    trace,
    train,
)
from benchsuite.cli.app import EXIT_INTERRUPTED, app, say
from benchsuite.errors import BenchsuiteError, UsageError

__all__ = [
    "advising",
    "app",
    "checking",
    "comparing",
    "init",
    "listing",
    "main",
    "publishing",
    "reporting",
    "running",
    "seeing",
    "tensorboard",
    "trace",
    "train",
]


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
