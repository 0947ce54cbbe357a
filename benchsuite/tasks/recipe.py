"""Recipes: how a model is trained, and for how long."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from benchsuite.errors import UsageError, unknown

OPTIMIZERS = ("adam", "lbfgs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        optimizer: "adam" (Kingma & Ba 2015) or "lbfgs", both torch's, with its other defaults.
        lr: Learning rate.
        steps: Optimiser steps at most; None: as many as `seconds` allow.
        seconds: Seconds at most, evaluations included; None: no limit.
        clip: Gradients are scaled down to this norm (Pascanu, Mikolov & Bengio 2013); None: never.
        evaluate_every: Steps between two points of the learning curve.
        patience: Points without improvement after which training stops; None: never.
        line_search: L-BFGS only: step lengths by the strong Wolfe conditions, as torch has them.
        chrono: Start the gates open for as long as the sequence (see `models.chrono`).

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
                raise UsageError(f"{name} = {value} is not allowed; whole numbers from 1")
        for name in ("lr", "seconds", "clip"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} = {value:g} is not allowed; numbers above 0")
        if self.steps is None and self.seconds is None:
            raise UsageError("training needs an end: give steps, seconds or both")
        if self.line_search and self.optimizer != "lbfgs":
            raise UsageError(f"line_search is not allowed with {self.optimizer}; only with lbfgs")
        if self.optimizer == "lbfgs" and self.clip is not None:
            raise UsageError(
                f"clip = {self.clip:g} is not allowed with lbfgs, which learns the curvature from"
                " the gradients as they are; leave it out or use adam"
            )

    def replace(self, **changes: Any) -> Recipe:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)

    def identity(self) -> dict[str, Any]:
        """What makes two trainings the same one but for their length."""
        names = ("optimizer", "lr", "clip", "evaluate_every", "line_search", "chrono")
        return {name: getattr(self, name) for name in names}


#: Where to start from with each optimiser.
DEFAULTS = {
    "adam": Recipe(),
    "lbfgs": Recipe(optimizer="lbfgs", lr=0.8, steps=15, clip=None, evaluate_every=1),
}
