"""A randomisation test of whether two sides of runs differ at all; it exchanges whole runs.

If nothing changed and the sides were measured in turn, it is arbitrary which run belongs to which
side. All choices of as many runs for the base are then equally likely, and the actual one is among
the 5 % that differ most in at most 5 % of comparisons (Fisher 1935; Ernst 2004). This holds for any
noise: processes that are a third slower than their twins, cases that are noisier than others, and a
run that is slower as a whole, as it is exchanged as a whole.

With few runs there are few choices. If even the most extreme one would not be among 5 % of them,
the test cannot show any change: 3 runs of each side give 10 distinct choices, 4 give 35.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from benchsuite.analysis.noise import LEAST_DIFFERENCE, Floats

#: Choices of runs that are tried at most; if there are more, this many are drawn.
_MOST = 1000
#: Numbers held at once.
_CHUNK = 4_000_000
#: Equal choices differ by rounding.
_ROUNDING = 1 - 1e-9


def enough_runs(base: int, head: int, alpha: float) -> bool:
    """Whether the sides have enough runs to show a change at all.

    With equally many runs, choices that only swap the sides count once: a change may go either way.
    """
    distinct = math.comb(base + head, base) // (2 if base == head else 1)
    return min(base, head) > 0 and distinct * alpha >= 1


def least_runs(alpha: float) -> int:
    """The smallest number of runs of each side that is enough."""
    return next(n for n in itertools.count(1) if enough_runs(n, n, alpha))


def relabelled(pairs: Sequence[tuple[Floats, Floats]], threshold: float) -> tuple[float, Floats]:
    """The p value of "no case changed", and a p value for each case.

    A case's statistic is t: the difference of the sides' winsorised means (0 where it is below the
    threshold) over its standard deviation plus the median one of all cases, so that a case that
    happens to repeat well is not trusted too much. Its p value is the share of all t, of every case
    and choice, that are at least as large (Tusher, Tibshirani & Chu 2001).

    The statistic of all together is the sum of the fourth powers of t: large where one case stands
    out and where many differ a little.

    Args:
        pairs: For each case the log values of the base's and of the head's runs, in the order of
            time: the same position in two cases is the same run. Cases with other numbers of runs
            are exchanged separately.
        threshold: Least log ratio that counts.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for place, (base, head) in enumerate(pairs):
        groups.setdefault((len(base), len(head)), []).append(place)
    random = np.random.default_rng(0)
    sums, p = [], np.ones(len(pairs))
    for counts, places in groups.items():
        logs = np.array([np.concatenate(pairs[place]) for place in places])
        own, p[places] = _tested(logs, _choices(*counts, random), threshold)
        sums.append(own)
    if len(sums) > 1:  # the choice that was made, and random ones of each group
        sums = [np.append(own[0], own[random.integers(len(own), size=_MOST - 1)]) for own in sums]
    total = np.sum(sums, axis=0)
    return float(np.mean(total >= total[0] * _ROUNDING)), p


def _choices(base: int, head: int, random: np.random.Generator) -> Floats:
    """1 for runs of the base and 0 for others, (choices, runs); the actual choice comes first."""
    count = base + head
    if math.comb(count, base) <= _MOST:
        chosen = np.array(list(itertools.combinations(range(count), base)))
    else:
        order = random.random((_MOST, count)).argsort(1)
        order[0] = np.arange(count)
        chosen = order[:, :base]
    labels = np.zeros((len(chosen), count))
    np.put_along_axis(labels, chosen, 1.0, axis=1)
    return labels


def _tested(logs: Floats, labels: Floats, threshold: float) -> tuple[Floats, Floats]:
    """Statistics of all choices, (choices,), and p values of all cases, (cases,).

    Args:
        logs: Log values, (cases, runs).
        labels: From `_choices`.
        threshold: Least log ratio that counts.
    """
    cases, count = logs.shape
    base = int(labels[0].sum())
    head = count - base
    logs = _winsorised(logs, min(max(1, count // 10), base - 1, head - 1))
    logs = logs - logs.mean(1, keepdims=True)
    squares = (logs**2).sum(1)
    sums: list[Floats] = []
    larger = np.zeros(cases + 1)
    observed, ordered = np.empty(0), np.empty(0)
    for part in np.array_split(labels, math.ceil(len(labels) * cases / _CHUNK)):
        of_base = part @ logs.T / base
        difference = -of_base * base / head - of_base  # the other side's mean has the rest
        within = squares - difference**2 * base * head / count
        deviation = np.sqrt(np.maximum(within, 0.0) / max(count - 2, 1))
        typical = np.median(deviation, axis=1, keepdims=True)
        t = np.abs(difference) / np.maximum(deviation + typical, LEAST_DIFFERENCE)
        t[np.abs(difference) < threshold] = 0.0
        if not sums:  # the choice that was made is the first
            observed = t[0] * _ROUNDING
            ordered = np.sort(observed)
        larger += np.bincount(
            np.searchsorted(ordered, t.ravel(), side="right"), minlength=cases + 1
        )
        sums.append((t**4).sum(1))
    # A t at place k of the ordered ones is as large as the k smallest of them.
    as_large = np.cumsum(larger[::-1])[::-1]
    place = np.searchsorted(ordered, observed, side="left")
    p = as_large[place + 1] / (len(labels) * cases)
    return np.concatenate(sums), np.where(observed > 0, p, 1.0)


def _winsorised(logs: Floats, most: int) -> Floats:
    """Each row with its `most` largest and smallest values replaced by the next ones."""
    ordered = np.sort(logs, axis=1)
    return np.clip(logs, ordered[:, [most]], ordered[:, [-1 - most]])
