"""What asv's detector of regressions is told: how much worse counts, measure by measure."""

from __future__ import annotations

from typing import Any

from benchsuite.catalog.measures import MEASURES

#: Least relative increase of a timing; from `tests/perf/regressions.py`, see docs/history.md.
TIMED = 0.05


def settings() -> dict[str, Any]:
    """Keys of an asv.conf.json; the one in this repository holds them in writing.

    asv takes an increase for worse, and of all thresholds that match the largest. What is counted
    is the same in each run, within the measure's tolerance, so any increase above that is one.
    Rates of the machine are better when higher, so they are shown but never searched.
    """
    of_machine = [spec.name for spec in MEASURES if spec.of_machine]
    sampled = [m.name for m in MEASURES if m.unit == "s" or m.task]
    counted: dict[float, list[str]] = {}
    for spec in MEASURES:
        if spec.name not in {*of_machine, *sampled}:
            counted.setdefault(spec.tolerance, []).append(spec.name)
    return {
        "regressions_thresholds": {
            _any_of(sampled): TIMED,
            **{_any_of(names): tolerance for tolerance, names in counted.items()},
        },
        "regressions_first_commits": {_any_of(of_machine): None},
    }


def _any_of(measures: list[str]) -> str:
    return rf"^measures\.\w+\.track_({'|'.join(measures)})\b"
