"""The Pareto front of time and task error, with receptive fields."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchsuite.analysis.model_facts import field_of
from benchsuite.analysis.noise import Floats
from benchsuite.analysis.select import measured, only, without_repeats
from benchsuite.grid.axes import AXES

#: Axes that a task's error depends on: not the mode, which only chooses the step that is timed.
_SAME = [name for name in AXES if name != "mode"]
#: Points compete with each other if they agree in these axes.
CONTEST = [name for name in AXES if name not in {"model", "hidden_size", "input_size", "seed"}]
#: Errors of one training each that differ by less than this factor count as equal.
CLEARLY = 1.05
COLUMNS = ("latency", "latency_low", "latency_high", "error", "field", "status", "reason", "front")


def pareto(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Latency, task error and receptive field of each case in one row.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: The error of a task.

    Returns:
        A row per timed case whose every axis but the mode equals that of a case with an error or a
        failed training, with all axes and: `latency` (s) and its interval, `error` (NaN where the
        training failed), `status` and `reason` of the training, `field` (steps; infinite where
        unbounded, NaN where not known), `front`: whether its error is lower, by more than 5 %
        (`CLEARLY`), than that of every faster case on the front of the same contest (`CONTEST`).
    """
    trained = frame[frame["measure"] == measure].drop_duplicates(_SAME, keep="last")
    names = {"value": "latency", "ci_low": "latency_low", "ci_high": "latency_high"}
    timed = only(frame, (*AXES, "measure", "status", *names))
    timed = measured(timed if len(trained) else timed.iloc[:0], "latency")
    timed = without_repeats(timed, list(AXES))
    timed = timed.assign(field=field_of(frame, timed))
    timed = timed.rename(columns=names)[[*AXES, *names.values(), "field"]]
    trained = trained.rename(columns={"value": "error"})
    joined = timed.merge(trained[[*_SAME, "error", "status", "reason"]], on=_SAME, how="inner")
    front = np.zeros(len(joined), bool)
    for rows in joined.groupby(CONTEST, sort=False).indices.values():
        own = joined.iloc[rows]
        front[rows] = front_of(own["latency"].to_numpy(float), own["error"].to_numpy(float))
    return joined.assign(front=front)[[*AXES, *COLUMNS]]


def front_of(latency: Floats, error: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each error is clearly lower than that of every case that is as fast.

    Args:
        latency: (n,).
        error: (n,); NaN is never on the front.
    """
    found = np.zeros(len(latency), bool)
    usable = np.flatnonzero(~(np.isnan(latency) | np.isnan(error)))
    lowest = np.inf
    for case in usable[np.lexsort((error[usable], latency[usable]))]:
        if error[case] < lowest / CLEARLY:
            found[case] = True
            lowest = error[case]
    return found
