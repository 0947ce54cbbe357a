"""How far a value would move if its case were measured again.

Samples of one process share its memory layout, its clock rate and its neighbours, so their spread
says little about another process: on two shared cores medians of processes differ by several times
the interval of either. The noise has two parts, both standard deviations of a log value:

- within: the standard error of a process's median, by a block bootstrap of its raw samples;
- between: what another process adds, the noise floor. It is estimated from the data for each model,
  mode and device, as one model's times repeat within 2 % where another's move by 13 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from benchsuite.analysis.select import LINE, measured
from benchsuite.stats import stacked

Floats = np.ndarray[Any, np.dtype[np.float64]]
_BLOCKS = 12
#: So many lines, or rows, are enough to estimate one number from.
_LINES = 2000
#: A column of `withins`, for who asks for the spread of the same rows again and again.
WITHIN = "within"
#: Attempts that differ in one of these measured something else.
SAME = ("case", "measure", "version", "machine", "commit", "tree", "torch")


#: Cases whose noise is estimated together.
KIND = ("model", "mode", "device")
#: As many degrees of freedom are as good as a known variance.
_MOST_DEGREES = 200.0


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise floors of a measure.

    Attributes:
        between: Standard deviation of a log value from process to process, the median over kinds of
            cases; 0.05 is about 5 %. It holds for kinds that `kinds` leaves out.
        degrees: Degrees of freedom of that estimate; 0 where there is nothing to estimate from.
        source: "repeats" of the same case, residuals of smooth "lines" over sequence length, or
            "none", in which case `between` is 0 and intervals hold for one process only.
        kinds: "model, mode, device" → its own `between` and `degrees`.
    """

    between: float
    degrees: float
    source: Literal["repeats", "lines", "none"]
    kinds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def of(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """Each row's floor and its degrees of freedom, infinite where it is not an estimate."""
        if not len(frame):
            return np.empty(0), np.empty(0)
        typical = (self.between, self.degrees)
        code = frame.groupby(list(KIND), sort=False, dropna=False).ngroup().to_numpy()
        first = frame.iloc[np.unique(code, return_index=True)[1]]
        names = _kind_names(first)
        found = np.array([self.kinds.get(name, typical) for name in names], float)[code]
        return found[:, 0], np.where(found[:, 1] > 0, found[:, 1], np.inf)

    @property
    def words(self) -> str:
        """What the intervals hold for."""
        return "noise between processes included" if self.degrees else "of one process only"

    @property
    def size(self) -> str:
        """The floor in words: "5.6 %", or from which kind's to which, and the median."""
        floors = [between for between, _ in self.kinds.values()]
        if len(floors) < 2:
            return _percent(self.between)
        low, high = _percent(min(floors)), _percent(max(floors))
        return f"{low} to {high} by model and mode, median {_percent(self.between)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _kind_names(frame: pd.DataFrame) -> list[str]:
    return [", ".join(map(str, key)) for key in zip(*(frame[n] for n in KIND), strict=True)]


def critical(*parts: tuple[ArrayLike, ArrayLike], tail: float = 0.025) -> Floats:
    """How many standard deviations the tail of a sum of independent values begins at.

    Student's t, as floors estimated from few residuals are themselves uncertain, with the degrees
    of freedom of Welch (1947) and Satterthwaite for the sum.

    Args:
        parts: Standard deviation and degrees of freedom of each value, arrays of one shape.
        tail: Probability beyond it, on one side.
    """
    variances = [np.asarray(sigma, float) ** 2 for sigma, _ in parts]
    total = np.asarray(sum(variances), float)
    scale = np.where(total > 0, total, 1.0)
    uncertain = sum(
        (own / scale) ** 2 / np.asarray(degrees, float)
        for own, (_, degrees) in zip(variances, parts, strict=True)
    )
    with np.errstate(divide="ignore"):
        degrees = np.where(uncertain > 0, 1 / np.asarray(uncertain, float), np.inf)
    distinct, place = np.unique(degrees, return_inverse=True)
    return np.asarray(stats.t.isf(tail, distinct)[place].reshape(degrees.shape), float)


def shrunk(variances: Floats, degrees: Floats) -> tuple[float, float]:
    """What many variances have in common: their prior's variance and its degrees of freedom.

    By the moments of log variances (Smyth 2004, section 6.2): many degrees where the variances
    differ by no more than their own uncertainty, few where they differ by more. Few variances do
    not show how much they differ, so the most that they may is assumed (at 90 %).

    Args:
        variances: Positive, at least three.
        degrees: Degrees of freedom of each, positive.
    """
    logs = np.log(variances) - special.digamma(degrees / 2) + np.log(degrees / 2)
    free = len(logs) - 1
    most = float(logs.var(ddof=1)) * free / float(stats.chi2.ppf(0.1, free))
    excess = most - float(special.polygamma(1, degrees / 2).mean())
    prior = _MOST_DEGREES
    if excess > special.polygamma(1, prior / 2):
        prior = 2 * optimize.brentq(
            lambda half: special.polygamma(1, half) - excess, 1e-3, prior / 2
        )
    variance = math.exp(logs.mean() + special.digamma(prior / 2) - math.log(prior / 2))
    return float(variance), float(prior)


def within(samples: object) -> float:
    """Standard error of the log median of one process's samples.

    The block bootstrap (Künsch 1989) of the mean of log medians of consecutive samples, which are
    correlated: at most twelve blocks, of one sample each where there are fewer than eight. For a
    mean the bootstrap's standard error has a closed form, so nothing is drawn.

    Args:
        samples: Raw samples in the order they were taken; anything but a list counts as exact: 0.
    """
    return float(withins([samples])[0])


def withins(samples: Iterable[object]) -> Floats:
    """`within` of many processes, those of equally many samples at once."""
    sets: Any = samples
    if not (isinstance(samples, pd.Series) and isinstance(samples.dtype, pd.ArrowDtype)):
        sets = [own if isinstance(own, list | tuple | np.ndarray) else () for own in samples]
    found = np.zeros(len(sets))
    for places, values in stacked(sets):
        number = values.shape[1]
        usable = (values > 0).all(1)
        if number < 2 or not usable.any():
            continue
        count = number if number < 8 else min(_BLOCKS, number // 2)
        size = number // count
        blocks = values[usable, : count * size].reshape(-1, count, size)
        logs = np.log(np.median(blocks, axis=2))
        found[places[usable]] = logs.std(1, ddof=1) / np.sqrt(count)
    return found


def floor(frame: pd.DataFrame, measure: str) -> Noise:
    """Estimate the noise between processes from the data, for each kind of cases (`KIND`).

    Where cases were measured by several processes (`--fresh`), from their pooled variance. Else
    from how far values lie off a smooth curve over sequence length: a quadratic in log-log, or a
    straight line through three lengths. A curve that is not smooth makes the floor too high; few
    residuals make it uncertain, which `critical` allows for. With three kinds or more each
    variance is drawn towards what they have in common (`shrunk`).

    A variance, not a robust scale: a process now and then that is a third slower than its twins
    is part of what another run would show, and intervals without it are too narrow.

    Args:
        frame: Records, with every attempt if there are several.
        measure: Which measure.
    """
    rows = measured(frame, measure)
    if not len(rows) or (rows["n_samples"] <= 1).all():
        return Noise(0.0, 0.0, "none")
    rows = rows.assign(log=np.log(rows["value"].to_numpy(float)))
    source: Literal["repeats", "lines"] = "repeats"
    sums = _repeats(rows)
    if sums["degrees"].sum() < 3:
        sums, source = _off_smooth(rows), "lines"
    if sums["degrees"].sum() < 3:
        return Noise(0.0, 0.0, "none")
    return _floors(sums.groupby(list(KIND), sort=False).sum(), _own(rows), source)


def _floors(sums: pd.DataFrame, own: float, source: Literal["repeats", "lines"]) -> Noise:
    """Floors from sums of squares and their degrees of freedom, one row a kind."""
    squares, degrees = (sums[name].to_numpy(float) for name in ("squares", "degrees"))
    known = (degrees > 0) & (squares > 0)
    variance, freedom = float(squares.sum() / degrees.sum()), float(degrees.sum())
    prior, weight = variance, 0.0
    if known.sum() >= 3:
        prior, weight = shrunk(squares[known] / degrees[known], degrees[known])
    kinds = {}
    names = _kind_names(sums.reset_index())
    for name, square, count in zip(names, squares.tolist(), degrees.tolist(), strict=True):
        if count + weight > 0:
            mine = (square + weight * prior) / (count + weight)
            kinds[name] = (_without(mine, own), min(count + weight, _MOST_DEGREES))
    if len(kinds) < 2:
        return Noise(_without(variance, own), freedom, source, kinds)
    middle = np.median(np.array(list(kinds.values())), axis=0)
    return Noise(float(middle[0]), float(middle[1]), source, kinds)


def _own(rows: pd.DataFrame) -> float:
    """The typical variance of one process's own log median."""
    return float(np.median(withins(rows["samples"].head(_LINES)) ** 2))


def _without(variance: float, own: float) -> float:
    """The standard deviation that is left of a variance without each process's own part."""
    return math.sqrt(max(variance - own, 0.0))


def _repeats(rows: pd.DataFrame) -> pd.DataFrame:
    """`KIND`, squares and degrees of every case measured more than once."""
    groups = rows["log"].groupby([rows[name] for name in SAME], sort=False)
    return rows[list(KIND)].assign(
        squares=(rows["log"] - groups.transform("mean")) ** 2,
        degrees=1 - 1 / groups.transform("size"),
    )


def _off_smooth(rows: pd.DataFrame) -> pd.DataFrame:
    """`KIND`, squares and degrees of the residuals of every line of three lengths or more."""
    identity = [*LINE, "model", *(name for name in SAME if name not in {"case", "measure"})]
    single = rows.drop_duplicates([*identity, "seq_len"])
    lines = list(single.groupby(identity, sort=False).indices.values())[:_LINES]
    x_all = np.log2(single["seq_len"].to_numpy(float))
    y_all = single["log"].to_numpy(float)
    found = []
    for line in lines:
        x, y = x_all[line], y_all[line]
        if len(x) < 3:
            continue
        basis = np.vander(x - x.mean(), 3 if len(x) > 3 else 2)
        residuals = y - basis @ np.linalg.lstsq(basis, y, rcond=None)[0]
        found.append((line[0], float(residuals @ residuals), len(x) - basis.shape[1]))
    first = [line for line, _, _ in found]
    return (
        single.iloc[first][list(KIND)]
        .assign(squares=[square for _, square, _ in found], degrees=[n for _, _, n in found])
        .astype({"squares": float, "degrees": float})
    )


def spread(frame: pd.DataFrame, noise: Noise) -> Floats:
    """Standard deviation of each row's log value: its own part and the floor together."""
    return spread_and_degrees(frame, noise)[0]


def spread_and_degrees(frame: pd.DataFrame, noise: Noise) -> tuple[Floats, Floats]:
    """`spread`, and the degrees of freedom of each for `critical`; infinite for exact values."""
    known = WITHIN in frame
    own = frame[WITHIN].to_numpy(float) if known else withins(frame["samples"])
    timed = frame["n_samples"].to_numpy(float) > 1
    between, degrees = noise.of(frame)
    sigma = np.sqrt(own**2 + np.where(timed, between**2, 0.0))
    return np.asarray(sigma, float), np.where(timed, degrees, np.inf)
