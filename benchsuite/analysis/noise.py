"""The noise of a value: by how much it would differ if its case were measured again.

Samples of one process share its memory layout, its clock rate and its neighbours, so their spread
shows little about another process: on two shared cores, medians of processes differ by several
times the interval of either. The noise has two parts, both standard deviations of a log value:

- within a process: the standard error of its median, by a block bootstrap of its raw samples;
- between processes: the noise floor, which another process adds. It is estimated from the data for
  each model, mode and device, as the times of one model repeat within 2 % and those of another
  differ by 13 %.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import interpolate, optimize, special, stats

from benchsuite.analysis.select import LINE, measured, only
from benchsuite.records.frame import group_numbers
from benchsuite.stats import stacked

Floats = np.ndarray[Any, np.dtype[np.float64]]
#: Least log ratio of exact values that counts: far below the noise of any clock.
LEAST_DIFFERENCE = 1e-12
_BLOCKS = 12
#: Lines, or rows, that are read at most to estimate one number.
_LINES = 2000
#: A column that holds `median_errors`, where the spread of the same rows is needed repeatedly.
WITHIN = "within"
#: Attempts that differ in one of these columns measured something else.
SAME = ("case", "measure", "version", "machine", "commit", "tree", "torch")


#: Cases whose noise is estimated together.
KIND = ("model", "mode", "device")
#: Columns that a floor is estimated from, besides `noise_columns`.
_READ = (*LINE, "model", "seq_len", *SAME, "status", "value")
#: With this many degrees of freedom an estimated variance counts as known.
_MOST_DEGREES = 200.0
#: Quantiles that are computed one by one at most, and that a table of them has.
_MANY = 4096


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise floors of a measure.

    Attributes:
        between: Standard deviation of a log value from process to process, the median over kinds of
            cases; 0.05 is about 5 %. It holds for kinds that are not in `kinds`.
        degrees: Degrees of freedom of that estimate; 0 where nothing could be estimated.
        source: "repeats" of the same case, residuals of smooth "lines" over sequence length, or
            "none", in which case `between` is 0 and intervals hold for one process only.
        kinds: "model, mode, device" → `between` and `degrees` of these cases.
    """

    between: float
    degrees: float
    source: Literal["repeats", "lines", "none"]
    kinds: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def of(self, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """Noise floor of each row, and its degrees of freedom (infinite for an assumed floor)."""
        if not len(frame):
            return np.empty(0), np.empty(0)
        typical = (self.between, self.degrees)
        code = group_numbers(frame, KIND)
        names = _kind_names(frame[list(KIND)].iloc[np.unique(code, return_index=True)[1]])
        found = np.array([self.kinds.get(name, typical) for name in names], float)[code]
        return found[:, 0], np.where(found[:, 1] > 0, found[:, 1], np.inf)

    @property
    def words(self) -> str:
        """Whether intervals include the noise between processes, for a caption."""
        return "noise between processes included" if self.degrees else "of one process only"

    @property
    def size(self) -> str:
        """The floor in words: "5.6 %", or the range over kinds of cases and the median."""
        floors = [between for between, _ in self.kinds.values()]
        if len(floors) < 2:
            return _percent(self.between)
        low, high = _percent(min(floors)), _percent(max(floors))
        return f"{low} to {high} depending on model and mode, median {_percent(self.between)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _kind_names(frame: pd.DataFrame) -> list[str]:
    return [", ".join(map(str, key)) for key in zip(*(frame[n] for n in KIND), strict=True)]


def critical(*parts: tuple[ArrayLike, ArrayLike], tail: float = 0.025) -> Floats:
    """The number of standard deviations beyond which the tail of a sum begins.

    Student's t, as floors estimated from few residuals are themselves uncertain, with the degrees
    of freedom of Welch (1947) and Satterthwaite for the sum.

    Args:
        parts: Standard deviation and degrees of freedom of each value of the sum, which are
            independent; arrays of one shape.
        tail: Probability of the tail, on one side.
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
    if degrees.size > _MANY:
        return _interpolated(tail, degrees)
    distinct, place = np.unique(degrees, return_inverse=True)
    return np.asarray(stats.t.isf(tail, distinct)[place].reshape(degrees.shape), float)


def _interpolated(tail: float, degrees: Floats) -> Floats:
    """Quantiles of Student's t from a table, to twelve digits: a hundred times as fast."""
    inverse = 1 / degrees
    found = _table(tail)(np.minimum(inverse, 1.0))
    few = inverse > 1
    if few.any():  # less than one degree of freedom
        found[few] = stats.t.isf(tail, degrees[few])
    return np.asarray(found, float)


@functools.lru_cache
def _table(tail: float) -> interpolate.CubicSpline:
    """The quantile as a function of one over the degrees of freedom, from 0 to 1: it is smooth."""
    at = np.linspace(0.0, 1.0, _MANY)
    with np.errstate(divide="ignore"):
        return interpolate.CubicSpline(at, stats.t.isf(tail, 1 / at))


def shrunk(variances: Floats, degrees: Floats) -> tuple[float, float]:
    """The prior that many variances have in common: its variance and its degrees of freedom.

    By the moments of log variances (Smyth 2004, section 6.2): many degrees where the variances
    differ by no more than their own uncertainty, few where they differ by more. Few variances do
    not show how much they differ, so the upper end of a 90 % interval is taken.

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


def median_error(samples: object) -> float:
    """Standard error of the log median of one process's samples.

    The block bootstrap (Künsch 1989) of the mean of log medians of consecutive samples, which are
    correlated: at most twelve blocks, of one sample each where there are fewer than eight. For a
    mean the bootstrap's standard error has a closed form, so nothing is drawn.

    Args:
        samples: Raw samples in the order they were taken; anything but a list counts as exact: 0.
    """
    return float(median_errors([samples])[0])


def median_errors(samples: Iterable[object]) -> Floats:
    """`median_error` of many processes, computed together where they have equally many samples."""
    sets: Any = samples
    if not (isinstance(samples, pd.Series) and isinstance(samples.dtype, pd.ArrowDtype)):
        sets = [raw if isinstance(raw, list | tuple | np.ndarray) else () for raw in samples]
    errors = np.zeros(len(sets))
    for places, values in stacked(sets):
        number = values.shape[1]
        usable = (values > 0).all(1)
        if number < 2 or not usable.any():
            continue
        count = number if number < 8 else min(_BLOCKS, number // 2)
        size = number // count
        blocks = values[usable, : count * size].reshape(-1, count, size)
        logs = np.log(np.median(blocks, axis=2))
        errors[places[usable]] = logs.std(1, ddof=1) / np.sqrt(count)
    return errors


def floor(frame: pd.DataFrame, measure: str) -> Noise:
    """Estimate the noise between processes from the data, for each kind of cases (`KIND`).

    Where cases were measured by several processes (`--fresh`) it is their pooled variance.
    Otherwise it follows from the residuals of a smooth curve over sequence length: a quadratic in
    log-log, or a straight line through three lengths. A curve that is not smooth makes the floor
    too high; few residuals make it uncertain, which `critical` allows for. With three kinds or more
    each variance is drawn towards their common prior (`shrunk`).

    It is a variance, not a robust scale: that a process is now and then a third slower than its
    twins is part of what another run would show, and intervals without it are too narrow.

    Args:
        frame: Records, with every attempt if there are several.
        measure: The measure's name.
    """
    rows = measured(only(frame, (*_READ, *noise_columns(frame))), measure)
    if not len(rows) or (rows["n_samples"] <= 1).all():
        return Noise(0.0, 0.0, "none")
    rows = rows.assign(log=np.log(rows["value"].to_numpy(float)))
    source: Literal["repeats", "lines"] = "repeats"
    sums = _repeats(rows)
    if sums["degrees"].sum() < 3:
        sums, source = _off_smooth(rows), "lines"
    if sums["degrees"].sum() < 3:
        return Noise(0.0, 0.0, "none")
    return _floors(sums.groupby(list(KIND), sort=False).sum(), _variance_within(rows), source)


def _floors(sums: pd.DataFrame, inside: float, source: Literal["repeats", "lines"]) -> Noise:
    """Floors from sums of squares and degrees of freedom, a row per kind.

    Args:
        sums: Columns `squares` and `degrees`.
        inside: Variance within a process, which is part of the squares and not of the floor.
        source: See `Noise`.
    """
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
            total = (square + weight * prior) / (count + weight)
            kinds[name] = (_without(total, inside), min(count + weight, _MOST_DEGREES))
    if len(kinds) < 2:
        return Noise(_without(variance, inside), freedom, source, kinds)
    middle = np.median(np.array(list(kinds.values())), axis=0)
    return Noise(float(middle[0]), float(middle[1]), source, kinds)


def _variance_within(rows: pd.DataFrame) -> float:
    """The typical variance of a log median within one process."""
    return float(np.median(within_errors(rows.head(_LINES)) ** 2))


def within_errors(rows: pd.DataFrame) -> Floats:
    """The standard error of each row's log median, within its process."""
    known = WITHIN in rows
    return np.asarray(rows[WITHIN], float) if known else median_errors(rows["samples"])


def noise_columns(frame: pd.DataFrame) -> tuple[str, ...]:
    """The columns that `spread_and_degrees` needs."""
    return (*KIND, "n_samples", WITHIN if WITHIN in frame else "samples")


def _without(variance: float, inside: float) -> float:
    """The standard deviation between processes, given a variance and its part within processes."""
    return math.sqrt(max(variance - inside, 0.0))


def _repeats(rows: pd.DataFrame) -> pd.DataFrame:
    """Kind, squares and degrees of freedom from cases measured more than once."""
    groups = rows["log"].groupby(group_numbers(rows, SAME), sort=False)
    return rows[list(KIND)].assign(
        squares=(rows["log"] - groups.transform("mean")) ** 2,
        degrees=1 - 1 / groups.transform("size"),
    )


def _off_smooth(rows: pd.DataFrame) -> pd.DataFrame:
    """Kind, squares and degrees of freedom from residuals of lines of three lengths or more."""
    identity = [*LINE, "model", *(name for name in SAME if name not in {"case", "measure"})]
    rows = rows[group_numbers(rows, identity) < _LINES]
    single = rows.drop_duplicates([*identity, "seq_len"])
    lines = list(single.groupby(identity, sort=False).indices.values())
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
    """Standard deviation of each row's log value, within and between processes together."""
    return spread_and_degrees(frame, noise)[0]


def spread_and_degrees(frame: pd.DataFrame, noise: Noise) -> tuple[Floats, Floats]:
    """`spread`, and the degrees of freedom of each for `critical`; infinite for exact values."""
    inside = within_errors(frame)
    timed = frame["n_samples"].to_numpy(float) > 1
    between, degrees = noise.of(frame)
    sigma = np.sqrt(inside**2 + np.where(timed, between**2, 0.0))
    return np.asarray(sigma, float), np.where(timed, degrees, np.inf)
