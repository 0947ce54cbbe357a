"""Recipes: how a model is trained on a task, and for how long."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from benchsuite.errors import UsageError, unknown

OPTIMIZERS = ("adam", "lbfgs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The settings of a training.

    Attributes:
        optimizer: "adam" (Kingma & Ba 2015) or "lbfgs", torch's implementation with its other
            defaults.
        lr: Learning rate.
        steps: Maximum number of optimiser steps; None: as many as `seconds` allows.
        seconds: Maximum time in seconds, including evaluations; None: no limit.
        clip: Maximum norm, to which larger gradients are scaled down (Pascanu, Mikolov & Bengio
            2013); None: no clipping.
        evaluate_every: Steps between two points of the learning curve.
        patience: Points without improvement after which training stops; None: never.
        line_search: L-BFGS only: choose step lengths by the strong Wolfe conditions, with torch's
            implementation.
        chrono: Initialise the gates for dependencies as long as the sequence (see
            `models.chrono`).

    Raises:
        UsageError: on construction, for a value that is not allowed.
    """

    optimizer: str = "adam"
    lr: float = 3e-3
    steps: int | None = 1000
    seconds: float | None = None
    clip: float | None = 1.0
    evaluate_every: int = 50
    patience: int | None = None
    line_search: bool = False
    chrono: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("steps", "evaluate_every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} = {value} is not allowed; use a whole number from 1")
        for name in ("lr", "seconds", "clip"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} = {value:g} is not allowed; use a number above 0")
        if self.steps is None and self.seconds is None:
            raise UsageError("training has no limit: give steps, seconds or both")
        if self.line_search and self.optimizer != "lbfgs":
            raise UsageError(
                f"line_search is not allowed with {self.optimizer}; leave it out or use lbfgs"
            )
        if self.optimizer == "lbfgs" and self.clip is not None:
            raise UsageError(
                f"clip = {self.clip:g} is not allowed with lbfgs, which estimates the curvature"
                " from unscaled gradients; leave it out or use adam"
            )

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)

    def identity(self) -> dict[str, Any]:
        """The values that two trainings share if they differ only in length."""
        names = ("optimizer", "lr", "clip", "evaluate_every", "line_search", "chrono")
        return {name: getattr(self, name) for name in names}


#: The default recipe of each optimiser.
DEFAULTS = {
    "adam": Recipe(),
    "lbfgs": Recipe(optimizer="lbfgs", lr=0.8, steps=15, clip=None, evaluate_every=1),
}
