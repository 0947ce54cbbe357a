"""Scores of a trained model: its error on the test set, and its closed-loop generation.

Shape suffixes: R rows, T observed timesteps, S generated ones, F features, W timesteps of a
window.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from benchsuite.learning.closed_loop import generate
from benchsuite.learning.trainer import Trained, evaluate
from benchsuite.tasks.task import ClosedLoop, Examples

#: The phase counts as lost in a window with a lower correlation with the truth than this.
FOLLOWED = 0.7
#: Minimum number of windows for estimating a slope.
_MIN_WINDOWS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """Closed-loop outputs and the true values, for the first feature: arrays (R, time).

    Attributes:
        observed_RT: Outputs at the observed timesteps.
        generated_RS: Generated outputs.
        truth_RS: True values at the generated timesteps.
        nrmse: Root mean square error of the generated part over the truth's standard deviation;
            None if the generated values are not finite.
        phase_drift: Timesteps per 1000 by which the generated wave runs ahead (negative: behind),
            the median over rows; None if no row's phase can be followed.
        followed: Number of timesteps for which the phase was followed, the median over rows.
    """

    observed_RT: np.ndarray
    generated_RS: np.ndarray
    truth_RS: np.ndarray
    nrmse: float | None
    phase_drift: float | None
    followed: float


def test_error(trained: Trained) -> float:
    """The task's error on its test set."""
    module = trained.built.module
    return float(evaluate(module, trained.task, _test_set(trained)))


def extra_scores(trained: Trained) -> dict[str, float | None]:
    """The task's additional scores on its test set."""
    examples = _test_set(trained)
    with torch.no_grad():
        prediction_BTO = trained.built.module.eval()(examples.x_BTF)
    return {name: score(prediction_BTO, examples.y) for name, score in trained.task.scores.items()}


def _test_set(trained: Trained) -> Examples:
    first = next(trained.built.module.parameters())
    return trained.task.test.to(first.device, first.dtype)


def continuation(trained: Trained, loop: ClosedLoop) -> Continuation:
    """Continue the test rows with a trained model in a closed loop."""
    examples = _test_set(trained)
    x_RTF = examples.x_BTF[: loop.rows]
    observed_RTF, generated_RSF = generate(trained.built.module, x_RTF, loop.steps)
    observed_RT, generated_RS = (
        part[..., 0].double().cpu().numpy() for part in (observed_RTF, generated_RSF)
    )
    # True values on both sides of the generated part, so that a phase may run ahead or behind.
    margin = loop.steps // 4
    before_RM = trained.task.test.y[: loop.rows, -margin:, 0].numpy()
    after_RSM = loop.future(loop.steps + margin)[..., 0].numpy()
    truth_RS = after_RSM[:, : loop.steps]
    error = float(np.sqrt(np.mean((generated_RS - truth_RS) ** 2)) / truth_RS.std())
    drifts = [
        phase_drift(generated_S, np.concatenate([before_M, after_SM]), len(before_M), loop.window)
        for generated_S, before_M, after_SM in zip(generated_RS, before_RM, after_RSM, strict=True)
    ]
    known = [drift for drift, _ in drifts if drift is not None]
    return Continuation(
        observed_RT=observed_RT,
        generated_RS=generated_RS,
        truth_RS=truth_RS,
        nrmse=error if math.isfinite(error) else None,
        phase_drift=float(np.median(known)) if known else None,
        followed=float(np.median([followed for _, followed in drifts])),
    )


def phase_drift(
    generated_S: np.ndarray, truth: np.ndarray, margin: int, window: int
) -> tuple[float | None, int]:
    """Drift of a wave's phase relative to the true wave, in timesteps per 1000 (positive: ahead).

    Windows of the generated wave start a quarter of a window apart. For each, the lag with the
    highest correlation with the truth is found (refined between whole lags by a parabola through
    three points). The search covers a quarter of a window on either side of the previous window's
    lag, so the total drift may exceed a period. It ends where the best correlation is below
    `FOLLOWED`. The drift is the median slope of lag over time between all pairs of windows
    (Theil-Sen), which is robust against a few bad windows; amplitude and offset have no influence.

    Args:
        generated_S: One row.
        truth: Its true values, from `margin` timesteps earlier to any number later.
        margin: Index in `truth` of the first generated timestep.
        window: Number of timesteps in one period of the slowest wave.

    Returns:
        The drift, or None with fewer than four windows; and the number of timesteps followed.
    """
    hop, reach = max(1, window // 4), max(1, window // 4)
    starts, lags, last = [], [], 0
    for start in range(0, len(generated_S) - window + 1, hop):
        part_W = generated_S[start : start + window]
        tried = np.arange(last - reach, last + reach + 1)
        first = margin + start + tried
        inside = (first >= 0) & (first + window <= len(truth))
        if not inside.any() or not np.isfinite(part_W).all():
            break
        tried, first = tried[inside], first[inside]
        match = _correlations(part_W, truth, first)
        best = int(match.argmax())
        if match[best] < FOLLOWED:
            break
        last = int(tried[best])
        starts.append(start)
        lags.append(last + _vertex(match, best))
    followed = starts[-1] + window if starts else 0
    if len(starts) < _MIN_WINDOWS:
        return None, followed
    before, after = np.triu_indices(len(starts), 1)
    slopes = (np.take(lags, after) - np.take(lags, before)) / (
        np.take(starts, after) - np.take(starts, before)
    )
    return float(np.median(slopes)) * 1000, followed


def _correlations(part_W: np.ndarray, truth: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Pearson's correlation of a window with the windows of the truth that start at `first`."""
    truth_LW = np.lib.stride_tricks.sliding_window_view(truth, len(part_W))[first]
    a_W = part_W - part_W.mean()
    b_LW = truth_LW - truth_LW.mean(1, keepdims=True)
    scale_L = np.linalg.norm(a_W) * np.linalg.norm(b_LW, axis=1)
    match_L: np.ndarray = np.divide(
        b_LW @ a_W, scale_L, out=np.zeros(len(first)), where=scale_L > 0
    )
    return match_L


def _vertex(match: np.ndarray, best: int) -> float:
    """Peak of the parabola through the best value and its neighbours, relative to the best."""
    if not 0 < best < len(match) - 1:
        return 0.0
    left, middle, right = match[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float((left - right) / (2 * bend)) if bend < 0 else 0.0


def result_of(trained: Trained) -> tuple[dict[str, Any], Continuation | None]:
    """Results of a training as plain values, and its closed loop if the task has one."""
    built, recipe, task = trained.built, trained.recipe, trained.task
    error, scores = test_error(trained), extra_scores(trained)
    closed_loop = None
    if task.closed_loop is not None:
        closed_loop = continuation(trained, task.closed_loop)
        scores = {
            "open_loop_mse": error,
            "closed_loop_nrmse": closed_loop.nrmse,
            "phase_drift": closed_loop.phase_drift,
            "phase_followed": closed_loop.followed,
            **scores,
        }
    return {
        "width": built.width,
        "match_deviation": built.match_deviation,
        "parameters": built.parameters,
        **recipe.identity(),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "stopped": trained.stopped,
        "seconds": trained.seconds,
        "error": error,
        "scores": scores,
        "curve": [asdict(point) for point in trained.curve],
    }, closed_loop
