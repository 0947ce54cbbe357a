"""Where the lines of two models cross over sequence length, and how sure that is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import Floats, Noise, floor, spread
from benchsuite.analysis.select import LINE, measured

#: One-sided 5 %: "at every length" is claimed only if it holds at each (Berger 1982), uncorrected.
_Z_ALWAYS = 1.645
#: Two-sided 5 %, asked of both sides of a crossing at once.
_Z_SIDE = 1.960
#: Far below the noise of any clock: the least difference of exact values counts.
_NO_NOISE = 1e-12
COLUMNS = ("a", "b", "verdict", "seq_len", "low", "high", "a_below", "b_below", "n")


def crossovers(frame: pd.DataFrame, measure: str, *, noise: Noise | None = None) -> pd.DataFrame:
    """The crossing of every pair of models on every line they share.

    Each length gives a log ratio with its noise. A model is below "always" if it is significantly
    below at every length. The lines cross if one is significantly below at some lengths and the
    other at some longer ones; T* is where a weighted straight line of the log ratio over log T,
    from the last length clearly on one side to the first clearly on the other, passes zero. Its
    interval holds every T between them at which a ratio of one is not rejected at 5 % (Fieller
    1954), ratios and their noise being interpolated between lengths. Exact values have no noise:
    their interval is the pair of lengths between which they cross.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).

    Returns:
        A frame with the columns of `LINE` and `a, b` (models), `verdict`: "a always", "b always",
        "crosses", "crosses repeatedly" or "not separable"; `seq_len` (T*) with `low` and `high`,
        NaN unless it crosses; `a_below`, `b_below`: the lengths, joined by ", ", at which that
        model is significantly below; `n`: lengths that both have.
    """
    rows = measured(frame, measure)
    noise = noise or floor(frame, measure)
    rows = rows.assign(log=np.log(rows["value"].to_numpy(float)), sigma=spread(rows, noise))
    rows = rows.drop_duplicates([*LINE, "model", "seq_len"], keep="last")
    models = list(dict.fromkeys(rows["model"]))
    by_model = {model: rows[rows["model"] == model] for model in models}
    keys = [*LINE, "seq_len"]
    found: list[dict[str, Any]] = []
    for a, b in itertools.combinations(models, 2):
        both = by_model[a][[*keys, "log", "sigma"]].merge(
            by_model[b][[*keys, "log", "sigma"]], on=keys, suffixes=("_a", "_b")
        )
        both["ratio"] = both["log_a"] - both["log_b"]
        both["noise"] = np.hypot(both["sigma_a"], both["sigma_b"])
        for key, T, ratio, sigma in _lines(both):
            own = {**dict(zip(LINE, key, strict=True)), "a": a, "b": b}
            found.append({**own, **_cross(T, ratio, sigma)})
    return pd.DataFrame(found, columns=[*LINE, *COLUMNS])


def _lines(both: pd.DataFrame) -> Iterator[tuple[Any, Floats, Floats, Floats]]:
    """(line, lengths, log ratios, their noise), lengths ascending."""
    both = both.sort_values("seq_len", kind="stable")
    T, ratio, noise = (both[n].to_numpy(float) for n in ("seq_len", "ratio", "noise"))
    for key, rows in both.groupby(list(LINE), sort=False).indices.items():
        yield key, T[rows], ratio[rows], noise[rows]


def _cross(T: Floats, ratio: Floats, sigma: Floats) -> dict[str, Any]:
    """The columns from `verdict` on; `ratio` is log a - log b."""
    exact = not (sigma > 0).any()
    z = ratio / np.maximum(sigma, _NO_NOISE)
    side = np.where(np.abs(z) > _Z_SIDE, np.sign(z), 0.0)
    clear = np.flatnonzero(side)
    turns = clear[:-1][side[clear[:-1]] != side[clear[1:]]] if len(clear) else clear
    told = {
        "seq_len": np.nan,
        "low": np.nan,
        "high": np.nan,
        "a_below": _told(T[side < 0]),
        "b_below": _told(T[side > 0]),
        "n": len(T),
    }
    if (z < -_Z_ALWAYS).all():
        return {"verdict": "a always", **told}
    if (z > _Z_ALWAYS).all():
        return {"verdict": "b always", **told}
    if not len(turns):
        return {"verdict": "not separable", **told}
    if len(turns) > 1:
        return {"verdict": "crosses repeatedly", **told}
    first = int(turns[0])
    last = int(clear[np.searchsorted(clear, first) + 1])
    own = slice(first, last + 1)
    told["seq_len"], told["low"], told["high"] = _zero(T[own], ratio[own], sigma[own], exact)
    return {"verdict": "crosses", **told}


def _zero(T: Floats, ratio: Floats, sigma: Floats, exact: bool) -> tuple[float, float, float]:
    """T* and its interval between the first and the last length, whose ratios differ in sign."""
    x = np.log(T)
    slope, level = np.polyfit(x, ratio, 1, w=None if exact else 1 / np.maximum(sigma, _NO_NOISE))
    if exact:
        low, high = x[0], x[-1]
    else:
        rising = np.sign(ratio[-1])
        low = _root(x[:2], rising * ratio[:2] + _Z_SIDE * sigma[:2])
        high = _root(x[-2:], rising * ratio[-2:] - _Z_SIDE * sigma[-2:])
    at = np.clip(-level / slope, low, high)
    return float(np.exp(at)), float(np.exp(low)), float(np.exp(high))


def _root(x: Floats, y: Floats) -> float:
    """Where the straight line between two points passes zero."""
    return float(x[0] - y[0] * (x[1] - x[0]) / (y[1] - y[0]))


def _told(lengths: Floats) -> str:
    return ", ".join(f"{length:g}" for length in lengths)


def crossover_sentence(row: Mapping[Any, Any]) -> str:
    """One row of `crossovers` in words, without the line it belongs to."""
    a, b = row["a"], row["b"]
    below = [f"{m} is lower at T = {t}" for m, t in ((a, row["a_below"]), (b, row["b_below"])) if t]
    match row["verdict"]:
        case "crosses":
            before, after = (a, b) if _first(row["a_below"]) < _first(row["b_below"]) else (b, a)
            return (
                f"{before} is lower up to T = {row['seq_len']:.0f} ({row['low']:.0f} to"
                f" {row['high']:.0f}), {after} beyond"
            )
        case "a always":
            return f"never: {a} is lower than {b} at every length measured"
        case "b always":
            return f"never: {b} is lower than {a} at every length measured"
        case "crosses repeatedly":
            return "more than once: " + "; ".join(below)
        case _:
            rest = "otherwise not separable from noise" if below else "not separable from noise"
            return "; ".join([*below, rest])


def _first(lengths: str) -> float:
    return float(lengths.split(", ")[0])


def crossover_surface(table: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    """T* of two models over batch × hidden size.

    Args:
        table: From `crossovers`, narrowed to one value of whatever else varies (mode, device …).
        a: One model.
        b: The other; the order does not matter.

    Returns:
        Rows are batch sizes, columns hidden sizes; T*, or NaN where the lines do not cross once.

    Raises:
        ValueError: if several lines share a batch and a hidden size.
    """
    pair = table[((table["a"] == a) & (table["b"] == b)) | ((table["a"] == b) & (table["b"] == a))]
    if pair.duplicated(["batch_size", "hidden_size"]).any():
        raise ValueError("several lines share a batch and a hidden size; narrow the table first")
    return pair.pivot(index="batch_size", columns="hidden_size", values="seq_len")
