"""Scaling laws of lines over sequence length, `a + b·T` and `c·T^p`, and the lines' regimes."""

from __future__ import annotations

import functools
import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.noise import (
    Floats,
    Noise,
    critical,
    floor,
    noise_columns,
    spread_and_degrees,
)
from benchsuite.analysis.select import LINE, by_line, measured, only, without_repeats

#: Local exponent d log t / d log T below which most of a time does not grow with T.
FLAT = 0.5
#: Local exponent above which a time grows faster than T times the log T of a deeper network.
SUPER_LINEAR = 1.25
_DRAWS = 200
_INTERVAL = (2.5, 97.5)
#: Log values are drawn at most this far from the measured ones, so as not to overflow.
_FAR = 30.0


def _fit(T: Floats, t: Floats, sigma: Floats, degrees: Floats) -> dict[str, Any]:
    """The columns of `laws` except `n`, for lines of equally many lengths, ascending.

    The affine law minimises relative errors (weights 1/t², as noise is relative) under a, b ≥ 0.
    The regime is that of the local exponent of `a + b·T + c·T²` with a, b, c ≥ 0 (Lawson & Hanson
    1974, chapter 23), with c only from four lengths on, and where its interval excludes zero.

    The exponent is linear in the log values, so its interval has a closed form. The other intervals
    come from refitting values redrawn with their noise. As an estimated noise floor is itself
    uncertain, draws follow Student's t, with one scale for all lengths of a line.

    Args:
        T: Lengths, (lines, lengths).
        t: Values there.
        sigma: Standard deviation of each log value (see `noise.spread_and_degrees`).
        degrees: Degrees of freedom of each line's noise, (lines,).
    """
    # Draws are the last axis, (lines, …, draws); draw 0 is the values themselves.
    draws, level = _random(T.shape[1])
    distinct, kind = np.unique(degrees, return_inverse=True)
    scale = np.stack([_scale(freedom, level) for freedom in distinct.tolist()])[kind]
    noise = np.zeros((*T.shape, _DRAWS + 1))
    noise[:, :, 1:] = np.clip(draws * scale[:, None, :] * sigma[:, :, None], -_FAR, _FAR)
    x, y = np.log(T), np.log(t)
    dx = x - x.mean(1, keepdims=True)
    weight = dx / (dx**2).sum(1, keepdims=True)
    exponent = (weight * y).sum(1)
    error = np.sqrt(((weight * sigma) ** 2).sum(1))
    half = error * critical((error, degrees))
    affine, *more = _polynomials(T, np.exp(-noise) / t[:, :, None], 2 if T.shape[1] > 3 else 1)
    curves = np.concatenate([affine, np.zeros((1, *affine.shape[1:]))])
    for bent in more:
        sure = _interval(bent[2])[1] > 0  # a bend that noise alone does not make
        curves[:, sure] = bent[:, sure]
    regime, changes_at = _regimes(T, curves)
    return {
        "overhead": _interval(affine[0]),
        "slope": _interval(affine[1]),
        "exponent": np.array([exponent, exponent - half, exponent + half]),
        "factor": np.exp(y.mean(1) - exponent * x.mean(1)),
        "regime": regime,
        "changes_at": changes_at,
    }


@functools.cache
def _random(lengths: int) -> tuple[Floats, bytes]:
    """Standard normal draws, (lengths, draws), and the level of each draw's scale as bytes."""
    random = np.random.default_rng(0)
    draws = random.standard_normal((_DRAWS, lengths)).T
    return draws, random.uniform(size=_DRAWS).tobytes()


@functools.lru_cache
def _scale(freedom: float, level: bytes) -> Floats:
    """The factors, (draws), that turn normal draws into those of Student's t."""
    if math.isinf(freedom):
        return np.ones(_DRAWS)
    return np.asarray(np.sqrt(freedom / stats.chi2.ppf(np.frombuffer(level), freedom)), float)


