"""The surface of one model: its value as a function of T, B and H, with the error between cells.

A surface is a mean and a correction. The mean is either physical, a sum of terms with coefficients
≥ 0 (a fixed cost, a cost per step, per step and unit, per multiplication …), or a power law; the
correction is a Gaussian process on the log residuals (Rasmussen & Williams 2006, chapter 2) with a
Matérn 3/2 kernel over the logarithms of T, B and H. The mean and the process's scales are chosen by
leaving out one cell at a time (section 5.4.2 there); the same errors give the intervals
(`Surface.scores`).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import optimize

from benchsuite.analysis.noise import Floats

#: Cells that a surface over three axes needs at least.
MIN_CELLS = 4
_MIN_POWER_CELLS = 8
_LENGTHS = (1.5, 4.0)  # in doublings
_AMPLITUDES = (0.0, 0.05, 0.15, 0.4)
_NOISES = (0.01, 0.04, 0.1, 0.2, 0.4)
_COVER = 0.95

Mean = Literal["work", "power"]


@dataclass(frozen=True, slots=True)
class Surface:
    """A fitted surface.

    Attributes:
        points: Measured (T, B, H), one row per cell.
        log_values: Their log values.
        mean: The mean that was chosen.
        coefficients: Coefficients of that mean.
        work: Coefficients of the physical mean, even if the other one was chosen: they show where
            time goes.
        weights: Weights of the correction, one per cell.
        inverse: Inverse of the kernel matrix with noise.
        scales: Length, amplitude and noise of the process.
        errors: Log value minus its prediction from the other cells, for each cell.
        scores: Those errors in units of the standard deviation predicted for them.
    """

    points: Floats
    log_values: Floats
    mean: Mean
    coefficients: Floats
    work: Floats
    weights: Floats
    inverse: Floats
    scales: tuple[float, float, float]
    errors: Floats
    scores: Floats

    def predict(self, point: tuple[float, float, float]) -> tuple[float, float]:
        """Log value, and its standard deviation up to the factor that `conformal` gives.

        The deviation is at least the smallest one with which a cell was predicted from the others,
        as nothing better was tested, and the value of a cell itself may be an outlier.
        """
        at = np.array([point], float)
        length, amplitude, noise = self.scales
        cross = amplitude**2 * _correlation(at, self.points, length)[0]
        variance = amplitude**2 + noise**2 - cross @ self.inverse @ cross
        mean = _evaluate(self.mean, self.coefficients, _basis(self.mean, at))[0]
        log = float(mean + cross @ self.weights)
        tried = 1 / np.diag(self.inverse).max()
        return log, math.sqrt(max(float(variance), tried, noise**2))

    def overhead_share(self, point: tuple[float, float, float]) -> float | None:
        """The share of the physical mean that grows with neither B nor H.

        None where B or H is the same in all cells, which then cannot show what grows with it.
        """
        if (np.ptp(self.points[:, 1:], axis=0) == 0).any():
            return None
        parts = _terms(np.array([point], float))[0] * self.work
        return float(parts[:_OVERHEADS].sum() / parts.sum())


#: Leading terms that are overhead: a fixed cost, one per layer of a network whose depth follows T,
#: and one per step.
_OVERHEADS = 3


def _terms(points: Floats) -> Floats:
    """Terms of the cost of a step; L = log2 T is the depth of a network that covers T."""
    T, B, H = points.T
    L, one = np.log2(T) + 1, np.ones(len(T))
    work = T * B * H
    overhead = [one, L, T]
    weights = [H**2, L * H**2, B * H]  # parameters and states: they do not grow with T
    return np.column_stack(
        [
            *overhead,
            *weights,
            *(T * H, T * H**2, T * B, work, work * H, L * work, L * work * H, T * work),
        ]
    )


def _logs(points: Floats) -> Floats:
    return np.column_stack([np.ones(len(points)), np.log2(points)])


def _basis(mean: Mean, points: Floats) -> Floats:
    """The terms of a mean at each point, which its coefficients multiply."""
    return _logs(points) if mean == "power" else _terms(points)


def _fit(mean: Mean, terms: Floats, log_values: Floats) -> Floats:
    """Coefficients of a mean, by relative errors, so that small cells count as much as large.

    Args:
        mean: Which mean.
        terms: Its `_basis` at the points.
        log_values: The values there.
    """
    if mean == "power":
        return np.asarray(np.linalg.lstsq(terms, log_values, rcond=None)[0], float)
    scale = terms.max(0)
    values = np.exp(log_values)
    coefficients, weight = np.ones(len(scale)), 1 / values
    for _ in range(2):  # the second time weighted by the fit, so that a low outlier has less weight
        basis = terms / scale * weight[:, None]
        coefficients = _not_negative(basis, values * weight)
        weight = 1 / np.maximum(terms / scale @ coefficients, values.min() / 10)
    fitted = np.maximum(terms / scale @ coefficients, values.min() / 10)
    coefficients *= math.exp(float(np.mean(log_values - np.log(fitted))))
    return np.asarray(coefficients / scale, float)


def _not_negative(basis: Floats, target: Floats) -> Floats:
    """Least squares with coefficients ≥ 0.

    With nearly equal terms the active sets of `nnls` (Lawson & Hanson 1974) occasionally cycle, and
    it raises. Two slower methods always return a solution, if not always the optimum: active sets
    with another rule (Stark & Parker 1995) and a trust region (Branch, Coleman & Li 1999); the
    better of the two is taken.
    """
    try:
        return np.asarray(optimize.nnls(basis, target)[0], float)
    except RuntimeError:
        tried = [
            optimize.lsq_linear(basis, target, bounds=(0.0, np.inf), method=method)
            for method in ("bvls", "trf")
        ]
        best = min(tried, key=lambda found: float(found.cost))
        return np.asarray(np.maximum(best.x, 0.0), float)


def _evaluate(mean: Mean, coefficients: Floats, terms: Floats) -> Floats:
    """Log values of a mean, given its `_basis` at the points."""
    if mean == "power":
        return np.asarray(terms @ coefficients, float)
    return np.asarray(np.log(np.maximum(terms @ coefficients, 1e-300)), float)


def _correlation(one: Floats, other: Floats, length: float) -> Floats:
    """The process's kernel for an amplitude of one."""
    apart = (np.log2(one)[:, None, :] - np.log2(other)[None, :, :]) / length
    distance = np.sqrt(3 * (apart**2).sum(-1))
    return np.asarray((1 + distance) * np.exp(-distance), float)


