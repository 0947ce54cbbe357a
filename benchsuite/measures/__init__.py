"""Measures: `function(workload, budget) -> Reading`, one line each in the registry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a measure found.

    Attributes:
        value: In the measure's base unit; the median where there are samples.
        samples: Raw values per step, in the order taken; empty for exact values.
        number: Steps averaged in each sample.
        warning: What to know about the value, or nothing.
    """

    value: float
    samples: tuple[float, ...] = ()
    number: int = 1
    warning: str = ""
