"""Settings of asv's regression detector: the smallest increase to report, for each measure."""

from __future__ import annotations

from typing import Any

from benchsuite.catalog.measures import MEASURES

#: Smallest relative increase of a timing that is reported; chosen with
#: `tests/perf/regressions.py`, see docs/history.md.
TIMED = 0.05
#: The same for counted measures: they are equal in every run, so any increase is real.
COUNTED = 0.0


def settings() -> dict[str, Any]:
    """Keys of an asv.conf.json; the file in this repository holds the same values.

    asv regards every increase as worse, and uses the largest of all thresholds that match. Rates of
    the machine are better when higher, so they are shown but not searched for regressions.
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
