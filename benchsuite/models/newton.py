r"""Recurrences parallel in time: all timesteps at once, as one system of equations.

The states h_1 … h_T are unknowns. An iteration evaluates the gates of all timesteps at the states
of the last iteration, in one product, and then solves by a scan (`linear.scan`) what is linear in
the state that a cell carries on:

    LSTM   c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t          h_t = o_t ⊙ tanh(c_t)
    GRU    h_t = z_t ⊙ h_{t-1} + (1 - z_t) ⊙ n_t

It is a quasi-Newton method, as quasi-DEER is (Gonzalez et al. 2024, arXiv 2407.19115): a diagonal
stands for the Jacobian of a timestep. Here it is f_t or z_t, the derivative with the gates held.
quasi-DEER adds the terms of the diagonal of W_hh, which is one of the H numbers in a row:
`tests/perf/newton.py diagonal` counts as many iterations with them, or more. Factors between 0 and
1 also need no safeguard: products of factors above 1 would overflow before they converge.

After k iterations the first k timesteps are exact whatever the weights, and usually far more. The
iteration ends for a sequence of the batch when none of its states changes by more than the
tolerance; its result does not depend on the other sequences. The number of iterations K* grows with
the recurrent weights; above some size of them an iteration gains little more than a timestep.

The gradients are those of the equations and not of the iterations (implicit function theorem): with
the Jacobian J_t of a timestep, the gradient λ_t by the state of timestep t obeys

    λ_t = g_t + J_{t+1}ᵀ λ_{t+1}

a linear system with the full Jacobian, which is solved in the same way, backwards: a product with
W_hhᵀ for all timesteps at once, a reverse scan with f or z, until λ does not change. Where J is
diagonal (`paragru`) one reverse scan is exact.

Operations, elementwise ones left out, of a layer with g stacked gates (4 or 3), K* iterations
forward and L* backward: 2gHIBT + 2gH²B(T(K* - 1) + 1) forward, as the first iteration begins at
zeros and needs no product with W_hh but that of the initial state; 2gHIBT + 2gH²BT(L* + 1) more in
training, and another 2gHIBT if the input needs a gradient. `Iterations.assumed` replaces K* and L*
where there are no values.

Shape suffixes: T timesteps, B batch, F features, G stacked gates, H hidden units.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from benchsuite.models.kernels.compiler import problem_on
from benchsuite.models.kernels.linear_scan import SOURCE
from benchsuite.models.linear.scan import precise, recur
from benchsuite.models.recurrence import State, Weights, autocast_dtype


class NotConverged(ArithmeticError):  # noqa: N818 - a finding about weights and input
    """The iteration reached its limit before its tolerance."""


@dataclass(slots=True)
class Iterations:
    """When to stop, and how many iterations the last call took.

    Attributes:
        tolerance: Greatest change of a state by the last iteration, relative to the greatest state
            if that is above one; None for 32 units in the last place of the dtype.
        limit: Most iterations, forward and backward.
        forward: Iterations of the last call; of its slowest sequence.
        backward: The same of the last backward pass.
        assumed: Iterations (forward, backward) on the meta device, which has no values to test.
    """

    tolerance: float | None = None
    limit: int = 100
    forward: int = 0
    backward: int = 0
    assumed: tuple[int, int] = (2, 2)

    def __post_init__(self) -> None:
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"tolerance = {self.tolerance!r} is not above zero")
        if self.limit < 1:
            raise ValueError(f"limit = {self.limit!r} is not a positive number of iterations")

    def within(self, dtype: torch.dtype) -> float:
        """The tolerance for a dtype."""
        return 32 * torch.finfo(dtype).eps if self.tolerance is None else self.tolerance


class System(ABC):
    """The equations of a batch of sequences, whose unknown is (B, T, H)."""

    @abstractmethod
    def update(self, h_BTH: Tensor | None) -> State:
        """The unknown after an iteration, and what else is to be kept of it; None for zeros."""

    @abstractmethod
    def rows(self, index: Tensor) -> System:
        """The same equations of some sequences only."""


def solve(
    system: System, start: Tensor | None, scale_B: Tensor, given: Iterations, *, backward: bool
) -> tuple[State, int]:
    """Iterate until no unknown of a sequence changes; each sequence ends by itself.

    Args:
        system: The equations.
        start: The unknown to begin with; None for zeros.
        scale_B: What the tolerance is relative to, for each sequence; of gradients the greatest,
            if that is more.
        given: Tolerance and limit.
        backward: Whether these are the equations of the gradients.

    Returns:
        What `System.update` returns, and the iterations of the slowest sequence.

    Raises:
        NotConverged: if a sequence needs more iterations than the limit.
    """
    if scale_B.is_meta:
        for _ in range(given.assumed[backward]):
            results = system.update(start)
            start = results[0]
        return results, given.assumed[backward]
    tolerance = given.within(scale_B.dtype)
    rows = len(scale_B)
    index = torch.arange(rows)  # in the batch, of the rows of `system`
    moving = np.ones(rows, bool)  # which of these have not settled
    whole: State = ()
    for number in range(1, given.limit + 1):
        results = system.update(start)
        change_B = _change(results[0], start)
        if backward:
            scale_B = torch.maximum(scale_B, _greatest(results[0]))
        changed = (change_B > tolerance * scale_B).cpu().numpy()
        if not (whole or changed.any()):
            return results, number
        settled = torch.from_numpy(moving & ~changed)
        moving &= changed
        if settled.any():
            whole = whole or tuple(torch.empty_like(part) for part in results)
            for own, part in zip(whole, results, strict=True):
                own[index[settled]] = part[settled]
        if not moving.any():
            return whole, number
        start = results[0]
        if 2 * moving.sum() <= len(moving):
            left = torch.from_numpy(moving).nonzero().flatten()
            index, scale_B, start = index[left], scale_B[left], start[left]
            system, moving = system.rows(left), np.ones(len(left), bool)
    way = " backward" if backward else ""
    raise NotConverged(
        f"{int(moving.sum())} of {rows} sequences did not converge in {given.limit}{way}"
        f" iterations: the last changed a number by {float(change_B.max()):.1e}, where"
        f" {tolerance * float(scale_B.max()):.1e} is tolerated; run it as a loop"
    )


def _change(new: Tensor, old: Tensor | None) -> Tensor:
    """The greatest change in each sequence, (B,); NaN that stays NaN does not count."""
    difference = (new if old is None else new - old).abs()
    greatest_B = difference.amax((1, 2))
    if not greatest_B.isnan().cpu().numpy().any():
        return greatest_B
    before = torch.zeros_like(new) if old is None else old
    same = (new == before) | (new.isnan() & before.isnan())
    return difference.masked_fill(same, 0).nan_to_num(nan=torch.inf).amax((1, 2))


@functools.cache
def execution_on(device: str) -> str:
    """The scan that solves the linear part: compiled where it can be, else of torch operators."""
    if device == "meta" or (device == "cpu" and not problem_on(device, SOURCE)):
        return "native"
    return "scan"


def recur_back(a: Tensor, g: Tensor) -> Tensor:
    """λ_t = g_t + a_{t+1} λ_{t+1} over (B, T, N)."""
    after = torch.cat([a[:, 1:], a[:, :1]], 1).flip(1)
    return recur(after, g.flip(1), None, execution_on(a.device.type), overwrite=True).flip(1)


def before(h_BTH: Tensor, first_BH: Tensor) -> Tensor:
    """The state before each timestep: (B, T, H)."""
    return torch.cat([first_BH.unsqueeze(1), h_BTH[:, :-1]], 1)


def _projected(
    base: Tensor, h_BTH: Tensor | None, first_BH: Tensor, weight_GH: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """base + W h_{t-1}, (B, T, G), with a base (B, T, G) or (G,); None for states of zero."""
    weight_HG = weight_GH.t()
    if h_BTH is None:
        total = base.expand(shape).clone(memory_format=torch.contiguous_format)
        total[:, 0] += first_BH @ weight_HG
        return total
    rows = base if base.dim() == 1 else base.flatten(0, 1)
    return torch.addmm(rows, before(h_BTH, first_BH).flatten(0, 1), weight_HG).view(shape)


def _shifted(dgates_BTG: Tensor, weight_GH: Tensor) -> Tensor:
    """The gradient by h_t through the gates of timestep t + 1; zero at the end: (B, T, H)."""
    product = (dgates_BTG.flatten(0, 1) @ weight_GH).view(*dgates_BTG.shape[:2], -1)
    return torch.cat([product[:, 1:], torch.zeros_like(product[:, :1])], 1)


def _greatest(tensor_BTH: Tensor) -> Tensor:
    """The greatest absolute number of each sequence, or the least positive one for zeros: (B,)."""
    return tensor_BTH.abs().amax((1, 2)).clamp_min(torch.finfo(tensor_BTH.dtype).tiny)


def at_least_one(h_BH: Tensor) -> Tensor:
    """The greatest state of a sequence whose states are bounded by one and its first: (B,)."""
    return h_BH.abs().amax(1).nan_to_num(nan=1.0, posinf=1.0).clamp_min(1)


@dataclass(slots=True)
class _LSTM(System):
    """Unknown: h."""

    p_BTG: Tensor
    h_BH: Tensor
    c_BH: Tensor
    weight_GH: Tensor

    def update(self, h_BTH: Tensor | None) -> State:
        """h, c, and the gates (B, T, 4H) after their nonlinearities."""
        shape = self.p_BTG.shape
        gates = _projected(self.p_BTG, h_BTH, self.h_BH, self.weight_GH, shape)
        i, f, g, o = gates.chunk(4, -1)
        i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
        g = torch.tanh(g)
        c = recur(f, i * g, self.c_BH, execution_on(f.device.type), overwrite=True)
        return o * torch.tanh(c), c, i, f, g, o

    def rows(self, index: Tensor) -> _LSTM:
        """As `System.rows`."""
        return replace(self, p_BTG=self.p_BTG[index], h_BH=self.h_BH[index], c_BH=self.c_BH[index])


@dataclass(slots=True)
class _LSTMBack(System):
    """Unknown: the gradient by h."""

    kept: State  # h, c, i, f, g, o
    c_BH: Tensor
    g_BTH: Tensor
    dc_BH: Tensor
    weight_GH: Tensor

    def update(self, h_BTH: Tensor | None) -> State:
        """The gradients by h, by the gates before their nonlinearities, and by c."""
        assert h_BTH is not None
        _, c, i, f, g, o = self.kept
        tanh_c = torch.tanh(c)
        own = h_BTH * o * (1 - tanh_c * tanh_c)
        own[:, -1] += self.dc_BH
        dc = recur_back(f, own)
        di, df = dc * g * i * (1 - i), dc * before(c, self.c_BH) * f * (1 - f)
        dg, do = dc * i * (1 - g * g), h_BTH * tanh_c * o * (1 - o)
        dgates = torch.cat([di, df, dg, do], -1)
        return self.g_BTH + _shifted(dgates, self.weight_GH), dgates, dc

    def rows(self, index: Tensor) -> _LSTMBack:
        """As `System.rows`."""
        return replace(
            self,
            kept=tuple(part[index] for part in self.kept),
            c_BH=self.c_BH[index],
            g_BTH=self.g_BTH[index],
            dc_BH=self.dc_BH[index],
        )


class _LSTMFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BTF: Tensor,
        h_BH: Tensor,
        c_BH: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None,
        given: Iterations,
    ) -> tuple[Tensor, Tensor]:
        system = _LSTM(F.linear(x_BTF, weight_ih, bias), h_BH, c_BH, weight_hh)
        kept, given.forward = solve(system, None, at_least_one(h_BH), given, backward=False)
        ctx.save_for_backward(x_BTF, h_BH, c_BH, weight_ih, weight_hh, *kept)
        ctx.given = given
        return kept[0], kept[1][:, -1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dc_n: Tensor) -> tuple[Tensor | None, ...]:
        x_BTF, h_BH, c_BH, weight_ih, weight_hh, *kept = ctx.saved_tensors
        system = _LSTMBack(tuple(kept), c_BH, dy, dc_n, weight_hh)
        scale_B = torch.maximum(_greatest(dy), dc_n.abs().amax(1))
        results, ctx.given.backward = solve(system, dy, scale_B, ctx.given, backward=True)
        _, dgates, dc = results
        needs = ctx.needs_input_grad
        dx = dgates @ weight_ih if needs[0] else None
        dh = dgates[:, 0] @ weight_hh if needs[1] else None
        dc = dc[:, 0] * kept[3][:, 0]
        dw_ih, dw_hh = _outer(dgates, x_BTF), _outer(dgates, before(kept[0], h_BH))
        db = dgates.sum((0, 1)) if needs[5] else None
        return dx, dh, dc, dw_ih, dw_hh, db, None


@dataclass(slots=True)
class _GRU(System):
    """Unknown: h."""

    p_BTG: Tensor
    h_BH: Tensor
    weight_GH: Tensor
    bias_G: Tensor

    def update(self, h_BTH: Tensor | None) -> State:
        """h, r, z, n, and W_hn h + b_hn."""
        hidden = _projected(self.bias_G, h_BTH, self.h_BH, self.weight_GH, self.p_BTG.shape)
        (p_r, p_z, p_n), (q_r, q_z, q_n) = self.p_BTG.chunk(3, -1), hidden.chunk(3, -1)
        r, z = torch.sigmoid(p_r + q_r), torch.sigmoid(p_z + q_z)
        n = torch.tanh(torch.addcmul(p_n, r, q_n))
        h = recur(z, (1 - z) * n, self.h_BH, execution_on(z.device.type), overwrite=True)
        return h, r, z, n, q_n

    def rows(self, index: Tensor) -> _GRU:
        """As `System.rows`."""
        return replace(self, p_BTG=self.p_BTG[index], h_BH=self.h_BH[index])


@dataclass(slots=True)
class _GRUBack(System):
    """Unknown: the gradient by h through outputs and gates; that along z is solved in each turn."""

    kept: State  # h, r, z, n, q_n
    h_BH: Tensor
    g_BTH: Tensor
    weight_GH: Tensor

    def update(self, h_BTH: Tensor | None) -> State:
        """That gradient, those by W_hh h + b_hh and by n before its tanh, and all of that by h."""
        assert h_BTH is not None
        h, r, z, n, q_n = self.kept
        dh = recur_back(z, h_BTH)
        dz = dh * (before(h, self.h_BH) - n) * z * (1 - z)
        dn = dh * (1 - z) * (1 - n * n)
        dr = dn * q_n * r * (1 - r)
        dhidden = torch.cat([dr, dz, dn * r], -1)
        return self.g_BTH + _shifted(dhidden, self.weight_GH), dhidden, dn, dh

    def rows(self, index: Tensor) -> _GRUBack:
        """As `System.rows`."""
        kept = tuple(part[index] for part in self.kept)
        return replace(self, kept=kept, h_BH=self.h_BH[index], g_BTH=self.g_BTH[index])


class _GRUFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BTF: Tensor,
        h_BH: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        given: Iterations,
    ) -> Tensor:
        zeros = weight_hh.new_zeros(len(weight_hh)) if bias_hh is None else bias_hh
        system = _GRU(F.linear(x_BTF, weight_ih, bias_ih), h_BH, weight_hh, zeros)
        kept, given.forward = solve(system, None, at_least_one(h_BH), given, backward=False)
        ctx.save_for_backward(x_BTF, h_BH, weight_ih, weight_hh, *kept)
        ctx.given = given
        return kept[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x_BTF, h_BH, weight_ih, weight_hh, *kept = ctx.saved_tensors
        system = _GRUBack(tuple(kept), h_BH, dy, weight_hh)
        results, ctx.given.backward = solve(system, dy, _greatest(dy), ctx.given, backward=True)
        _, dhidden, dn, dh = results
        needs = ctx.needs_input_grad
        dgates = torch.cat([dhidden[..., : 2 * h_BH.shape[1]], dn], -1)
        dx = dgates @ weight_ih if needs[0] else None
        dfirst = dhidden[:, 0] @ weight_hh + dh[:, 0] * kept[2][:, 0] if needs[1] else None
        dw_ih, dw_hh = _outer(dgates, x_BTF), _outer(dhidden, before(kept[0], h_BH))
        db = dgates.sum((0, 1)) if needs[4] else None
        db_hh = dhidden.sum((0, 1)) if needs[5] else None
        return dx, dfirst, dw_ih, dw_hh, db, db_hh, None


def _outer(one: Tensor, other: Tensor) -> Tensor:
    """The sum over timesteps and rows of outer products: (…, P) and (…, Q) → (P, Q)."""
    return one.flatten(0, 1).t() @ other.flatten(0, 1)


Function = TypeVar("Function", bound=Callable[..., Any])


def opaque(function: Function) -> Function:
    """Keep `torch.compile` out of a function: the number of iterations depends on values."""
    return torch.compiler.disable(function)  # type: ignore[no-any-return]


def in_one_step(x_TBF: Tensor, given: Iterations) -> bool:
    """Whether the loop runs instead: for one timestep, and under autocast."""
    single = len(x_TBF) == 1 or autocast_dtype(x_TBF.device.type) is not None
    if single:
        given.forward = given.backward = 0
    return single


@opaque
def lstm(
    x_TBF: Tensor, state: State, weights: Weights, given: Iterations, *, reverse: bool
) -> tuple[Tensor, State]:
    """One layer and direction of an LSTM: as `Cell.scan`, of half precision in float32.

    Raises:
        NotConverged: if a sequence needs more iterations than `given.limit`.
    """
    x_BTF, (h, c), (w_ih, w_hh, bias) = _prepared(
        x_TBF, state, (weights.weight_ih, weights.weight_hh, weights.bias()), reverse
    )
    y, c_n = _LSTMFunction.apply(x_BTF, h, c, w_ih, w_hh, bias, given)  # type: ignore[no-untyped-call]
    return _returned(y, (y[:, -1], c_n), x_TBF, reverse)


@opaque
def gru(
    x_TBF: Tensor, state: State, weights: Weights, given: Iterations, *, reverse: bool
) -> tuple[Tensor, State]:
    """One layer and direction of a GRU; the rest as `lstm`."""
    x_BTF, (h,), parameters = _prepared(
        x_TBF,
        state,
        (weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh),
        reverse,
    )
    y = _GRUFunction.apply(x_BTF, h, *parameters, given)  # type: ignore[no-untyped-call]
    return _returned(y, (y[:, -1],), x_TBF, reverse)


def _prepared(
    x_TBF: Tensor, state: State, parameters: tuple[Tensor | None, ...], reverse: bool
) -> tuple[Tensor, State, tuple[Any, ...]]:
    x_BTF = precise(x_TBF).transpose(0, 1)
    return (
        x_BTF.flip(1) if reverse else x_BTF,
        tuple(precise(part) for part in state),
        tuple(None if given is None else precise(given) for given in parameters),
    )


def _returned(y_BTH: Tensor, ends: State, x_TBF: Tensor, reverse: bool) -> tuple[Tensor, State]:
    """In the dtype and with the order in memory of the input, which dropout draws in."""
    y_TBH = (y_BTH.flip(1) if reverse else y_BTH).transpose(0, 1).to(x_TBF.dtype)
    if x_TBF.is_contiguous():
        y_TBH = y_TBH.contiguous()
    return y_TBH, tuple(end.to(x_TBF.dtype) for end in ends)
