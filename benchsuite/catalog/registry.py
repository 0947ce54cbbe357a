"""What the tables of the catalog share: an ordered table of named lines, and what a line names.

Importing the catalog imports neither torch nor any model: what a line names is resolved when it is
first needed.
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
        UsageError: if the module cannot be imported, with the import's own words, or has no such
            attribute.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module from outside may fail in any way
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise UsageError(
            f"cannot import {module_name!r} of {target!r}: {kind}{one_line(error)}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise UsageError(f"module {module_name!r} has no {attribute!r}") from error


class Registry(Generic[S]):
    """An ordered table of specs by name."""

    def __init__(self, kind: str, specs: list[S]) -> None:
        self.kind = kind
        self._specs = {spec.name: spec for spec in specs}

    def __iter__(self) -> Iterator[S]:
        return iter(self._specs.values())

    def names(self) -> list[str]:
        """All names, in the order of the table."""
        return list(self._specs)

    def get(self, name: str) -> S:
        """The spec of that name.

        Raises:
            UsageError: naming the allowed ones and the closest.
        """
        if name not in self._specs:
            raise unknown(self.kind, name, self._specs)
        return self._specs[name]
