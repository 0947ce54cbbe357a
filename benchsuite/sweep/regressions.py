"""What asv's detector of regressions is told: how much worse counts, measure by measure."""

from __future__ import annotations

import re
from typing import Any

from benchsuite.registry import MEASURES, MeasureSpec
from benchsuite.sweep.suite import benchmark_name

#: Least relative increase of a timing; from `tests/perf/regressions.py`, see docs/history.md.
TIMED = 0.10
#: Of what is counted: it is the same in each run, so any increase is one.
COUNTED = 0.0


def settings() -> dict[str, Any]:
    """Keys of an asv.conf.json; the one in this repository holds them in writing.

    asv takes an increase for worse, and of all thresholds that match the largest. Rates of the
    machine are better when higher, so they are shown but never searched.
    """
    searched = [spec for spec in MEASURES if not spec.of_machine]
    return {
        "regressions_thresholds": {_pattern(spec): _threshold(spec) for spec in searched},
        "regressions_first_commits": {_pattern(spec): None for spec in MEASURES if spec.of_machine},
    }


def _pattern(spec: MeasureSpec) -> str:
    return f"^{re.escape(benchmark_name(spec.name))}\\b"


def _threshold(spec: MeasureSpec) -> float:
    sampled = spec.unit == "s" or spec.name.endswith("_error")
    return TIMED if sampled else COUNTED
