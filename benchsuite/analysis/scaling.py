"""The power law of every line over sequence length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.noise import Floats
from benchsuite.analysis.select import LINE, by_line


@dataclass(frozen=True, slots=True)
class PowerFit:
    """`value = c · T^exponent` by least squares in log-log, with a 95 % interval of the exponent.

    Attributes:
        exponent: Slope in log-log.
        low: Lower end of its interval (NaN with fewer than three lengths).
        high: Upper end.
        factor: c, in the unit of the value.
        n: Number of lengths.
    """

    exponent: float
    low: float
    high: float
    factor: float
    n: int


def fit_power(seq_len: np.ndarray, value: np.ndarray) -> PowerFit | None:
    """Fit a power law over sequence length; None with fewer than two lengths.

    Args:
        seq_len: Timesteps, positive.
        value: Positive values at those lengths.
    """
    if len(set(seq_len)) < 2 or not (value > 0).all():
        return None
    exponent, low, high, factor = (float(own[0]) for own in _power(seq_len[None], value[None]))
    return PowerFit(exponent=exponent, low=low, high=high, factor=factor, n=len(seq_len))


def _power(seq_len: Floats, value: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Exponent, ends of its interval and factor of each row, (lines, lengths)."""
    x, y = np.log(seq_len), np.log(value)
    dx, dy = (own - own.mean(1, keepdims=True) for own in (x, y))
    squares = (dx**2).sum(1)
    slope = (dx * dy).sum(1) / squares
    free = x.shape[1] - 2
    half = np.full(len(x), np.nan)
    if free:
        residuals = ((dy - slope[:, None] * dx) ** 2).sum(1)
        half = float(stats.t.ppf(0.975, free)) * np.sqrt(residuals / free / squares)
    return slope, slope - half, slope + half, np.exp(y.mean(1) - slope * x.mean(1))


def scaling(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Exponent over sequence length for every line of a measure.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: Which measure.

    Returns:
        A frame with the columns of `LINE`, `model, exponent, low, high, factor, n`; lines with
        fewer than two lengths are left out.
    """
    ok = frame[(frame["measure"] == measure) & (frame["status"] == "ok")]
    keys = [*LINE, "model"]
    lines = ok.groupby(keys, sort=False)
    ok = ok[(lines["seq_len"].transform("nunique") > 1) & (lines["value"].transform("min") > 0)]
    T, value = ok["seq_len"].to_numpy(float), ok["value"].to_numpy(float)

    def fit(lines: np.ndarray) -> pd.DataFrame:
        found = np.column_stack(_power(T[lines], value[lines]))
        return pd.DataFrame(found, columns=list(_COLUMNS[:-1])).assign(n=lines.shape[1])

    return by_line(ok, keys, fit, _COLUMNS)


_COLUMNS = ("exponent", "low", "high", "factor", "n")
