"""Laws of a line over sequence length, `a + b·T` and `c·T^p`, and the regimes between its ends."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import Floats, Noise, floor, spread
from benchsuite.analysis.select import LINE, measured

#: The local exponent d log t / d log T below which most of a time does not grow with T …
OVERHEAD_BOUND = 0.5
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
        regime: "overhead-bound", "linear", "super-linear", the first and the last of them joined
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
    T, t, sigma = seq_len[order], value[order], sigma[order]
    if (sigma > 0).any():
        noise = np.random.default_rng(seed).standard_normal((_DRAWS, len(T))) * sigma
        drawn = t * np.exp(noise)
    else:
        drawn = t[None, :]
    affine, affines = _polynomials(T, t[None, :], 1)[0], _polynomials(T, drawn, 1)
    exponent, log_factor = np.polyfit(np.log(T), np.log(t), 1)
    exponents = np.polyfit(np.log(T), np.log(drawn).T, 1)[0]
    curve, curves = affine, affines
    if len(T) > 3:
        bent = _polynomials(T, drawn, 2)
        if _ends(bent[:, 2])[0] > 0:  # a bend that noise alone does not make
            curve, curves = _polynomials(T, t[None, :], 2)[0], bent
    regime, changes_at = _regime(T, curve, curves)
    return Law(
        overhead=(float(affine[0]), *_ends(affines[:, 0])),
        slope=(float(affine[1]), *_ends(affines[:, 1])),
        exponent=(float(exponent), *_ends(exponents)),
        factor=float(np.exp(log_factor)),
        regime=regime,
        changes_at=changes_at,
        n=len(T),
    )


def _polynomials(T: Floats, drawn: Floats, degree: int) -> Floats:
    """Coefficients ≥ 0, ascending, of the least relative squares of each row of `drawn`.

    The optimum is an unconstrained one over some of the terms. There are at most seven choices of
    terms, each solved for all rows at once: a hundred times faster than `scipy.optimize.nnls` row
    by row.
    """
    scale = T.max()
    basis = np.vander(T / scale, degree + 1, increasing=True) / drawn[:, :, None]
    gram, target = basis.transpose(0, 2, 1) @ basis, basis.sum(1)
    best = np.zeros((len(drawn), degree + 1))
    gained = np.zeros(len(drawn))
    for size in range(1, degree + 2):
        for terms in itertools.combinations(range(degree + 1), size):
            own = list(terms)
            found = np.linalg.solve(gram[:, own][:, :, own], target[:, own, None])[:, :, 0]
            gain = (found * target[:, own]).sum(1)  # how much less than the values' own squares
            better = (found >= 0).all(1) & (gain > gained)
            gained = np.where(better, gain, gained)
            best[better] = 0.0
            for place, term in enumerate(terms):
                best[better, term] = found[better, place]
    return np.asarray(best / scale ** np.arange(degree + 1), float)


def _ends(draws: Floats) -> tuple[float, float]:
    low, high = np.percentile(draws, _INTERVAL)
    return float(low), float(high)


def _local_exponent(T: float, curves: Floats) -> Any:
    """d log t / d log T of each curve (coefficients in the last axis)."""
    powers = np.arange(curves.shape[-1])
    terms = curves * float(T) ** powers
    return (terms * powers).sum(-1) / terms.sum(-1)


def _name(exponent: float) -> str:
    if exponent < OVERHEAD_BOUND:
        return "overhead-bound"
    return "super-linear" if exponent > SUPER_LINEAR else "linear"


def _regime(T: Floats, curve: Floats, curves: Floats) -> tuple[str, tuple[float, float, float]]:
    """Regime names at both ends, and where the last change between them is."""
    none = (np.nan, np.nan, np.nan)
    names = [_name(float(_local_exponent(end, curve))) for end in (T[0], T[-1])]
    agree = [
        np.mean([_name(float(e)) == name for e in _local_exponent(end, curves)])
        for end, name in zip((T[0], T[-1]), names, strict=True)
    ]
    if min(agree) < 0.5:
        return "unclear", none
    if names[0] == names[1]:
        return names[0], none
    threshold = OVERHEAD_BOUND if names[1] == "linear" else SUPER_LINEAR
    at, drawn = (_crossing(threshold, c, T) for c in (curve[None, :], curves))
    return " → ".join(names), (float(at[0]), *_ends(drawn))


def _crossing(threshold: float, curves: Floats, T: Floats) -> Floats:
    """Where each curve's local exponent, which never falls, reaches the threshold; else an end.

    It is p where Σ (k-p) c_k T^k = 0: a quadratic whose first coefficient is ≤ 0, last one ≥ 0.
    """
    terms = np.zeros((3, len(curves)))
    terms[: curves.shape[1]] = curves.T
    a, b, c = terms * (np.arange(3) - threshold)[:, None]
    root = np.sqrt(b**2 - 4 * a * c)
    # Of the two forms of the positive root, the one without cancellation.
    above, below = (-2 * a, b + root) if threshold < 1 else (root - b, 2 * c)
    at = np.full(len(curves), np.inf)
    np.divide(above, below, out=at, where=below > 0)
    return np.asarray(np.clip(at, T[0], T[-1]), float)


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
    noise = noise or floor(frame, measure)
    rows = rows.drop_duplicates([*LINE, "model", "seq_len"], keep="last")
    T, value, sigma = *(rows[n].to_numpy(float) for n in ("seq_len", "value")), spread(rows, noise)
    found = []
    lines: dict[Any, Any] = rows.groupby([*LINE, "model"], sort=False).indices
    for key, line in lines.items():
        law = fit_law(T[line], value[line], sigma[line])
        if law is not None:
            own = dict(zip([*LINE, "model"], key, strict=True))
            found.append({**own, **_columns(law)})
    return pd.DataFrame(found, columns=[*LINE, "model", *_LAW_COLUMNS])


_TRIPLES = ("overhead", "slope", "exponent", "changes_at")
_LAW_COLUMNS = [
    *(f"{name}{end}" for name in _TRIPLES for end in ("", "_low", "_high")),
    *("factor", "regime", "n"),
]


def _columns(law: Law) -> dict[str, Any]:
    triples = {
        f"{name}{end}": number
        for name in _TRIPLES
        for end, number in zip(("", "_low", "_high"), getattr(law, name), strict=True)
    }
    return {**triples, "factor": law.factor, "regime": law.regime, "n": law.n}
