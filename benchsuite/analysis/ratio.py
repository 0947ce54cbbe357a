"""The error of a ratio of two sets of processes; `comparison` gives the reasons for the method."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.noise import Floats, Noise, median_errors, shrunk

#: Relative changes below this get no verdict.
THRESHOLD = 0.05
#: Asymptotic variance of the Hodges–Lehmann estimate over that of the mean, for normal noise.
_HODGES_LEHMANN = math.pi / 3
#: Median of the absolute difference of two normal values, inverted; worth this part of its degrees.
_PAIR_TO_SIGMA = 1.0483
_PAIR_EFFICIENCY = 0.6
#: Degrees of freedom without repeats: heavy tails, as one slow process looks like a change.
_SINGLE_DEGREES = 4.0
_POWER_Z = 1.645  # one-sided 5 %: a real change is found with 95 % probability
_MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of one case on one side, in the order of time.

    Attributes:
        log: Their log medians.
        own: The standard error of each.
        between: The noise floor of such cases, estimated from that side.
    """

    log: Floats
    own: Floats
    between: float = 0.0


def processes_of(rows: pd.DataFrame, noise: Noise) -> dict[str, Processes]:
    """Case → its processes; an attempt that occurs twice (a file named twice) counts once."""
    rows = rows.drop_duplicates("uid").sort_values("started_at", kind="stable")
    log = np.log(rows["value"].to_numpy(float))
    own = median_errors(rows["samples"])
    between, _ = noise.of(rows)
    found = rows.groupby("case", sort=False).indices
    return {
        str(case): Processes(log[index], own[index], float(between[index[0]]))
        for case, index in found.items()
    }


def errors_of(pairs: list[tuple[Processes, Processes]]) -> tuple[Floats, Floats]:
    """Standard error of each case's log ratio, and its degrees of freedom.

    With repeats they follow from each case's variance, drawn towards that of all cases (`shrunk`);
    without repeats from the noise floors.
    """
    pooled = np.array([_pooled(*pair) for pair in pairs]).reshape(-1, 2)
    known = (pooled > 0).all(1)
    repeated = known.sum() >= 3
    variance, weight = shrunk(*pooled[known].T) if repeated else (0.0, 0.0)
    error, degrees = np.empty(len(pairs)), np.empty(len(pairs))
    for place, sides in enumerate(pairs):
        counts = [len(side.log) for side in sides]
        own, free = pooled[place]
        if repeated:
            both = (weight * variance + free * own) / (weight + free)
            parts, degrees[place] = [both, both], weight + free
        else:
            parts = [float(np.mean(side.own**2)) + side.between**2 for side in sides]
            degrees[place] = _SINGLE_DEGREES
        efficiency = _HODGES_LEHMANN if min(counts) > 2 else 1.0
        squared = sum(part / count for part, count in zip(parts, counts, strict=True))
        error[place] = math.sqrt(efficiency * squared)
    return error, degrees


def _pooled(base: Processes, head: Processes) -> tuple[float, float]:
    """Variance of log medians between a case's processes, and its degrees of freedom.

    From the median difference of two processes of one side (Rousseeuw & Croux 1993): now and then a
    process is a third slower than its twins, which would dominate a variance.
    """
    apart = [np.subtract.outer(side.log, side.log)[_pairs(len(side.log))] for side in (base, head)]
    together = np.abs(np.concatenate(apart))
    if not len(together):
        return 0.0, 0.0
    degrees = len(base.log) + len(head.log) - 2
    return (_PAIR_TO_SIGMA * float(np.median(together))) ** 2, _PAIR_EFFICIENCY * degrees


@functools.lru_cache
def _pairs(count: int) -> tuple[np.ndarray, ...]:
    return np.triu_indices(count, 1)


def runs_needed(one_run: Floats, critical: float, threshold: float) -> Floats:
    """Runs of each side after which a change of twice the threshold is found in 95 % of cases.

    The change has to be significant at `critical`, and its estimate above the threshold.

    Args:
        one_run: Standard error of each case's log ratio with one run of each side.
        critical: The p value at which a change is significant.
        threshold: Least relative change that gets a verdict.
    """
    change = math.log1p(2 * threshold) if threshold > 0 else math.log1p(2 * THRESHOLD)
    margins = (
        change / (float(stats.norm.isf(critical / 2)) + _POWER_Z),
        (change - math.log1p(threshold)) / _POWER_Z,
    )
    wanted = np.ceil((one_run / min(margins)) ** 2)
    return np.asarray(np.minimum(wanted, _MOST_RUNS), float)
