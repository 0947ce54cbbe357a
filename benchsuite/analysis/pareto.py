"""Time against error against field: the models that no other one beats in both."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchsuite.analysis.fastest import field_of
from benchsuite.analysis.noise import Floats
from benchsuite.analysis.select import measured
from benchsuite.case import AXES

#: An error is one of the trained model, whatever step is timed.
_SAME = [name for name in AXES if name != "mode"]
#: Points compete where all of this is equal.
CONTEST = [name for name in AXES if name not in {"model", "hidden_size", "input_size", "seed"}]
COLUMNS = ("latency", "latency_low", "latency_high", "error", "field", "status", "reason", "front")


def pareto(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Latency, task error and receptive field of the same case, beside each other.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: A task's error.

    Returns:
        A row per timed case whose every axis but the mode equals that of a case with an error or a
        failed training, with all axes and: `latency` (s) and its interval, `error` (NaN where the
        training failed), `status` and `reason` of the training, `field` (steps; infinite where
        unbounded, NaN where not known), `front`: whether no case of the same contest (`CONTEST`)
        has a latency and an error as low, and one of them lower.
    """
    timed = measured(frame, "latency").drop_duplicates(list(AXES), keep="last")
    timed = timed.assign(field=field_of(frame)[timed.index])
    names = {"value": "latency", "ci_low": "latency_low", "ci_high": "latency_high"}
    timed = timed.rename(columns=names)[[*AXES, *names.values(), "field"]]
    trained = frame[frame["measure"] == measure].drop_duplicates(_SAME, keep="last")
    trained = trained.rename(columns={"value": "error"})
    joined = timed.merge(trained[[*_SAME, "error", "status", "reason"]], on=_SAME, how="inner")
    front = np.zeros(len(joined), bool)
    for rows in joined.groupby(CONTEST, sort=False).indices.values():
        own = joined.iloc[rows]
        front[rows] = front_of(own["latency"].to_numpy(float), own["error"].to_numpy(float))
    return joined.assign(front=front)[[*AXES, *COLUMNS]]


def front_of(one: Floats, other: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether no other point is as low in both and lower in one; NaN is never on the front.

    Args:
        one, other: (n,) what should be low.
    """
    found = np.zeros(len(one), bool)
    usable = np.flatnonzero(~(np.isnan(one) | np.isnan(other)))
    order = usable[np.lexsort((other[usable], one[usable]))]
    lowest = np.inf
    last = np.nan
    for point in order:
        # In ascending order of `one`: new lows of `other`, and doubles of the last one.
        if other[point] < lowest or (other[point] == lowest and one[point] == last):
            found[point] = True
            lowest, last = other[point], one[point]
    return found
