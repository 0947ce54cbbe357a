"""Measures: `function(workload, budget) -> Reading`, one line each in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a measure found.

    Attributes:
        value: In the measure's base unit; the median where there are samples.
        samples: Raw values per step, in the order taken; empty for exact values.
        number: Steps averaged in each sample.
        warning: What to know about the value, or nothing.
        provenance: Columns of `records.SCHEMA` that are known better than from the workload.
    """

    value: float
    samples: tuple[float, ...] = ()
    number: int = 1
    warning: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