def _polynomials(T: Floats, inverse: Floats, most: int) -> list[Floats]:
    """Coefficients ≥ 0, ascending, of the fits with the least relative squares to each draw.

    The constrained optimum is the unconstrained one over a subset of the terms. There are at most
    seven subsets, each solved for all rows at once: a thousand times faster than
    `scipy.optimize.nnls` row by row.

    Args:
        T: Lengths, (lines, lengths).
        inverse: One over the values, (lines, lengths, draws).
        most: Highest degree, 1 or 2.

    Returns:
        For each degree from 1 on the coefficients, (degree + 1, lines, draws).
    """
    scale = T.max(1)
    powers = (T / scale[:, None])[:, None, :] ** np.arange(2 * most + 1)[:, None]
    # The normal equations: gram[j, k] = Σ T^(j+k) / t², target[k] = Σ T^k / t.
    target = np.moveaxis(powers[:, : most + 1] @ inverse, 1, 0)
    moments = np.moveaxis(powers @ inverse**2, 1, 0)
    best = np.zeros(target.shape)
    gained = np.zeros(target.shape[1:])
    found = []
    for degree in range(1, most + 1):  # which may lack terms, and so be one of a lower degree
        for terms in _SUBSETS[degree]:
            solved = _solved([[moments[j + k] for k in terms] for j in terms], target[terms])
            gain = np.zeros(gained.shape)  # by how much the squares decrease
            better = np.ones(gained.shape, bool)
            for term, coefficient in zip(terms, solved, strict=True):
                gain += coefficient * target[term]
                better &= coefficient >= 0
            better &= gain > gained
            np.copyto(gained, gain, where=better)
            for term in range(degree + 1):
                solution = solved[terms.index(term)] if term in terms else 0.0
                np.copyto(best[term], solution, where=better)
        units = scale ** np.arange(degree + 1)[:, None]
        found.append(best[: degree + 1] / units[:, :, None])
    return found


#: Degree of a polynomial → subsets of its terms that no polynomial of lower degree has.
_SUBSETS = {1: ([0], [1], [0, 1]), 2: ([2], [0, 2], [1, 2], [0, 1, 2])}


def _solved(gram: list[list[Floats]], target: Floats) -> list[Floats]:
    """Solutions of many small symmetric positive definite systems, by elimination.

    Numpy calls LAPACK for each system; with three unknowns that takes fifty times as long.
    """
    size = len(target)
    right = list(target)
    for pivot, row in itertools.combinations(range(size), 2):
        share = gram[row][pivot] / gram[pivot][pivot]
        gram[row] = [a - share * b for a, b in zip(gram[row], gram[pivot], strict=True)]
        right[row] = right[row] - share * right[pivot]
    for row in reversed(range(size)):
        for k in range(row + 1, size):
            right[row] = right[row] - gram[row][k] * right[k]
        right[row] = right[row] / gram[row][row]
    return right


def _interval(values: Floats) -> Floats:
    """Value, low and high of each line, (3, lines), from its value and the draws.

    The kth smallest of n draws is the quantile k / (n + 1): with few draws, other definitions make
    intervals too narrow.
    """
    drawn = values[:, 1:]
    return np.array([values[:, 0], *np.percentile(drawn, _INTERVAL, axis=1, method="weibull")])


def _regimes(T: Floats, curves: Floats) -> tuple[np.ndarray, Floats]:
    """Regimes at both ends as one name, and the T of the last change between them."""
    ends = [_regime(_local_exponent(T_end, curves)) for T_end in (T[:, 0], T[:, -1])]
    agree = [(end[:, 1:] == end[:, :1]).mean(1) for end in ends]
    first, last = (end[:, 0] for end in ends)
    names = np.array([[a if a == b else f"{a} → {b}" for b in _REGIMES] for a in _REGIMES])
    regime = np.where(np.minimum(*agree) < 0.5, "unclear", names[first, last])
    changes_at = np.full((3, len(T)), np.nan)
    changed = (regime != "unclear") & (first != last)
    if changed.any():
        threshold = np.where(last[changed] == 1, FLAT, SUPER_LINEAR)
        changes_at[:, changed] = _interval(_crossing(threshold, curves[:, changed], T[changed]))
    return regime, changes_at


