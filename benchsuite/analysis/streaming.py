"""Calls of streams: their median and tail, beside what a stream keeps and sees."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from benchsuite.analysis.model_facts import field_of
from benchsuite.analysis.prediction import INTERPOLATED, Point, Predictor
from benchsuite.analysis.select import LINE, SHAPE, axes_to_name, axis_words, measured
from benchsuite.units import show

#: The mode whose steps are calls of a stream, and the measure of their time.
STREAM, CALLS = "stream", "step_latency"
#: Columns of the tail of calls, which are derived from samples.
TAIL = ("p99", "p999", "worst")


def timed_by(mode: object) -> str:
    """The measure that models are ranked by in a mode."""
    return CALLS if mode == STREAM else "latency"


def calls(frame: pd.DataFrame, *, deadline: float | None = None) -> pd.DataFrame:
    """Every measured stream.

    Args:
        frame: One row per case and measure (see `newest`), with `TAIL`.
        deadline: Seconds that a call may take; `samples` are needed.

    Returns:
        A row per case: `model`, the columns of `SHAPE`, `value` (the median of its calls, s),
        `ci_low` and `ci_high` (95 %, of that process), `n_samples` (calls), `p99`, `p999` and
        `worst` (s; NaN where there were too few calls), `state` (bytes kept between two calls, NaN
        where not measured), `field` (timesteps that an output sees, infinity where unbounded, NaN
        where not known), `method` (how it knows of earlier calls), and with a deadline `over`: the
        share of calls that took longer.
    """
    rows = measured(frame, CALLS)
    names = ["model", *SHAPE, "value", "ci_low", "ci_high", "n_samples", *TAIL]
    table = rows[names].assign(method=rows["stream"].to_numpy())
    sizes = [name for name in SHAPE if name not in {"chunk", "mode"}]
    states = measured(frame, "state_size")
    states = states.drop_duplicates(["model", *sizes], keep="last").set_index(["model", *sizes])
    keys = pd.MultiIndex.from_frame(rows[["model", *sizes]])
    table["state"] = states["value"].reindex(keys).to_numpy(float) if len(states) else np.nan
    table["field"] = field_of(frame, rows)
    if deadline is not None:
        table["over"] = [float(np.mean(np.asarray(s) > deadline)) for s in rows["samples"]]
    return table.reset_index(drop=True)


def tails_at(
    frame: pd.DataFrame, models: Iterable[str], at: Point, deadline: float | None
) -> dict[str, dict[str, float]]:
    """What is known of the tail of each model's calls at a point.

    Args:
        frame: Comparable rows, with `TAIL`, and with `samples` where there is a deadline.
        models: Models.
        at: The point.
        deadline: Seconds that a call may take.

    Returns:
        Model → `p99`, interpolated where the point was not measured, and where it was `worst` and,
        with a deadline, `over_deadline` (share of calls).
    """
    rows = measured(frame, CALLS)
    shares = rows.assign(value=rows["p99"], ci_low=rows["p99"], ci_high=rows["p99"])
    models = list(models)
    p99 = Predictor(shares[shares["p99"].notna()], CALLS, models)
    here = rows[(rows[list(INTERPOLATED)].to_numpy(float) == at).all(axis=1)]
    found: dict[str, dict[str, float]] = {}
    for model in models:
        own = here[here["model"] == model].tail(1)
        predicted = None if len(own) else p99(model, at)
        known = {} if predicted is None else {"p99": predicted["value"]}
        for name in ("p99", "worst") if len(own) else ():
            value = float(own[name].iloc[0])
            known.update({name: value} if value == value else {})
        if len(own) and deadline is not None:
            samples = np.asarray(own["samples"].iloc[0], float)
            known["over_deadline"] = float(np.mean(samples > deadline))
        found[model] = known
    return found


def call_words(table: pd.DataFrame) -> list[str]:
    """A sentence per setting, at its longest field: the lowest median, and the lowest tail.

    Models that see fewer timesteps than asked for do not compete. The intervals are those of one
    process each.

    Args:
        table: From `calls`.
    """
    words = []
    line = [name for name in LINE if name != "input_size"]
    named = [name for name in axes_to_name(table) if name != "mode"]
    for _, own in table.groupby(line, sort=False):
        longest = own[(own["seq_len"] == own["seq_len"].max()) & ~(own["field"] < own["seq_len"])]
        if longest["model"].nunique() < 2:
            continue
        first = longest.sort_values("value", kind="stable").iloc[0]
        others = longest[longest["model"] != first["model"]]
        alike = others.loc[others["ci_low"] <= first["ci_high"], "model"].tolist()
        sizes = f"field {first['seq_len']}, B={first['batch_size']}, H={first['hidden_size']}"
        where = ", ".join([sizes, *(axis_words(name, first[name]) for name in named)])
        sentence = f"{where}: {first['model']} has the lowest median, {show(first['value'], 's')}"
        if alike:
            sentence += f" (≈ {', '.join(alike)})"
        tails = longest[longest["p99"].notna()].sort_values("p99", kind="stable")
        if len(tails):
            least = tails.iloc[0]
            sentence += f"; the lowest 99 % quantile is that of {least['model']}"
            sentence += f", {show(least['p99'], 's')}"
        words.append(f"{sentence}.")
    return words
