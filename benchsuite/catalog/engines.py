"""The engines: every way to run a module that is already built, one line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchsuite.catalog.registry import Registry, resolve


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Something that runs modules.

    Attributes:
        name: What people type, the value of the axis `engine`.
        target: `module:class`; the class has the methods of `runtime.engines.Engine`.
        summary: One line on what it is.
    """

    name: str
    target: str
    summary: str

    def factory(self) -> Callable[..., Any]:
        """Import the class."""
        return resolve(self.target)  # type: ignore[no-any-return]


_E = "benchsuite.runtime.engines"

ENGINES = Registry(
    "engine",
    [
        EngineSpec("eager", f"{_E}.eager:Eager", "PyTorch, operator by operator"),
    ],
)
