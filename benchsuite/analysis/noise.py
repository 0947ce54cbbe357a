"""How far a value would move if its case were measured again.

Samples of one process share its memory layout, its clock rate and its neighbours, so their spread
says little about another process: on two shared cores medians of processes differ by several times
the interval of either. Two parts are told apart, both as standard deviations of a log value:

- within: the standard error of a process's median, by a block bootstrap of its raw samples;
- between: what another process adds, estimated from the data, once for a measure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.select import LINE, measured
from benchsuite.stats import stacked

Floats = np.ndarray[Any, np.dtype[np.float64]]
_BLOCKS = 12
#: So many lines, or rows, are enough to estimate one number from.
_LINES = 2000
#: Median of |z| for a standard normal z, inverted.
_MAD_TO_SIGMA = 1.4826
#: A median absolute deviation of n values is worth about this part of n in degrees of freedom.
_MAD_EFFICIENCY = 0.37
#: A column of `withins`, for who asks for the spread of the same rows again and again.
WITHIN = "within"
#: Attempts that differ in one of these measured something else.
SAME = ("case", "measure", "version", "machine", "commit", "tree", "torch")


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise floor of a measure.

    Attributes:
        between: Standard deviation of a log value from process to process; 0.05 is about 5 %.
        degrees: Degrees of freedom of that estimate; 0 where there is nothing to estimate from.
        source: "repeats" of the same case, residuals of smooth "lines" over sequence length, or
            "none", in which case `between` is 0 and intervals hold for one process only.
    """

    between: float
    degrees: float
    source: Literal["repeats", "lines", "none"]

    def critical(self, tail: float = 0.025) -> float:
        """How many standard deviations a tail of a difference begins at.

        Student's t, as a floor estimated from few residuals is itself uncertain; the normal one
        where there is no estimate.
        """
        law = stats.t(self.degrees) if self.degrees else stats.norm()
        return float(law.isf(tail))

    @property
    def words(self) -> str:
        """What the intervals hold for."""
        return "noise between processes included" if self.degrees else "of one process only"


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
    """Estimate the noise between processes from the data.

    Where cases were measured by several processes (`--fresh`), from their pooled variance. Else
    from how far values lie off a smooth curve over sequence length: a quadratic in log-log, or a
    straight line through three lengths. Residuals are scaled by their leverage, pooled over lines
    and made robust by the median absolute deviation. A curve that is not smooth makes the floor
    too high; few residuals make it uncertain, which `Noise.critical` allows for.

    Args:
        frame: Records, with every attempt if there are several.
        measure: Which measure.
    """
    rows = measured(frame, measure)
    if not len(rows) or (rows["n_samples"] <= 1).all():
        return Noise(0.0, 0.0, "none")
    groups = np.log(rows["value"]).groupby([rows[name] for name in SAME], sort=False)
    degrees = int((groups.count() - 1).sum())
    if degrees >= 3:
        deviations = np.log(rows["value"]) - groups.transform("mean")
        variance = float((deviations**2).sum() / degrees)
        return Noise(_without(variance, rows), float(degrees), "repeats")
    residuals = np.array(_off_smooth(rows))
    if len(residuals) < 3:
        return Noise(0.0, 0.0, "none")
    sigma = _MAD_TO_SIGMA * float(np.median(np.abs(residuals)))
    return Noise(_without(sigma**2, rows), _MAD_EFFICIENCY * len(residuals), "lines")


def _without(variance: float, rows: pd.DataFrame) -> float:
    """What is left of a variance of log values after each process's own part."""
    own = np.median(withins(rows["samples"].head(_LINES)) ** 2)
    return float(np.sqrt(max(variance - own, 0.0)))


def _off_smooth(rows: pd.DataFrame) -> list[float]:
    """Residuals of lines, each with the variance of one log value."""
    identity = [*LINE, "model", *(name for name in SAME if name not in {"case", "measure"})]
    single = rows.drop_duplicates([*identity, "seq_len"])
    lines = list(single.groupby(identity, sort=False).indices.values())[:_LINES]
    x_all = np.log2(single["seq_len"].to_numpy(float))
    y_all = np.log(single["value"].to_numpy(float))
    found: list[float] = []
    for line in lines:
        x, y = x_all[line], y_all[line]
        if len(x) < 3:
            continue
        basis = np.vander(x - x.mean(), 3 if len(x) > 3 else 2)
        hat = basis @ np.linalg.pinv(basis)
        scaled = (y - hat @ y) / np.sqrt(np.maximum(1 - np.diag(hat), 1e-3))
        # n lengths leave n - p residuals free; counting all of them would claim more.
        found += scaled[: len(x) - basis.shape[1]].tolist()
    return found


def spread(frame: pd.DataFrame, noise: Noise) -> Floats:
    """Standard deviation of each row's log value: its own part and the floor together."""
    known = WITHIN in frame
    own = frame[WITHIN].to_numpy(float) if known else withins(frame["samples"])
    timed = frame["n_samples"].to_numpy(float) > 1
    return np.asarray(np.sqrt(own**2 + np.where(timed, noise.between**2, 0.0)), float)
