"""Two models' steps side by side, per timestep: in which categories their times differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchsuite import units
from benchsuite.profiling.categories import CATEGORIES
from benchsuite.profiling.explain import Explanation
from benchsuite.profiling.words import number, percent


@dataclass(frozen=True, slots=True)
class Comparison:
    """Difference of two explanations.

    Attributes:
        first, second: Ids of their cases.
        rows: For each category the seconds per timestep of both, the difference, and its share of
            the whole difference; the largest difference first.
        calls: Operators called per timestep, of both.
        sentences: The comparison in words.
    """

    first: str
    second: str
    rows: list[dict[str, Any]]
    calls: tuple[float, float]
    sentences: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def compare(first: Explanation, second: Explanation) -> Comparison:
    """Compare two explanations per timestep, as one of the traces may be cut."""
    steps = [explained.timesteps or 1 for explained in (first, second)]
    a, b = (e.seconds / n for e, n in zip((first, second), steps, strict=True))
    rows: list[dict[str, Any]] = []
    for category in CATEGORIES:
        here, there = a * first.shares[category], b * second.shares[category]
        if here or there:
            rows.append(
                {
                    "category": category,
                    "first": here,
                    "second": there,
                    "difference": here - there,
                    "share": (here - there) / (a - b) if a != b else 0.0,
                }
            )
    rows.sort(key=lambda row: -abs(row["difference"]))
    calls = first.calls / steps[0], second.calls / steps[1]
    words = _sentences(first, second, a, b, rows, calls)
    return Comparison(first.case, second.case, rows, calls, words)


def _sentences(
    first: Explanation,
    second: Explanation,
    a: float,
    b: float,
    rows: list[dict[str, Any]],
    calls: tuple[float, float],
) -> list[str]:
    slow, fast = (first, second) if a >= b else (second, first)
    least = min(a, b)
    times = f"{number(max(a, b) / least)} times" if least else "more than"
    most = [row for row in rows if row["share"] > 0][:2]
    where = " and ".join(f"{percent(row['share'])} is {row['category']}" for row in most)
    return [
        f"Per timestep {first.case} takes {units.show(a, 's')} and {second.case}"
        f" {units.show(b, 's')}, both under the profiler: {slow.case} takes {times} as long as"
        f" {fast.case}.",
        f"Of the difference, {where}; {first.case} calls {number(calls[0])} operators per"
        f" timestep, {second.case} {number(calls[1])}.",
    ]
