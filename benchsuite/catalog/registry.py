"""Registries: ordered tables of named specs, which refer to code by import path.

Importing the catalog imports neither torch nor any model: a spec's target is imported only when it
is needed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

from benchsuite.errors import UsageError, one_line, unknown


class _Named(Protocol):
    @property
    def name(self) -> str: ...


S = TypeVar("S", bound=_Named)


def resolve(target: str) -> Any:
    """Import `package.module:attribute`.

    Raises:
        UsageError: if the module cannot be imported, ends the program while it is imported (the
            message includes the import error or the exit code), or has no such attribute.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except SystemExit as error:
        raise UsageError(
            f"cannot import {module_name!r} of {target!r}: the module calls"
            f" sys.exit({exit_argument(error)}) when it is imported; put that under"
            " `if __name__ == '__main__':`"
        ) from error
    except BaseException as error:  # a user's module may fail in any way
        prefix = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise UsageError(
            f"cannot import {module_name!r} of {target!r}: {prefix}{one_line(error)}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UsageError(f"module {module_name!r} has no {attribute!r}") from error


def exit_argument(error: SystemExit) -> str:
    """The argument of `sys.exit`, at most 100 characters."""
    return "" if error.code is None else repr(error.code)[:100]


class Registry(Generic[S]):
    """An ordered table of specs by name."""

    def __init__(self, noun: str, specs: list[S]) -> None:
        self.noun = noun
        self._specs = {spec.name: spec for spec in specs}

    def __iter__(self) -> Iterator[S]:
        return iter(self._specs.values())

    def names(self) -> list[str]:
        """All names, in the order of the table."""
        return list(self._specs)

    def get(self, name: str) -> S:
        """The spec with this name.

        Raises:
            UsageError: if the name is unknown; the message lists the allowed names and the closest.
        """
        if name not in self._specs:
            raise unknown(self.noun, name, self._specs)
        return self._specs[name]
