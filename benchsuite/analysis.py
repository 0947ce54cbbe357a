"""Functions of the frame: selecting records and fitting how they scale. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.case import AXES
from benchsuite.errors import UsageError

#: What a line over sequence length holds fixed, besides the model.
LINE = tuple(name for name in AXES if name not in {"model", "seq_len"})
_IDENTITY = ("case", "measure")


def newest(frame: pd.DataFrame, *, machine: str | None = None) -> pd.DataFrame:
    """One row per case and measure, of one machine: the most recent commit's, as measured last.

    Args:
        frame: Records of any number of commits.
        machine: Which machine's, where there are several.

    Raises:
        UsageError: if the records are of several machines and none is chosen: numbers of different
            machines are never mixed.
    """
    machines = sorted(frame["machine"].unique())
    if machine is None and len(machines) > 1:
        raise UsageError(
            f"records of {len(machines)} machines: {', '.join(machines)}; choose one with --machine"
        )
    if machine is not None:
        if machine not in machines:
            raise UsageError(f"no records of machine {machine!r}; there are: {', '.join(machines)}")
        frame = frame[frame["machine"] == machine]
    ordered = frame.sort_values("started_at", kind="stable")
    return ordered.drop_duplicates(list(_IDENTITY), keep="last").sort_index()


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
    fit = stats.linregress(np.log(seq_len), np.log(value))
    half = np.nan
    if len(seq_len) > 2:
        half = float(stats.t.ppf(0.975, len(seq_len) - 2)) * float(fit.stderr)
    return PowerFit(
        exponent=float(fit.slope),
        low=float(fit.slope - half),
        high=float(fit.slope + half),
        factor=float(np.exp(fit.intercept)),
        n=len(seq_len),
    )


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
    rows = []
    for key, line in ok.groupby([*LINE, "model"], sort=False):
        fit = fit_power(line["seq_len"].to_numpy(float), line["value"].to_numpy(float))
        if fit is not None:
            own = dict(zip([*LINE, "model"], key, strict=True))
            rows.append(
                {
                    **own,
                    "exponent": fit.exponent,
                    "low": fit.low,
                    "high": fit.high,
                    "factor": fit.factor,
                    "n": fit.n,
                }
            )
    return pd.DataFrame(rows, columns=[*LINE, "model", "exponent", "low", "high", "factor", "n"])


def problems(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that have no value, in the order they were measured."""
    return frame[frame["status"] != "ok"].sort_values("started_at", kind="stable")
