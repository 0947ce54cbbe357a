"""One server of child processes for all commands that a test process runs.

A server imports torch, which takes a second or two, and each command starts one. Here the commands
of all tests use the same: it still forks a process for each model. `sweep/test_isolated.py`,
`cli/test_several_models.py` and the tests of interrupts start servers as a user's command does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchsuite.cli import field, train
from benchsuite.sweep.launchers.isolated import FIRST_STEP, Children


class SharedServer:
    """Stands for `Children`: its calls go to a server that goes on after the command."""

    def __init__(self) -> None:
        modules = (*train._MODULES, *field._MODULES, "benchsuite.profiling.trace_case", FIRST_STEP)
        self._children = Children(*modules)

    def __call__(self, *_modules: str) -> SharedServer:
        return self

    def __enter__(self) -> SharedServer:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """As `Children.call`, in the directory and with the import path of the moment."""
        place = (Path.cwd(), list(sys.path), dict(os.environ))
        return self._children.call(_called, place, function, *arguments, **options)

    def stop(self) -> None:
        """End the server."""
        self._children.stop()


def _called(place: tuple[Any, ...], function: Callable[..., Any], *arguments: Any) -> Any:
    directory, sys.path[:], variables = place
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(variables)
    return function(*arguments)
