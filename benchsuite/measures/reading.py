"""The result of a measure, which is a `function(workload, budget) -> Reading`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Result of a measure.

    Attributes:
        value: Value in the measure's base unit; the median if there are samples.
        samples: Raw values per step, in the order taken; empty for exact values.
        number: Steps averaged in each sample.
        warning: A remark on the value; empty if there is none.
        provenance: Columns of `records.SCHEMA` that replace those of the workload.
    """

    value: float
    samples: tuple[float, ...] = ()
    number: int = 1
    warning: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