_REGIMES = ("flat", "linear", "super-linear")


def _regime(exponent: Floats) -> np.ndarray:
    """Index in `_REGIMES`."""
    return (exponent >= FLAT).astype(int) + (exponent > SUPER_LINEAR)


def _local_exponent(T: Floats, curves: Floats) -> Floats:
    """d log t / d log T of each curve at its line's T."""
    linear, bent = curves[1] * T[:, None], curves[2] * (T**2)[:, None]
    return np.asarray((linear + 2 * bent) / (curves[0] + linear + bent), float)


def _crossing(threshold: Floats, curves: Floats, T: Floats) -> Floats:
    """The T at which each curve's local exponent, which never falls, reaches the threshold.

    It is p where Σ (k-p) c_k T^k = 0: a quadratic whose first coefficient is ≤ 0 and whose last one
    is ≥ 0. A root outside the measured lengths becomes the nearer end of the line.
    """
    threshold = threshold[:, None]
    a, b, c = (curves[power] * (power - threshold) for power in range(3))
    root = np.sqrt(b**2 - 4 * a * c)
    # The positive root has two forms; this is the one without cancellation.
    above = np.where(threshold < 1, -2 * a, root - b)
    below = np.where(threshold < 1, b + root, 2 * c)
    at = np.full(above.shape, np.inf)
    np.divide(above, below, out=at, where=below > 0)
    return np.asarray(np.clip(at, T[:, :1], T[:, -1:]), float)


def laws(frame: pd.DataFrame, measure: str, *, noise: Noise | None = None) -> pd.DataFrame:
    """The law of every line of a measure.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: The measure's name.
        noise: The floors; by default estimated from the frame (see `noise.floor`).

    Returns:
        A frame with the columns of `LINE`, `model`, then, each with the `…_low` and `…_high` of a
        95 % interval (the point itself for exact values):

        - `overhead`: a of `t = a + b·T`, in the unit of the value;
        - `slope`: b, per timestep;
        - `exponent`: p of `t = c·T^p`;
        - `changes_at`: T at which the regime changes, NaN where it does not;

        and `factor`: c; `regime`: "flat", "linear" or "super-linear", the regimes of both ends
        joined by " → " where they differ, or "unclear"; `n`: number of lengths. Lines of one length
        are left out.
    """
    keys = [*LINE, "model"]
    names = (*keys, "seq_len", "measure", "status", "value", *noise_columns(frame))
    rows = measured(only(frame, names), measure)
    sigma, degrees = spread_and_degrees(rows, noise or floor(frame, measure))
    rows = without_repeats(rows.assign(sigma=sigma, degrees=degrees), [*keys, "seq_len"])
    columns = ("seq_len", "value", "sigma", "degrees")
    T, value, sigma, degrees = (rows[name].to_numpy(float) for name in columns)

    def fit(lines: np.ndarray) -> pd.DataFrame:
        lines = np.take_along_axis(lines, np.argsort(T[lines], axis=1), axis=1)
        chunks = np.split(lines, range(_CHUNK, len(lines), _CHUNK))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            found = threads.map(
                lambda at: _columns(_fit(T[at], value[at], sigma[at], degrees[at].min(1))), chunks
            )
            return pd.concat(found, ignore_index=True).assign(n=lines.shape[1])

    return by_line(rows, keys, fit, _COLUMNS)


_TRIPLES = ("overhead", "slope", "exponent", "changes_at")
_COLUMNS = [
    *(f"{name}{end}" for name in _TRIPLES for end in ("", "_low", "_high")),
    *("factor", "regime", "n"),
]
#: Lines fitted together: few enough for the processor's cache.
_CHUNK = 100


def _columns(found: dict[str, Any]) -> pd.DataFrame:
    triples = {
        f"{name}{end}": numbers
        for name in _TRIPLES
        for end, numbers in zip(("", "_low", "_high"), found[name], strict=True)
    }
    return pd.DataFrame({**triples, "factor": found["factor"], "regime": found["regime"]})