@lru_cache(maxsize=1)
def _inverses(points: bytes) -> dict[tuple[float, float, float], Floats]:
    """Inverse of the kernel matrix with noise for all scales, of points as bytes.

    The cells of different models are mostly at the same points, one model after the other.
    """
    at = np.frombuffer(points, float).reshape(-1, 3)
    noise_free = {length: _correlation(at, at, length) for length in _LENGTHS}
    return {
        (length, amplitude, noise): np.asarray(
            np.linalg.inv(amplitude**2 * noise_free[length] + noise**2 * np.eye(len(at))), float
        )
        for length, amplitude, noise in itertools.product(_LENGTHS, _AMPLITUDES, _NOISES)
    }


def fit_surface(points: Floats, values: Floats) -> Surface:
    """Fit a surface.

    Args:
        points: (T, B, H) of each cell, distinct, one row per cell.
        values: Positive values there.

    Raises:
        ValueError: with fewer than `MIN_CELLS` cells.
    """
    count = len(points)
    if count < MIN_CELLS:
        raise ValueError(f"{count} cells; a surface needs {MIN_CELLS}")
    log_values = np.log(values)
    means: list[Mean] = ["work", "power"] if count >= _MIN_POWER_CELLS else ["work"]
    best: tuple[float, Mean, tuple[float, float, float], Floats, Floats] | None = None
    inverses = _inverses(np.ascontiguousarray(points, float).tobytes())
    bases = {mean: _basis(mean, points) for mean in means}
    for mean in means:
        residuals = np.array(
            [log_values - _without(mean, bases[mean], log_values, cell) for cell in range(count)]
        )
        for scales, inverse in inverses.items():
            diagonal = np.diag(inverse)
            # Row i has residuals of the mean fitted without cell i, so the errors are exact.
            errors = (inverse * residuals).sum(1) / diagonal
            loss = float(np.mean(errors**2 * diagonal - np.log(diagonal)))
            if best is None or loss < best[0]:
                best = (loss, mean, scales, errors, errors * np.sqrt(diagonal))
    assert best is not None
    _, mean, scales, errors, scores = best
    coefficients = _fit(mean, bases[mean], log_values)
    inverse = inverses[scales]
    return Surface(
        points=points,
        log_values=log_values,
        mean=mean,
        coefficients=coefficients,
        work=_fit("work", bases["work"], log_values),
        weights=inverse @ (log_values - _evaluate(mean, coefficients, bases[mean])),
        inverse=inverse,
        scales=scales,
        errors=errors,
        scores=scores,
    )


def _without(mean: Mean, terms: Floats, log_values: Floats, cell: int) -> Floats:
    """The mean at all points, fitted without one cell."""
    rest = np.arange(len(terms)) != cell
    return _evaluate(mean, _fit(mean, terms[rest], log_values[rest]), terms)


def conformal(scores: Floats) -> float:
    """The factor by which a predicted standard deviation becomes half a 95 % interval.

    Split conformal prediction (Vovk et al. 2005) with leave-one-out scores: the ⌈0.95 (n+1)⌉th
    smallest of them. Fewer than nineteen scores have none; then the largest, and at least 1.96.
    """
    ordered = np.sort(np.abs(scores))
    rank = math.ceil(_COVER * (len(ordered) + 1))
    if rank > len(ordered):
        return max(float(ordered[-1]), 1.96)
    return float(ordered[rank - 1])
