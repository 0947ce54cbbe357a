"""Crossings of two models' lines over sequence length, with intervals."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import (
    LEAST_DIFFERENCE,
    Floats,
    Noise,
    critical,
    floor,
    noise_columns,
    spread_and_degrees,
)
from benchsuite.analysis.select import LINE, beside, by_line, measured, only, without_repeats
from benchsuite.catalog.measures import MEASURES
from benchsuite.records.frame import group_numbers

Indices = np.ndarray[Any, np.dtype[np.int64]]
#: A ratio may jump between two lengths if it changes there by this factor more than beside them.
_STEP = 1.25
COLUMNS = ("a", "b", "verdict", "seq_len", "low", "high", "a_below", "b_below", "n")


def crossovers(frame: pd.DataFrame, measure: str, *, noise: Noise | None = None) -> pd.DataFrame:
    """The crossing of every pair of models on every line they share.

    Each length gives a log ratio with its noise. A model is below "always" if it is significantly
    below at every length. The lines cross if one model is significantly below at some lengths and
    the other at longer ones. T* is where a weighted straight line of the log ratio over log T
    passes zero, fitted from the last length that is clearly on one side to the first that is
    clearly on the other. Its interval contains every T between them at which a ratio of one is not
    rejected at 5 % (Fieller 1954), with ratios and noise interpolated between lengths; where the
    ratio may jump between two lengths, it contains all T between them. Exact values have no noise:
    their interval is the pair of lengths between which they cross. Values closer than the measure's
    tolerance are not separable at that length.

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
    names = (*LINE, "model", "seq_len", "measure", "status", "value", *noise_columns(frame))
    rows = measured(only(frame, names), measure)
    sigma, degrees = spread_and_degrees(rows, noise or floor(frame, measure))
    return cross_lines(
        rows.assign(sigma=sigma, degrees=degrees), same=MEASURES.get(measure).log_tolerance
    )


def cross_lines(rows: pd.DataFrame, *, same: float = 0.0) -> pd.DataFrame:
    """`crossovers` of rows that have a `sigma` and `degrees` (see `noise.spread_and_degrees`).

    Log ratios up to `same` count as zero.
    """
    rows = without_repeats(rows, [*LINE, "model", "seq_len"])
    models = rows["model"].unique()
    rows = rows.sort_values("seq_len", kind="stable").assign(log=np.log(rows["value"]))
    # One number for each line and length is compared sooner than the axes are.
    cell, line = group_numbers(rows, [*LINE, "seq_len"]), group_numbers(rows, LINE)
    numbers = {name: rows[name].to_numpy(float) for name in ("seq_len", "log", "sigma", "degrees")}
    of_model = {name: np.flatnonzero(rows["model"] == name) for name in models}
    found = []
    row_of = np.empty(int(cell.max(initial=-1)) + 1, int)
    for a, b in itertools.combinations(models, 2):
        row_of[:] = -1
        row_of[cell[of_model[b]]] = of_model[b]
        at_b = row_of[cell[of_model[a]]]
        both = of_model[a][at_b >= 0], at_b[at_b >= 0]
        if len(both[0]):
            side_a, side_b = ({name: of[at] for name, of in numbers.items()} for at in both)
            found.append(_pair(line[both[0]], side_a, side_b, same).assign(a=a, b=b))
    if not found:
        return pd.DataFrame(columns=[*LINE, *COLUMNS])
    table = pd.concat(found, ignore_index=True)
    first = np.unique(line, return_index=True)[1]
    return beside(rows[list(LINE)].iloc[first[table["line"]]], table[[*COLUMNS]])


def _pair(
    line: Indices, a: Mapping[str, Floats], b: Mapping[str, Floats], same: float
) -> pd.DataFrame:
    """The table of two models, without their names, with the number of each line.

    Args:
        line: Number of the line of each row, (rows,); the rows are in the order of their lengths.
        a: `seq_len`, `log`, `sigma` and `degrees` of one model, each (rows,).
        b: Those of the other one.
        same: Log ratios up to this one count as zero.
    """
    T, ratio = a["seq_len"], a["log"] - b["log"]
    ratio = np.where(np.abs(ratio) <= same, 0.0, ratio)
    parts = [(side["sigma"], side["degrees"]) for side in (a, b)]
    sigma = np.hypot(parts[0][0], parts[1][0])
    two_sided, one_sided = (sigma * critical(*parts, tail=tail) for tail in (0.025, 0.05))

    def fit(lines: np.ndarray) -> pd.DataFrame:
        return _cross(T[lines], ratio[lines], two_sided[lines], one_sided[lines])

    return by_line(pd.DataFrame({"line": line}), ["line"], fit, COLUMNS[2:], least=1)


