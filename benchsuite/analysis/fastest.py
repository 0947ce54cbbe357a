"""Which model is fastest at each shape, how surely, and where recurrence and convolution cross."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from benchsuite.analysis.crossover import cross_lines
from benchsuite.analysis.noise import Noise, critical, floor, spread_and_degrees
from benchsuite.analysis.select import LINE, SIZES, is_unbounded, measured
from benchsuite.catalog.models import MODELS

SHAPE = [*LINE, "seq_len"]
#: Names of the two families where each stands for its best model.
RECURRENCE, CONVOLUTION = "recurrence", "convolution"
_FAMILIES = {"recurrent": RECURRENCE, "convolutional": CONVOLUTION}
#: Far below the noise of any clock: the least difference of exact values counts.
_NO_NOISE = 1e-12


def fastest(
    frame: pd.DataFrame, measure: str = "latency", *, noise: Noise | None = None
) -> pd.DataFrame:
    """The lowest value at each shape, and what it is not separable from.

    A model ties with the lowest if its log ratio to it is within the 95 % of both
    together. The lowest of several noisy values is lower than it would be if measured again, so
    a narrow win beside many models is less sure than the 95 % of a single pair.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).

    Returns:
        A row per shape (`SHAPE`) at which the measure was tried, by sequence length: `model` and
        `value` of the lowest ("" and NaN where none has a value), `runner_up`: the next lowest
        ("" if alone) and `ratio`, its value over the lowest; `separable` from every other model;
        `ties`: models it is not separable from, nearest first, joined by ", "; `models`: how many
        have a value; `without`: who has none and why, such as "tcn oom, gru timeout".
    """
    tried = frame[frame["measure"] == measure].drop_duplicates([*SHAPE, "model"], keep="last")
    tried = tried.assign(shape=tried.groupby(SHAPE, sort=False).ngroup())
    rows = measured(tried, measure)
    noise = noise or floor(frame, measure)
    sigma, degrees = spread_and_degrees(rows, noise)
    rows = rows.assign(log=np.log(rows["value"].to_numpy(float)), sigma=sigma, degrees=degrees)
    rows = rows.sort_values("log", kind="stable")
    rows["place"] = rows.groupby("shape").cumcount()
    best = rows[rows["place"] == 0].set_index("shape")
    second = rows[rows["place"] == 1].set_index("shape")
    apart = rows["log"] - rows["shape"].map(best["log"])
    own = rows["sigma"].to_numpy(float), rows["degrees"].to_numpy(float)
    sigma, degrees = (
        rows["shape"].map(best[name]).to_numpy(float) for name in ("sigma", "degrees")
    )
    half = critical(own, (sigma, degrees)) * np.hypot(own[0], sigma)
    tied = rows[(rows["place"] > 0) & (apart < np.maximum(half, _NO_NOISE))]
    failed = tried[tried["status"] != "ok"]
    words = failed["model"] + " " + failed["status"]

    table = tried.drop_duplicates("shape").set_index("shape")[SHAPE]
    table["model"], table["value"] = best["model"], best["value"]
    table["runner_up"], table["ratio"] = second["model"], second["value"] / best["value"]
    table["separable"] = ~table.index.isin(tied["shape"])
    table["ties"] = tied.groupby("shape")["model"].agg(", ".join)
    table["models"] = rows.groupby("shape").size()
    table["without"] = words.groupby(failed["shape"]).agg(", ".join)
    texts = dict.fromkeys(("model", "runner_up", "ties", "without"), "")
    table = table.fillna({**texts, "models": 0}).astype({"models": int})
    return table.sort_values(SHAPE, kind="stable").reset_index(drop=True)


def families(
    frame: pd.DataFrame,
    measure: str = "latency",
    *,
    noise: Noise | None = None,
    family: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Where the best recurrent and the best convolutional model cross, line by line.

    The best of a family is the lowest at each shape, so it may be another model at another length;
    a model whose family is not known belongs to neither.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).
        family: Model → family; by default from the frame (see `family_of`).

    Returns:
        As `crossovers`, of "recurrence" (a) against "convolution" (b).
    """
    noise = noise or floor(frame, measure)
    rows = measured(frame, measure)
    family = families_of(frame) if family is None else family
    own = {model: _FAMILIES.get(family[model]) for model in rows["model"].unique()}
    sigma, degrees = spread_and_degrees(rows, noise)
    rows = rows.assign(model=rows["model"].map(own), sigma=sigma, degrees=degrees)
    rows = rows.dropna(subset="model")
    rows = rows.sort_values("value", kind="stable").drop_duplicates([*SHAPE, "model"])
    # Recurrence first, for it to be the table's a.
    return cross_lines(rows.sort_values("model", ascending=False))


def family_of(model: str, frame: pd.DataFrame) -> str:
    """A model's family: the registry's, or, of one that is not built in, by its measured field.

    Args:
        model: Its name.
        frame: Records; those of `receptive_field` count.

    Returns:
        "recurrent" (an unbounded field), "convolutional" (a finite one), or "outside" where the
        field was not measured.
    """
    if model in MODELS.names():
        return MODELS.get(model).family
    own = frame[(frame["model"] == model) & (frame["measure"] == "receptive_field")]
    if is_unbounded(own).any():
        return "recurrent"
    return "convolutional" if (own["status"] == "ok").any() else "outside"


def families_of(frame: pd.DataFrame) -> dict[str, str]:
    """`family_of` every model of the records."""
    return {str(model): family_of(str(model), frame) for model in frame["model"].unique()}


def parameters_of(
    frame: pd.DataFrame, rows: pd.DataFrame, *, model: str = "model"
) -> pd.Series[float]:
    """Parameters of each row's model at its sizes.

    Args:
        frame: Records; parameters may be measured in one mode and at one batch size.
        rows: Of any measure.
        model: The column that names the model.

    Returns:
        By the rows' index; NaN where they are not known.
    """
    known = measured(frame, "parameters").drop_duplicates(list(SIZES), keep="last")
    values = known.set_index(list(SIZES))["value"]
    at = rows[[model if name == "model" else name for name in SIZES]].set_axis(list(SIZES), axis=1)
    return pd.Series(
        values.reindex(pd.MultiIndex.from_frame(at)).to_numpy(float), index=rows.index, dtype=float
    )


def field_of(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.Series[float]:
    """The receptive field of each row's model at its sequence length, in steps.

    Args:
        frame: Records; fields may be measured at one batch and hidden size, they depend on neither.
        rows: Of any measure.

    Returns:
        By the rows' index: the smallest field measured of that model at that length, infinity
        where it is unbounded (as of every recurrent model), NaN where it is not known.
    """
    own = frame[frame["measure"] == "receptive_field"]
    known = own.assign(steps=own["value"].where(~is_unbounded(own), np.inf))
    steps = known.groupby(["model", "seq_len"])["steps"].min()
    at = pd.MultiIndex.from_frame(rows[["model", "seq_len"]])
    found = pd.Series(steps.reindex(at).to_numpy(float), index=rows.index)
    recurrent = [m for m in rows["model"].unique() if family_of(m, frame) == "recurrent"]
    return found.mask(found.isna() & rows["model"].isin(recurrent), np.inf)
