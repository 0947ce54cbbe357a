"""Speed of every model relative to a reference model, shape by shape."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import Noise, critical, floor, noise_columns, spread_and_degrees
from benchsuite.analysis.select import SHAPE, only, where, without_repeats
from benchsuite.records.schema import SMALLEST

#: The reference model, where it was tried; otherwise the first model is.
REFERENCE = "lstm"


def reference_of(models: Collection[str]) -> str:
    """The model that the others are compared with."""
    return REFERENCE if REFERENCE in models else next(iter(models), "")


def speedups(
    frame: pd.DataFrame,
    measure: str = "latency",
    *,
    noise: Noise | None = None,
    reference: str | None = None,
) -> pd.DataFrame:
    """Ratio of the reference to every other model at the same shape.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).
        reference: The model that the others are compared with; by default `reference_of` those of
            the frame.

    Returns:
        A row per case of the other models: all axes, `status`, `reference` (its name),
        `reference_status` ("" where it was not tried there), `speedup`, the reference's value over
        the model's, NaN unless both have one, its 95 % interval `low` to `high`, and `separable`
        from one.
    """
    names = (*SHAPE, "model", "measure", "status", "value", *noise_columns(frame))
    tried = where(only(frame, names), frame["measure"] == measure)
    tried = without_repeats(tried, [*SHAPE, "model"])
    if reference is None:
        reference = reference_of(list(tried["model"].unique()))
    good = ((tried["status"] == "ok") & (tried["value"] >= SMALLEST)).to_numpy()
    sigma, degrees = spread_and_degrees(tried, noise or floor(frame, measure))
    log = np.log(tried["value"].where(good).to_numpy(float))
    tried = tried.assign(log=log, sigma=sigma, degrees=degrees)
    tried = tried[["model", *SHAPE, "status", "log", "sigma", "degrees"]]
    is_reference = tried["model"] == reference
    both = tried[~is_reference].merge(
        tried[is_reference].drop(columns="model"), on=SHAPE, how="left", suffixes=("", "_ref")
    )
    ratio = both["log_ref"] - both["log"]
    sides = [(both[f"sigma{end}"], both[f"degrees{end}"].fillna(np.inf)) for end in ("", "_ref")]
    half = critical(*sides) * np.hypot(both["sigma"], both["sigma_ref"])
    found = both[["model", *SHAPE, "status"]].assign(
        reference=reference,
        reference_status=both["status_ref"].fillna(""),
        speedup=np.exp(ratio),
        low=np.exp(ratio - half),
        high=np.exp(ratio + half),
        separable=(ratio.abs() > half).to_numpy(),
    )
    return found.reset_index(drop=True)
