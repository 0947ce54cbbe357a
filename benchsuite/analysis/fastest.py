"""The fastest model of each shape, how certain that is, and where families cross."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from benchsuite.analysis.crossover import cross_lines
from benchsuite.analysis.model_facts import families_of
from benchsuite.analysis.noise import (
    LEAST_DIFFERENCE,
    Noise,
    critical,
    floor,
    noise_columns,
    spread_and_degrees,
)
from benchsuite.analysis.select import SHAPE, measured, only, where, without_repeats
from benchsuite.catalog.families import compared
from benchsuite.records.frame import group_numbers


def fastest(
    frame: pd.DataFrame, measure: str = "latency", *, noise: Noise | None = None
) -> pd.DataFrame:
    """The model with the lowest value at each shape, and the models within noise of it.

    A model ties with the lowest if the 95 % interval of their log ratio contains zero. The lowest
    of several noisy values is lower than it would be if measured again, so a narrow win over many
    models is less certain than the 95 % of a single pair.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).

    Returns:
        A row per shape (`SHAPE`) at which the measure was tried, by sequence length: `model` and
        `value` of the lowest ("" and NaN where none has a value), `runner_up`: the next lowest
        ("" if alone) and `ratio`, its value over the lowest; `separable` from every other model;
        `ties`: models within noise of it, nearest first, joined by ", "; `models`: how many have
        a value; `without`: models without one and their status, such as "tcn oom, gru timeout".
    """
    names = (*SHAPE, "model", "measure", "status", "value", *noise_columns(frame))
    tried = where(only(frame, names), frame["measure"] == measure)
    tried = without_repeats(tried, [*SHAPE, "model"])
    tried = tried.assign(shape=group_numbers(tried, SHAPE))
    rows = measured(tried, measure)
    noise = noise or floor(frame, measure)
    sigma, degrees = spread_and_degrees(rows, noise)
    rows = rows.assign(log=np.log(rows["value"].to_numpy(float)), sigma=sigma, degrees=degrees)
    rows = rows.sort_values("log", kind="stable")
    rows["rank"] = rows.groupby("shape").cumcount()
    best = rows[rows["rank"] == 0].set_index("shape")
    second = rows[rows["rank"] == 1].set_index("shape")
    apart = rows["log"] - rows["shape"].map(best["log"])
    noise_of_row = rows["sigma"].to_numpy(float), rows["degrees"].to_numpy(float)
    sigma, degrees = (
        rows["shape"].map(best[name]).to_numpy(float) for name in ("sigma", "degrees")
    )
    half = critical(noise_of_row, (sigma, degrees)) * np.hypot(noise_of_row[0], sigma)
    tied = rows[(rows["rank"] > 0) & (apart < np.maximum(half, LEAST_DIFFERENCE))]
    failed = tried[tried["status"] != "ok"]
    words = failed["model"] + " " + failed["status"]

    table = tried.drop_duplicates("shape").set_index("shape")[SHAPE]
    table["model"], table["value"] = best["model"], best["value"]
    table["runner_up"], table["ratio"] = second["model"], second["value"] / best["value"]
    table["separable"] = ~table.index.isin(tied["shape"])
    table["ties"] = _joined(tied["model"], tied["shape"])
    table["models"] = rows.groupby("shape").size()
    table["without"] = _joined(words, failed["shape"])
    texts = dict.fromkeys(("model", "runner_up", "ties", "without"), "")
    table = table.fillna({**texts, "models": 0}).astype({"models": int})
    return table.sort_values(SHAPE, kind="stable").reset_index(drop=True)


def _joined(words: pd.Series[str], shapes: pd.Series[int]) -> pd.Series[str]:
    """The words of each shape, joined by ", "; a hundred times as fast as `groupby(…).agg`."""
    by_shape: dict[int, list[str]] = {}
    for shape, word in zip(shapes.tolist(), words.tolist(), strict=True):
        by_shape.setdefault(shape, []).append(word)
    joined = {shape: ", ".join(found) for shape, found in by_shape.items()}
    return pd.Series(joined, dtype="str")


def family_crossovers(
    frame: pd.DataFrame,
    measure: str = "latency",
    *,
    noise: Noise | None = None,
    family: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Crossings of the best models of two families, for every line and pair of families.

    The best model of a family is the lowest at each shape, so it may be another one at another
    length. A model whose family is not known takes no part.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).
        family: Model → family; by default from the frame (see `families_of`).

    Returns:
        The columns of `crossovers`; `a` and `b` are nouns of families, such as "recurrence" and
        "convolution", in the order of the catalog.
    """
    noise = noise or floor(frame, measure)
    names = (*SHAPE, "model", "measure", "status", "value", *noise_columns(frame))
    rows = measured(only(frame, names), measure)
    family = families_of(frame) if family is None else family
    nouns = {spec.name: spec.noun for spec in compared()}
    noun = {model: nouns.get(family[model]) for model in rows["model"].unique()}
    sigma, degrees = spread_and_degrees(rows, noise)
    rows = rows.assign(model=rows["model"].map(noun), sigma=sigma, degrees=degrees)
    rows = rows.dropna(subset="model")
    rows = rows.sort_values("value", kind="stable").drop_duplicates([*SHAPE, "model"])
    order = {noun: place for place, noun in enumerate(nouns.values())}
    in_order = rows.sort_values("model", key=lambda names: names.map(order), kind="stable")
    return cross_lines(in_order)
