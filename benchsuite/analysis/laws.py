"""Scaling laws of lines over sequence length, `a + b·T` and `c·T^p`, and the lines' regimes."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.noise import Floats, Noise, critical, floor, spread_and_degrees
from benchsuite.analysis.select import LINE, by_line, measured

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
    # Draws are a separate axis, (lines, draws, …); draw 0 is the values themselves.
    random = np.random.default_rng(0)
    draws = random.standard_normal((_DRAWS, T.shape[1]))
    distinct, kind = np.unique(degrees, return_inverse=True)
    level = random.uniform(size=_DRAWS)
    known = np.isinf(distinct)[:, None]
    finite = np.where(known, 1.0, distinct[:, None])
    scale = np.where(known, 1.0, np.sqrt(finite / stats.chi2.ppf(level, finite)))[kind]
    noise = np.zeros((len(T), _DRAWS + 1, T.shape[1]))
    noise[:, 1:] = np.clip(draws * scale[:, :, None] * sigma[:, None, :], -_FAR, _FAR)
    x, y = np.log(T), np.log(t)
    dx = x - x.mean(1, keepdims=True)
    weight = dx / (dx**2).sum(1, keepdims=True)
    exponent = (weight * y).sum(1)
    error = np.sqrt(((weight * sigma) ** 2).sum(1))
    half = error * critical((error, degrees))
    curves = np.zeros((*noise.shape[:2], 3))
    inverse = np.exp(-noise) / t[:, None, :]
    affine = curves[:, :, :2] = _polynomials(T, inverse, 1)
    if T.shape[1] > 3:
        bent = _polynomials(T, inverse, 2)
        sure = _interval(bent[:, :, 2])[1] > 0  # a bend that noise alone does not make
        curves[sure] = bent[sure]
    regime, changes_at = _regimes(T, curves)
    return {
        "overhead": _interval(affine[:, :, 0]),
        "slope": _interval(affine[:, :, 1]),
        "exponent": np.array([exponent, exponent - half, exponent + half]),
        "factor": np.exp(y.mean(1) - exponent * x.mean(1)),
        "regime": regime,
        "changes_at": changes_at,
    }


def _polynomials(T: Floats, inverse: Floats, degree: int) -> Floats:
    """Coefficients ≥ 0, ascending, of the fit with the least relative squares to each draw.

    The constrained optimum is the unconstrained one over a subset of the terms. There are at most
    seven subsets, each solved for all rows at once: a thousand times faster than
    `scipy.optimize.nnls` row by row.

    Args:
        T: Lengths, (lines, lengths).
        inverse: One over the values, (lines, draws, lengths).
        degree: 1 or 2.
    """
    scale = T.max(1)
    powers = (T / scale[:, None])[:, :, None] ** np.arange(2 * degree + 1)
    # The normal equations: gram[j, k] = Σ T^(j+k) / t², target[k] = Σ T^k / t.
    moments = np.moveaxis(inverse**2 @ powers, 2, 0)
    target = np.moveaxis(inverse @ powers[:, :, : degree + 1], 2, 0)
    best = np.zeros(target.shape)
    gained = np.zeros(target.shape[1:])
    for size in range(1, degree + 2):
        for terms in itertools.combinations(range(degree + 1), size):
            solved = _solved([[moments[j + k] for k in terms] for j in terms], target[list(terms)])
            gain = (solved * target[list(terms)]).sum(0)  # by how much the squares decrease
            better = (solved >= 0).all(0) & (gain > gained)
            gained = np.where(better, gain, gained)
            best[:, better] = 0.0
            for term, coefficients in zip(terms, solved, strict=True):
                best[term, better] = coefficients[better]
    best /= scale[:, None] ** np.arange(degree + 1)[:, None, None]
    return np.moveaxis(best, 0, 2)


def _solved(gram: list[list[Floats]], target: Floats) -> Floats:
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
        known = sum(gram[row][k] * right[k] for k in range(row + 1, size))
        right[row] = (right[row] - known) / gram[row][row]
    return np.array(right)


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
        changes_at[:, changed] = _interval(_crossing(threshold, curves[changed], T[changed]))
    return regime, changes_at


_REGIMES = ("flat", "linear", "super-linear")


def _regime(exponent: Floats) -> np.ndarray:
    """Index in `_REGIMES`."""
    return (exponent >= FLAT).astype(int) + (exponent > SUPER_LINEAR)


def _local_exponent(T: Floats, curves: Floats) -> Floats:
    """d log t / d log T of each curve at its line's T."""
    powers = np.arange(3)
    terms = curves * (T[:, None] ** powers)[:, None, :]
    return np.asarray((terms @ powers) / terms.sum(2), float)


def _crossing(threshold: Floats, curves: Floats, T: Floats) -> Floats:
    """The T at which each curve's local exponent, which never falls, reaches the threshold.

    It is p where Σ (k-p) c_k T^k = 0: a quadratic whose first coefficient is ≤ 0 and whose last one
    is ≥ 0. A root outside the measured lengths becomes the nearer end of the line.
    """
    threshold = threshold[:, None]
    a, b, c = (curves[:, :, power] * (power - threshold) for power in range(3))
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
    rows = measured(frame, measure)
    sigma, degrees = spread_and_degrees(rows, noise or floor(frame, measure))
    rows = rows.assign(sigma=sigma, degrees=degrees)
    keys = [*LINE, "model"]
    rows = rows.drop_duplicates([*keys, "seq_len"], keep="last")
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
