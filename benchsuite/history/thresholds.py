"""Thresholds for asv's detector of regressions, by patterns that new measures match too."""

from __future__ import annotations

from typing import Any

#: Smallest relative increase of a timing, or of an error after training, that is reported; chosen
#: with `tests/perf/regressions.py`, see docs/history.md.
TIMED = 0.05
#: The same for counted measures, which are equal in every run; `peak_memory` repeats within 1 %.
COUNTED, HEAP = 0.0, 0.01

_MEASURE = r"^measures\.\w+\.track_"


def settings() -> dict[str, Any]:
    """Keys of an asv.conf.json; the file in this repository holds the same values.

    asv regards every increase as worse, and uses the largest of all thresholds that match. Rates of
    the machine are better when higher, so they are shown but not searched for regressions.
    """
    return {
        "regressions_thresholds": {
            _MEASURE: COUNTED,
            rf"{_MEASURE}(\w*latency|\w+_time|\w+_error|first_call)\b": TIMED,
            rf"{_MEASURE}peak_memory\b": HEAP,
        },
        "regressions_first_commits": {rf"{_MEASURE}\w+_(rate|bandwidth)\b": None},
    }
