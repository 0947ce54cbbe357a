"""Ladders: the executions of one mathematics by the engines that ran them, at one shape each.

A rung is a model and an engine. All rungs of a ladder compute the same: their ratios to one of them
are what an execution or an engine is worth.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import Noise, critical, floor, within_errors
from benchsuite.analysis.select import SHAPE
from benchsuite.catalog.models import MODELS
from benchsuite.errors import UsageError, unknown
from benchsuite.records.schema import SMALLEST

EAGER = "eager"
#: What the rungs of a ladder have in common, besides the mathematics.
STEP = [name for name in SHAPE if name != "engine"]
#: Measures whose values stand beside the latency of a rung.
_BESIDE = ("numeric_error", "first_call")
_FACTS = ("engine_version", "engine_precision", "engine_error", "preparation")


def mathematics_of(model: str) -> str:
    """What a model computes; a model from outside is a mathematics for itself."""
    return MODELS.known(model).mathematics or model


def rung(model: str, engine: str) -> str:
    """The name of a rung: the model, and its engine unless that is eager."""
    return model if engine == EAGER else f"{model} ({engine})"


def ladders(
    frame: pd.DataFrame, mathematics: str | None = None, baseline: str | None = None
) -> pd.DataFrame:
    """Every rung beside the baseline of its ladder.

    Args:
        frame: Records of one machine; several attempts at a case are processes of it, whose median
            counts and whose variation is part of the error.
        mathematics: Only this one; by default all that have at least two engines.
        baseline: The rung that others are divided by, as `rung` names it; by default the library's
            layer in eager PyTorch, or else the first rung.

    Returns:
        A row per rung and shape: `mathematics`, `execution`, `model`, `engine`, the axes `STEP`,
        `status`, `reason`, `latency` in s, `processes`, `baseline`, `ratio` (latency over the
        baseline's) with its 95 % interval `low` to `high`, `separable` from one, `numeric_error`
        in ulp, `first_call` in s, `engine_version`, `engine_precision`, `engine_error`,
        `preparation` in s, and `break_even`, the calls after which the preparation has paid for
        itself against the same model in eager PyTorch: infinite where the engine is not faster.

    Raises:
        UsageError: if the records have no such mathematics, or no such rung to compare with.
    """
    timed = frame[frame["measure"] == "latency"]
    timed = timed.assign(mathematics=timed["model"].map(mathematics_of))
    if mathematics is None:
        engines = timed.groupby("mathematics", sort=False)["engine"].nunique()
        timed = timed[timed["mathematics"].isin(engines.index[engines > 1])]
    elif not len(timed := timed[timed["mathematics"] == mathematics]):
        found = sorted(set(map(mathematics_of, frame["model"])) - {"machine"})
        raise unknown("mathematics of these records", mathematics, found)
    rows = _rungs(timed, floor(frame, "latency"))
    for measure in _BESIDE:
        rows = _with(rows, frame, measure)
    base = _bases(rows, baseline)
    return _compared(rows, base)


def _rungs(timed: pd.DataFrame, noise: Noise) -> pd.DataFrame:
    """A row per rung and shape: the median of its processes, and the standard error of its log."""
    keys = ["mathematics", "model", "engine", *STEP]
    good = timed[(timed["status"] == "ok") & (timed["value"] >= SMALLEST)]
    between, degrees = noise.of(good)
    good = good.assign(
        log=np.log(good["value"].to_numpy(float)),
        variance=within_errors(good) ** 2 + between**2,
        degrees=degrees,
    )
    groups = good.groupby(keys, sort=False)
    values = groups.agg(
        log=("log", "median"),
        variance=("variance", "mean"),
        degrees=("degrees", "first"),
        processes=("log", "size"),
    ).reset_index()
    last = timed.drop_duplicates(keys, keep="last")[[*keys, "status", "reason", *_FACTS]]
    rows = last.merge(values, on=keys, how="left")
    rows["status"] = rows["status"].mask(rows["log"].notna(), "ok")
    rows["sigma"] = np.sqrt(rows["variance"] / rows["processes"])
    rows["latency"] = np.exp(rows["log"])
    rows["execution"] = [MODELS.known(model).execution for model in rows["model"]]
    rows["rung"] = [rung(*pair) for pair in zip(rows["model"], rows["engine"], strict=True)]
    return rows


def _with(rows: pd.DataFrame, frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """The rows with a column of another measure's values."""
    keys = ["model", "engine", *STEP]
    own = frame[(frame["measure"] == measure) & (frame["status"] == "ok")]
    own = own.groupby(keys, sort=False)["value"].median().rename(measure).reset_index()
    return rows.merge(own, on=keys, how="left")


def _bases(rows: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    """The baseline's rows, one per ladder."""
    if baseline is not None:
        names = list(dict.fromkeys(rows["rung"]))
        if baseline not in names:
            raise unknown("rung of this ladder", baseline, names)
        return rows[rows["rung"] == baseline]
    eager = rows["engine"] == EAGER
    library = eager & (rows["execution"] == "library")
    # Of each ladder the library's layer, else the first eager rung, else the first.
    order = np.where(library, 0, np.where(eager, 1, 2))
    first = rows.assign(order=order).sort_values("order", kind="stable")
    return first.drop_duplicates(["mathematics", *STEP]).drop(columns="order")


def _compared(rows: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    keys = ["mathematics", *STEP]
    of_base = base[[*keys, "rung", "log", "sigma", "degrees"]]
    both = rows.merge(
        of_base.rename(columns={"rung": "baseline"}), on=keys, how="left", suffixes=("", "_base")
    )
    itself = (both["rung"] == both["baseline"]).to_numpy(bool)
    ratio = both["log"] - both["log_base"]
    sides = [
        (both[f"sigma{end}"].fillna(0.0), both[f"degrees{end}"].fillna(np.inf))
        for end in ("", "_base")
    ]
    half = critical(*sides) * np.hypot(both["sigma"], both["sigma_base"])
    half = np.where(itself, 0.0, half)
    found = both.assign(
        baseline=both["baseline"].fillna(""),
        ratio=np.exp(ratio),
        low=np.exp(ratio - half),
        high=np.exp(ratio + half),
        separable=(ratio.abs() > half).to_numpy(),
    )
    plain = rows[rows["engine"] == EAGER][["model", *STEP, "latency"]]
    plain = plain.rename(columns={"latency": "eager_latency"})
    found = found.merge(plain, on=["model", *STEP], how="left")
    saved = (found["eager_latency"] - found["latency"]).to_numpy(float)
    preparation = found["preparation"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        calls = np.where(saved > 0, np.ceil(np.round(preparation / saved, 6)), math.inf)
    found["break_even"] = np.where(np.isnan(saved) | np.isnan(preparation), math.nan, calls)
    columns = [
        *("mathematics", "execution", "model", "engine", "rung", *STEP, "status", "reason"),
        *("latency", "processes", "baseline", "ratio", "low", "high", "separable"),
        *(*_BESIDE, *_FACTS, "break_even"),
    ]
    return found[columns].reset_index(drop=True)


def ladder_sentences(table: pd.DataFrame) -> list[str]:
    """For each mathematics and mode: which rung is fastest where, and by how much."""
    found = []
    for (mathematics, mode), rows in table.groupby(["mathematics", "mode"], sort=False):
        good = rows[rows["ratio"].notna()]
        if not len(good):
            continue
        fastest = good.loc[good.groupby(STEP, sort=False)["latency"].idxmin()]
        shapes = len(fastest)
        parts = []
        for name, own in fastest.groupby("rung", sort=False):
            baseline = own["baseline"].iloc[0]
            low, high = own["ratio"].min(), own["ratio"].max()
            span = f"{low:.2g}" if shapes == 1 or len(own) == 1 else f"{low:.2g} to {high:.2g}"
            times = "" if name == baseline else f" ({span} times the latency of {baseline})"
            parts.append(f"{name} at {len(own)} of {shapes} shapes{times}")
        found.append(f"{mathematics}, {mode}: the fastest rung is {', '.join(parts)}.")
    return found


def require_mathematics(name: str) -> list[str]:
    """The models of a mathematics, in the order of the catalog.

    Raises:
        UsageError: if there is none of that name; a model's name is answered with its mathematics.
    """
    models = [spec.name for spec in MODELS if spec.mathematics == name]
    if models:
        return models
    names = list(dict.fromkeys(spec.mathematics for spec in MODELS if spec.mathematics))
    if name in MODELS.names() and (own := MODELS.get(name).mathematics):
        raise UsageError(f"{name!r} is a model; its mathematics is {own!r}")
    if ":" in name:
        return [MODELS.get(name).name]
    raise unknown("mathematics", name, names, "or your own model as package.module:factory")
