"""The effective field: how much of the gradient lies within which lag.

Luo, Li, Urtasun & Zemel 2016 (arXiv 1701.04128), adapted from images to sequences. With
J_k = ∂y_t/∂x_{t-k}, the features of one output by those of one input,

    a_k = E ‖J_k‖_F        m_k = E ‖J_k‖_F²        (expectation over inputs)
    K_q = min {K : Σ_{k<K} w_k >= q Σ_{k<H} w_k}   for w = a or m and a horizon of H lags

‖J_k‖_F² is exact from the full Jacobian, row by row, or estimated from probes v ~ N(0, I) as
E_v ‖J_kᵀ v‖² (Hutchinson 1990). Where a model sees the future too, a lag counts by its distance
|k|, and both sides add.

Shape suffixes: B batch, T timesteps, F features, K lags, P probes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from benchsuite.errors import BenchsuiteError, Unsupported, UsageError
from benchsuite.field.formula import Field
from benchsuite.field.subject import noise, run, subject

Array = npt.NDArray[np.float64]

#: Above this part of the horizon, mass beyond it is likely to be missing from K_.95.
SATURATION = 0.9
#: The square of a greater norm is not finite.
_GREATEST = 1e150
#: Probes, and output features up to which the full Jacobian costs no more.
PROBES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveField:
    """Gradient against lag, and what is read off it.

    Attributes:
        lags: The lags (K), ascending; below zero is the future.
        norm: a_k (K), mean over inputs of the Frobenius norm of the Jacobian.
        square: m_k (K), mean of its square.
        norm_error: Standard error of `norm`: inputs and, where there are any, probes.
        square_error: Standard error of `square`.
        horizon: H, the number of distances |k| that were looked at.
        samples: Inputs averaged over.
        probes: Random probes of each input; 0 for the exact Jacobian.
    """

    lags: npt.NDArray[np.int64]
    norm: Array
    square: Array
    norm_error: Array
    square_error: Array
    horizon: int
    samples: int
    probes: int

    def quantile(self, share: float, *, squared: bool = False) -> int:
        """K_q: steps, the present counted, that hold this share of the gradient."""
        return quantile(self._by_distance(squared=squared), share)

    @property
    def centre_of_mass(self) -> float:
        """Mean distance in steps, weighted by `norm`."""
        mass_K = self._by_distance()
        return float(np.arange(len(mass_K)) @ mass_K / mass_K.sum())

    def half_life(self, window: tuple[int, int] | None = None) -> float | None:
        """Steps in which the gradient norm halves: a line fitted to ln a_k.

        Args:
            window: First lag, and the one after the last; from 0 to K_.95 if left out.

        Returns:
            None where fewer than three lags in the window have a gradient or it does not decay.
        """
        start, stop = window or (0, self.quantile(0.95))
        return half_life(self._by_distance(), start, stop)

    @property
    def support(self) -> int:
        """Steps from the first to the last lag with a gradient that is not zero."""
        seen = self.lags[self.norm > 0]
        return int(seen[-1] - seen[0] + 1)

    @property
    def saturated(self) -> bool:
        """Whether K_.95 is near the horizon, so that more may lie beyond it."""
        return self.quantile(0.95) > SATURATION * self.horizon

    @property
    def relative_error(self) -> float:
        """Greatest standard error of a gradient norm within K_.95, as a part of that norm."""
        within = (abs(self.lags) < self.quantile(0.95)) & (self.norm > 0)
        return float((self.norm_error[within] / self.norm[within]).max())

    def _by_distance(self, *, squared: bool = False) -> Array:
        weights_K = self.square if squared else self.norm
        return np.bincount(abs(self.lags), weights_K, self.horizon).astype(np.float64)


def quantile(mass_K: Array, share: float) -> int:
    """The least K whose first K entries hold `share` of the sum of all."""
    total_K = np.cumsum(mass_K)
    return int(np.searchsorted(total_K, share * total_K[-1])) + 1


def half_life(mass_K: Array, start: int, stop: int) -> float | None:
    """Entries in which a decay halves, by least squares on its logarithm from start to stop."""
    lags = np.arange(len(mass_K))[start:stop]
    lags = lags[mass_K[lags] > 0]
    if len(lags) < 3:
        return None
    slope = float(np.polyfit(lags, np.log(mass_K[lags]), 1)[0])
    return -math.log(2) / slope if slope < 0 else None


def effective_field(
    module: nn.Module,
    x_BTF: Tensor,
    *,
    at: int,
    horizon: int,
    probes: int | None = None,
    seed: int = 0,
    within: Field | None = None,
) -> EffectiveField:
    """Differentiate one output by every input within the horizon.

    Args:
        module: Over (batch, time, features); it is copied, and run in float64 and eval mode on the
            device it is on, without cuDNN, whose recurrent layers refuse a backward pass there.
        x_BTF: Inputs to average over, at least two.
        at: The step t whose output is differentiated; far enough from both ends that no padding is
            seen.
        horizon: H; lags of H and more are not looked at.
        probes: Random probes per input; 0 for the exact Jacobian. If left out: exact for at most 8
            output features, else 8.
        seed: Of the probes.
        within: The field, where it is known: gradients at other lags are rounding noise, as a
            transform leaves it at all lags, and count as zero.

    Raises:
        Unsupported: if no gradient reaches the input.
        UsageError: if the module cannot be run, or its weights are not finite.
        BenchsuiteError: if the gradient overflows.
    """
    if len(x_BTF) < 2 or not 0 <= at < x_BTF.shape[1] or horizon < 1:
        raise UsageError(
            f"{len(x_BTF)} inputs of {x_BTF.shape[1]} steps, output {at}, horizon {horizon}:"
            " at least two inputs, an output among their steps and a horizon from 1 are needed"
        )
    model = subject(module)
    device = next(model.parameters(), x_BTF).device
    x_BTF = x_BTF.to(device, torch.float64, copy=True).requires_grad_()
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        y_BF = run(model, x_BTF)[:, at]
        features = y_BF.shape[1]
        if probes is None:
            probes = 0 if features <= PROBES else PROBES
        if probes:
            v_PBF = noise(probes, *y_BF.shape, seed=seed)
        else:
            v_PBF = torch.eye(features, dtype=torch.float64)[:, None].expand(-1, len(y_BF), -1)
        first, last = max(0, at - horizon + 1), min(x_BTF.shape[1], at + horizon)
        norm_PBT = torch.stack([_norms(y_BF, x_BTF, v_BF)[:, first:last] for v_BF in v_PBF])
    # Steps run forward, lags backward.
    norm_PBK = norm_PBT.flip(-1).cpu().numpy()
    lags_K = np.arange(at - last + 1, at - first + 1)
    if within is not None:
        norm_PBK[..., [lag not in within for lag in lags_K.tolist()]] = 0.0
    return _summarised(norm_PBK, lags_K, horizon, probes)


def _norms(y_BF: Tensor, x_BTF: Tensor, v_BF: Tensor) -> Tensor:
    """‖Jᵀv‖ of every input step: (B, T); scaled, as the square of 1e-200 is zero."""
    if not y_BF.requires_grad:
        raise Unsupported("no gradient leads from the output to the input")
    (gradient_BTF,) = torch.autograd.grad(
        y_BF, x_BTF, v_BF.to(y_BF.device), retain_graph=True, materialize_grads=True
    )
    scale_BT1 = gradient_BTF.abs().amax(-1, keepdim=True)
    unit_BTF = gradient_BTF / scale_BT1.where(scale_BT1 > 0, 1)
    norm_BT: Tensor = unit_BTF.norm(dim=-1) * scale_BT1.squeeze(-1)
    return norm_BT


def _summarised(
    norm_PBK: Array, lags: npt.NDArray[np.int64], horizon: int, probes: int
) -> EffectiveField:
    if not (norm_PBK < _GREATEST).all():
        raise BenchsuiteError("the gradient overflows within the horizon; give a shorter seq_len")
    if not norm_PBK.any():
        raise Unsupported("no gradient reaches the input: every derivative by it is zero")
    scale_BK = norm_PBK.max(0)
    square_PBK = (norm_PBK / np.where(scale_BK > 0, scale_BK, 1)) ** 2
    square_BK = square_PBK.mean(0) if probes else square_PBK.sum(0)
    norm_BK = np.sqrt(square_BK) * scale_BK
    if probes > 1:
        # The root of a noisy mean is too small on average: its second-order correction.
        noise_BK = square_PBK.var(0, ddof=1) / probes
        norm_BK *= 1 + noise_BK / np.where(square_BK > 0, square_BK, 1) ** 2 / 8
    square_BK = square_BK * scale_BK**2
    samples = len(norm_BK)
    return EffectiveField(
        lags=lags,
        norm=norm_BK.mean(0),
        square=square_BK.mean(0),
        norm_error=norm_BK.std(0, ddof=1) / math.sqrt(samples),
        square_error=square_BK.std(0, ddof=1) / math.sqrt(samples),
        horizon=horizon,
        samples=samples,
        probes=probes,
    )
