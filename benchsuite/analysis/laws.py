"""Laws of a line over sequence length, `a + b·T` and `c·T^p`, and the regimes between its ends."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import Floats, Noise, floor, spread
from benchsuite.analysis.select import LINE, by_line, measured

#: The local exponent d log t / d log T below which most of a time does not grow with T …
FLAT = 0.5
#: … and above which it grows faster than T, by more than the log T of a deeper network.
SUPER_LINEAR = 1.25
_DRAWS = 200
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Law:
    """How one line grows: an affine and a power law, and the regimes between its ends.

    All intervals are 95 %, from refitting values redrawn with their noise; they are the point
    itself for exact values.

    Attributes:
        overhead: a of `t = a + b·T`, in the unit of the value; (value, low, high).
        slope: b, per timestep.
        exponent: p of `t = c·T^p`.
        factor: c.
        regime: "flat", "linear", "super-linear", the first and the last of them joined
            by " → " where it changes between the ends, or "unclear".
        changes_at: T at which it changes, (value, low, high); NaN where it does not.
        n: Number of lengths.
    """

    overhead: tuple[float, float, float]
    slope: tuple[float, float, float]
    exponent: tuple[float, float, float]
    factor: float
    regime: str
    changes_at: tuple[float, float, float]
    n: int


def fit_law(seq_len: Floats, value: Floats, sigma: Floats, seed: int = 0) -> Law | None:
    """Fit both laws to one line; None with fewer than two lengths.

    The affine law minimises relative errors (weights 1/t², as noise is relative) under a, b ≥ 0.
    The regime is that of the local exponent of `a + b·T + c·T²` with a, b, c ≥ 0 (Lawson & Hanson
    1974, chapter 23), with c only from four lengths on, and where its interval leaves out zero.

    Args:
        seq_len: Timesteps, distinct and positive.
        value: Positive values at those lengths.
        sigma: Standard deviation of each log value (see `noise.spread`).
        seed: Of the redrawn values.
    """
    if len(set(seq_len)) < 2 or not (value > 0).all():
        return None
    order = np.argsort(seq_len)
    found = _fit(seq_len[None, order], value[None, order], sigma[None, order], seed)
    triples = {name: tuple(float(own[0]) for own in found[name]) for name in _TRIPLES}
    return Law(
        **triples,  # type: ignore[arg-type]
        factor=float(found["factor"][0]),
        regime=str(found["regime"][0]),
        n=len(seq_len),
    )


def _fit(T: Floats, t: Floats, sigma: Floats, seed: int = 0) -> dict[str, Any]:
    """The attributes of `Law` of each line, (lines, lengths), lengths ascending; not `n`.

    Inside, draws are an axis of their own, (lines, draws, …); draw 0 is the values themselves.
    """
    draws = np.random.default_rng(seed).standard_normal((_DRAWS, T.shape[1]))
    noise = np.vstack([np.zeros(T.shape[1]), draws]) * sigma[:, None, :]
    x, y = np.log(T), np.log(t)
    dx = x - x.mean(1, keepdims=True)
    slopes = (noise + y[:, None, :]) @ (dx / (dx**2).sum(1, keepdims=True))[:, :, None]
    exponent = slopes[:, :, 0]
    curves = np.zeros((*noise.shape[:2], 3))
    affine = curves[:, :, :2] = _polynomials(T, np.exp(-noise) / t[:, None, :], 1)
    if T.shape[1] > 3:
        bent = _polynomials(T, np.exp(-noise) / t[:, None, :], 2)
        sure = _interval(bent[:, :, 2])[1] > 0  # a bend that noise alone does not make
        curves[sure] = bent[sure]
    regime, changes_at = _regimes(T, curves)
    return {
        "overhead": _interval(affine[:, :, 0]),
        "slope": _interval(affine[:, :, 1]),
        "exponent": _interval(exponent),
        "factor": np.exp(y.mean(1) - exponent[:, 0] * x.mean(1)),
        "regime": regime,
        "changes_at": changes_at,
    }


def _polynomials(T: Floats, inverse: Floats, degree: int) -> Floats:
    """Coefficients ≥ 0, ascending, of the least relative squares of each row of values drawn.

    The optimum is an unconstrained one over some of the terms. There are at most seven choices of
    terms, each solved for all rows at once: a thousand times faster than `scipy.optimize.nnls` row
    by row.

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
            found = _solved([[moments[j + k] for k in terms] for j in terms], target[list(terms)])
            gain = (found * target[list(terms)]).sum(0)  # how much less than the values' squares
            better = (found >= 0).all(0) & (gain > gained)
            gained = np.where(better, gain, gained)
            best[:, better] = 0.0
            for term, own in zip(terms, found, strict=True):
                best[term, better] = own[better]
    best /= scale[:, None] ** np.arange(degree + 1)[:, None, None]
    return np.moveaxis(best, 0, 2)


