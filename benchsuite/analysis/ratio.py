"""The error of a ratio of two sets of processes: see `comparison` for why it is made so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.noise import Floats, Noise, shrunk, withins

#: Changes below this are not worth a verdict.
THRESHOLD = 0.05
#: Asymptotic variance of the Hodges–Lehmann estimate over that of the mean, for normal noise.
_HODGES_LEHMANN = math.pi / 3
#: Median of the absolute difference of two normal values, inverted; worth this part of its degrees.
_PAIR_TO_SIGMA = 1.0483
_PAIR_EFFICIENCY = 0.6
#: Without repeats one slow process cannot be told from a change: tails as heavy as this one's.
_SINGLE_DEGREES = 4.0
_POWER_Z = 1.645  # one-sided 5 %: a real change is told with 95 % probability
_MOST_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Processes:
    """Log medians of one case's processes on one side by time, and the standard error of each."""

    log: Floats
    own: Floats


def processes_of(rows: pd.DataFrame) -> dict[str, Processes]:
    """By case; an attempt that is there twice (the same file named twice) counts once."""
    rows = rows.drop_duplicates("uid").sort_values("started_at", kind="stable")
    log = np.log(rows["value"].to_numpy(float))
    own = withins(rows["samples"])
    found = rows.groupby("case", sort=False).indices
    return {str(case): Processes(log[index], own[index]) for case, index in found.items()}


@dataclass(frozen=True, slots=True)
class Prior:
    """What all cases together say of one process's variance, own part included or not."""

    variance: float
    degrees: float
    repeated: bool


def prior_of(pairs: list[tuple[Processes, Processes]], noise: dict[str, Noise]) -> Prior:
    """The variance of a process, and how many degrees of freedom it stands for in each case.

    From repeats by the moments of log variances (Smyth 2004, section 6.2); without them the larger
    of the two floors.
    """
    variances = [_pooled(*pair) for pair in pairs]
    repeated = [(v, d) for v, d in variances if d > 0 and v > 0]
    if len(repeated) < 3:
        larger = max(noise.values(), key=lambda own: own.between)
        return Prior(larger.between**2, _SINGLE_DEGREES, repeated=False)
    variance, degrees = shrunk(*np.array(repeated).T)
    return Prior(variance, degrees, repeated=True)


def _pooled(base: Processes, head: Processes) -> tuple[float, float]:
    """Variance of log medians between a case's processes, and its degrees of freedom.

    From the median difference of two processes of one side (Rousseeuw & Croux 1993): now and then a
    process is a third slower than its twins, and a variance would be that one process.
    """
    sides = (base.log, head.log)
    apart = [np.subtract.outer(log, log)[np.triu_indices(len(log), 1)] for log in sides]
    together = np.abs(np.concatenate(apart))
    if not len(together):
        return 0.0, 0.0
    degrees = len(base.log) + len(head.log) - 2
    return (_PAIR_TO_SIGMA * float(np.median(together))) ** 2, _PAIR_EFFICIENCY * degrees


def error_of(base: Processes, head: Processes, prior: Prior) -> tuple[float, float]:
    """Standard error of a case's log ratio and its degrees of freedom."""
    counts = len(base.log), len(head.log)
    efficiency = _HODGES_LEHMANN if min(counts) > 2 else 1.0
    if not prior.repeated:
        parts = [float(np.mean(side.own**2)) + prior.variance for side in (base, head)]
        variance = sum(part / n for part, n in zip(parts, counts, strict=True))
        return math.sqrt(efficiency * variance), prior.degrees
    own, degrees = _pooled(base, head)
    both = (prior.degrees * prior.variance + degrees * own) / (prior.degrees + degrees)
    return math.sqrt(efficiency * both * sum(1 / n for n in counts)), prior.degrees + degrees


def runs_needed(one_run: Floats, critical: float, threshold: float) -> Floats:
    """Runs of each side after which a change of twice the threshold is told in 95 % of cases.

    It has to be significant at the p value that is critical here, and to be estimated above the
    threshold.

    Args:
        one_run: Standard error of each case's log ratio, if it had one run a side.
        critical: The p value.
        threshold: Least relative change that gets a verdict.
    """
    change = math.log1p(2 * threshold) if threshold > 0 else math.log1p(2 * THRESHOLD)
    margins = (
        change / (float(stats.norm.isf(critical / 2)) + _POWER_Z),
        (change - math.log1p(threshold)) / _POWER_Z,
    )
    wanted = np.ceil((one_run / min(margins)) ** 2)
    return np.asarray(np.minimum(wanted, _MOST_RUNS), float)
