"""What asv's detector of regressions is told: how much worse counts, measure by measure."""

from __future__ import annotations

from typing import Any

from benchsuite.catalog.measures import MEASURES

#: Least relative increase of a timing; from `tests/perf/regressions.py`, see docs/history.md.
TIMED = 0.05
#: Of what is counted: it is the same in each run, so any increase is one.
COUNTED = 0.0


def settings() -> dict[str, Any]:
    """Keys of an asv.conf.json; the one in this repository holds them in writing.

    asv takes an increase for worse, and of all thresholds that match the largest. Rates of the
    machine are better when higher, so they are shown but never searched.
    """
    of_machine = [spec.name for spec in MEASURES if spec.of_machine]
    sampled = [m.name for m in MEASURES if m.unit == "s" or m.name.endswith("_error")]
    counted = [m.name for m in MEASURES if m.name not in {*of_machine, *sampled}]
    return {
        "regressions_thresholds": {_any_of(sampled): TIMED, _any_of(counted): COUNTED},
        "regressions_first_commits": {_any_of(of_machine): None},
    }


def _any_of(measures: list[str]) -> str:
    return rf"^measures\.\w+\.track_({'|'.join(measures)})\b"