def _solved(gram: list[list[Floats]], target: Floats) -> Floats:
    """Solutions of many small systems that are symmetric and positive definite, by elimination.

    Numpy calls LAPACK for each; with three unknowns that is fifty times the arithmetic.
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
    """(value, low, high) of each line, (3, lines), from its value and what was drawn."""
    return np.array([values[:, 0], *np.percentile(values[:, 1:], _INTERVAL, axis=1)])


def _regimes(T: Floats, curves: Floats) -> tuple[np.ndarray, Floats]:
    """Regime names at both ends, and where the last change between them is."""
    kinds = [_kind(_local_exponent(end, curves)) for end in (T[:, 0], T[:, -1])]
    agree = [(kind[:, 1:] == kind[:, :1]).mean(1) for kind in kinds]
    first, last = (kind[:, 0] for kind in kinds)
    names = np.array([[a if a == b else f"{a} → {b}" for b in _KINDS] for a in _KINDS])
    regime = np.where(np.minimum(*agree) < 0.5, "unclear", names[first, last])
    changes_at = np.full((3, len(T)), np.nan)
    changed = (regime != "unclear") & (first != last)
    if changed.any():
        threshold = np.where(last[changed] == 1, FLAT, SUPER_LINEAR)
        changes_at[:, changed] = _interval(_crossing(threshold, curves[changed], T[changed]))
    return regime, changes_at


_KINDS = ("flat", "linear", "super-linear")


def _kind(exponent: Floats) -> np.ndarray:
    """Place in `_KINDS`."""
    return (exponent >= FLAT).astype(int) + (exponent > SUPER_LINEAR)


def _local_exponent(T: Floats, curves: Floats) -> Floats:
    """d log t / d log T of each curve at its line's T."""
    powers = np.arange(3)
    terms = curves * (T[:, None] ** powers)[:, None, :]
    return np.asarray((terms @ powers) / terms.sum(2), float)


def _crossing(threshold: Floats, curves: Floats, T: Floats) -> Floats:
    """Where each curve's local exponent, which never falls, reaches the threshold; else an end.

    It is p where Σ (k-p) c_k T^k = 0: a quadratic whose first coefficient is ≤ 0, last one ≥ 0.
    """
    threshold = threshold[:, None]
    a, b, c = (curves[:, :, power] * (power - threshold) for power in range(3))
    root = np.sqrt(b**2 - 4 * a * c)
    # Of the two forms of the positive root, the one without cancellation.
    above = np.where(threshold < 1, -2 * a, root - b)
    below = np.where(threshold < 1, b + root, 2 * c)
    at = np.full(above.shape, np.inf)
    np.divide(above, below, out=at, where=below > 0)
    return np.asarray(np.clip(at, T[:, :1], T[:, -1:]), float)


def laws(frame: pd.DataFrame, measure: str, *, noise: Noise | None = None) -> pd.DataFrame:
    """The law of every line of a measure.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: Which measure.
        noise: The floor; by default estimated from the frame (see `noise.floor`).

    Returns:
        A frame with the columns of `LINE`, `model`, then `overhead, slope, exponent, changes_at`
        each with `…_low` and `…_high`, `factor, regime, n`.
    """
    rows = measured(frame, measure)
    rows = rows.assign(sigma=spread(rows, noise or floor(frame, measure)))
    keys = [*LINE, "model"]
    rows = rows.drop_duplicates([*keys, "seq_len"], keep="last")
    T, value, sigma = (rows[name].to_numpy(float) for name in ("seq_len", "value", "sigma"))

    def fit(lines: np.ndarray) -> pd.DataFrame:
        lines = np.take_along_axis(lines, np.argsort(T[lines], axis=1), axis=1)
        chunks = np.split(lines, range(_CHUNK, len(lines), _CHUNK))
        found = (_fit(T[chunk], value[chunk], sigma[chunk]) for chunk in chunks)
        return pd.concat(map(_columns, found), ignore_index=True).assign(n=lines.shape[1])

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