def _cross(T: Floats, ratio: Floats, two_sided: Floats, one_sided: Floats) -> pd.DataFrame:
    """The columns from `verdict` on, for lines of equally many lengths.

    A model is clearly below at one length where the ratio exceeds the half width of its two-sided
    interval; it is below at every length where all ratios exceed the one-sided one.

    Args:
        T: Lengths, (lines, lengths), ascending.
        ratio: log a - log b there.
        two_sided: Half the width of the 95 % interval of each ratio.
        one_sided: Distance of its one-sided 95 % bound.
    """
    least = np.maximum(one_sided, LEAST_DIFFERENCE)
    side = np.where(np.abs(ratio) > np.maximum(two_sided, LEAST_DIFFERENCE), np.sign(ratio), 0.0)
    # The last clear length before each one, or -1; a turn is clear on the other side.
    clear = np.maximum.accumulate(np.where(side != 0, np.arange(T.shape[1]), -1), axis=1)
    before = np.hstack([np.full((len(T), 1), -1), clear[:, :-1]])
    turns = (before >= 0) & (side * np.take_along_axis(side, before, 1) < 0)
    verdict = np.select(
        [(ratio < -least).all(1), (ratio > least).all(1), ~turns.any(1), turns.sum(1) > 1],
        ["a always", "b always", "not separable", "crosses repeatedly"],
        "crosses",
    )
    at = np.full((3, len(T)), np.nan)
    once = np.flatnonzero(verdict == "crosses")
    if len(once):
        last = turns[once].argmax(1)
        first = before[once, last]
        at[:, once] = _zero(T[once], ratio[once], two_sided[once], (first, last))
    return pd.DataFrame(
        {
            "verdict": verdict,
            **dict(zip(("seq_len", "low", "high"), at, strict=True)),
            "a_below": _listed(T, side < 0),
            "b_below": _listed(T, side > 0),
            "n": T.shape[1],
        }
    )


def _zero(T: Floats, ratio: Floats, half: Floats, ends: tuple[Indices, Indices]) -> Floats:
    """T* and its interval, (3, lines), between two lengths whose ratios differ in sign."""
    first, last = ends
    x = np.log(T)
    exact = np.all(half == 0, axis=1)
    used = (np.arange(T.shape[1]) >= first[:, None]) & (np.arange(T.shape[1]) <= last[:, None])
    weight = used / np.where(exact[:, None], 1.0, np.maximum(half, LEAST_DIFFERENCE)) ** 2
    weight /= weight.sum(1, keepdims=True)
    x_mean, mean = (weight * x).sum(1), (weight * ratio).sum(1)
    dx = x - x_mean[:, None]
    slope = (weight * dx * ratio).sum(1) / (weight * dx**2).sum(1)
    line = np.arange(len(T))
    rising = np.sign(ratio[line, last])[:, None]
    low = _root(x, rising * ratio + half, first)
    high = _root(x, rising * ratio - half, last - 1)
    low, high = np.where(exact, x[line, first], low), np.where(exact, x[line, last], high)
    low, high = _over_steps(x, rising * ratio, used, (low, high))
    return np.exp([np.clip(x_mean - mean / slope, low, high), low, high])


def _over_steps(
    x: Floats, y: Floats, used: np.ndarray, ends: tuple[Floats, Floats]
) -> tuple[Floats, Floats]:
    """Intervals extended by each gap between lengths in which the ratio may have jumped.

    A ratio that rises over a gap by a quarter more than over either neighbour may do so at a single
    T, such as where a cache is full: it crosses anywhere between those two lengths.
    """
    low, high = ends
    slope = np.diff(y, axis=1) / np.diff(x, axis=1)
    padded = np.pad(slope, ((0, 0), (1, 1)))
    steep = slope > _STEP * np.maximum(padded[:, :-2], padded[:, 2:])
    left, right = x[:, :-1], x[:, 1:]
    jump = steep & used[:, :-1] & used[:, 1:] & (left < high[:, None]) & (right > low[:, None])
    return (
        np.minimum(low, np.where(jump, left, np.inf).min(1)),
        np.maximum(high, np.where(jump, right, -np.inf).max(1)),
    )


def _root(x: Floats, y: Floats, first: Indices) -> Floats:
    """The x at which each row's straight line between two neighbouring points passes zero."""
    line = np.arange(len(x))
    x_0, y_0, x_1, y_1 = x[line, first], y[line, first], x[line, first + 1], y[line, first + 1]
    return np.asarray(x_0 - y_0 * (x_1 - x_0) / (y_1 - y_0), float)


def _listed(T: Floats, chosen: np.ndarray) -> list[str]:
    """The chosen lengths of each row, joined by ", "; the few distinct sets are cached."""
    sets = (lengths[row].tobytes() for lengths, row in zip(T, chosen, strict=True))
    return [_words(lengths) for lengths in sets]


@functools.lru_cache
def _words(lengths: bytes) -> str:
    return ", ".join(f"{length:g}" for length in np.frombuffer(lengths))


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
