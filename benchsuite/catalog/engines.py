"""Engines, which run modules that are already built: one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchsuite.catalog.registry import Registry, resolve


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine.

    Attributes:
        name: The value of the axis `engine`.
        target: `module:class`; the class has the methods of `runtime.engines.Engine`.
        summary: A description in one line.
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
