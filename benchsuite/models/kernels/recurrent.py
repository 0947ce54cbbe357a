"""LSTM and GRU layers on the operators of `recurrent_operators`, with gradients.

Float32 and float64 on CPU; half precision is computed in float32 and rounded at the end. Products
that need no state (the gradients of all weights) are single large products of torch. Gradients of
the first order.

Shape suffixes: T timesteps, B batch, F features, H hidden units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchsuite.models.kernels.recurrent_operators import OPERATORS, arranged, turned

_HALF = (torch.float16, torch.bfloat16)


def lstm(
    x_TBF: Tensor,
    state: tuple[Tensor, Tensor],
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer and direction of an LSTM: equations and order of gates as in `torch.nn.LSTM`.

    Args:
        x_TBF: The input, (T, B, F); a view of (B, T, F) is read as it is.
        state: h and c before the first timestep, each (B, H).
        weight_ih: (4H, F).
        weight_hh: (4H, H).
        bias: (4H,), or None.
        reverse: Run from the last timestep to the first.

    Returns:
        h of all timesteps, (T, B, H), and the last h and c, each (B, H).

    Raises:
        ValueError: for a device or dtype without a kernel, or a shape that does not fit.
        Unavailable: if the kernel cannot be compiled here.
        MemoryError: if memory is exhausted.
    """
    check(x_TBF, 4, state, (weight_ih, weight_hh, bias))
    if x_TBF.dtype in _HALF:
        given = x_TBF.float(), (state[0].float(), state[1].float()), weight_ih.float()
        wide = lstm(*given, weight_hh.float(), _float(bias), reverse=reverse)
        y, h_n, c_n = (result.to(x_TBF.dtype) for result in wide)
        return y, h_n, c_n
    arguments = (x_TBF, *state, weight_ih, weight_hh, bias, reverse)
    if differentiated(arguments):
        return _LSTM.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]
    y, h_n, c_n, *_ = OPERATORS["lstm"](*arguments, False)
    return y, h_n, c_n


def gru(
    x_TBF: Tensor,
    h_BH: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """One layer and direction of a GRU: equations and order of gates as in `torch.nn.GRU`.

    Arguments, errors and shapes are as of `lstm`, with 3H rows in place of 4H. Returns h of all
    timesteps, and the last one.
    """
    check(x_TBF, 3, (h_BH,), (weight_ih, weight_hh, bias_ih, bias_hh))
    if x_TBF.dtype in _HALF:
        given = x_TBF.float(), h_BH.float(), weight_ih.float(), weight_hh.float()
        wide = gru(*given, _float(bias_ih), _float(bias_hh), reverse=reverse)
        y, h_n = (result.to(x_TBF.dtype) for result in wide)
        return y, h_n
    arguments = (x_TBF, h_BH, weight_ih, weight_hh, bias_ih, bias_hh, reverse)
    if differentiated(arguments):
        return _GRU.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]
    y, h_n, *_ = OPERATORS["gru"](*arguments, False)
    return y, h_n


def _float(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float()


def differentiated(arguments: tuple[Any, ...]) -> bool:
    """Whether a gradient is going to be needed of one of the arguments."""
    return torch.is_grad_enabled() and any(
        isinstance(given, Tensor) and given.requires_grad for given in arguments
    )


def check(
    x_TBF: Tensor, gates: int, states: tuple[Tensor, ...], weights: tuple[Tensor | None, ...]
) -> None:
    """Refuse what a kernel would read wrongly: it only gets addresses."""
    _, rows, features = x_TBF.shape
    units = states[0].shape[-1]
    dtype, on_cpu, stacked = x_TBF.dtype, x_TBF.is_cpu, gates * units
    shapes = ((stacked, features), (stacked, units), (stacked,), (stacked,))
    expected = ((rows, units),) * len(states) + shapes
    for given, shape in zip((*states, *weights), expected, strict=False):
        if given is not None and (
            given.shape != shape or given.dtype is not dtype or given.is_cpu is not on_cpu
        ):
            raise ValueError(
                f"{tuple(given.shape)} of {given.dtype} on {given.device} was given where"
                f" {shape} of {dtype} on {x_TBF.device} is needed"
            )


class _LSTM(torch.autograd.Function):
    """`lstm` with gradients; saves the gates and c of all timesteps."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TBF: Tensor,
        h_BH: Tensor,
        c_BH: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, h_n, c_n, gates, cells = OPERATORS["lstm"](
            x_TBF, h_BH, c_BH, weight_ih, weight_hh, bias, reverse, True
        )
        ctx.reverse = reverse
        ctx.save_for_backward(x_TBF, h_BH, c_BH, weight_ih, weight_hh, y, gates, cells)
        ctx.set_materialize_grads(False)
        return y, h_n, c_n

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x_TBF, h_BH, c_BH, weight_ih, weight_hh, y_TBH, gates, cells = ctx.saved_tensors
        x, by_row = arranged(x_TBF)
        needs = ctx.needs_input_grad
        dgates, dh, dc = OPERATORS["lstm_backward"](
            *(c_BH, weight_hh, gates, cells, dy, dh, dc, by_row, ctx.reverse, any(needs[1:3]))
        )
        before = _before(y_TBH, h_BH, by_row, ctx.reverse) if needs[4] else None
        return (
            turned(dgates @ weight_ih, by_row) if needs[0] else None,
            dh if needs[1] else None,
            dc if needs[2] else None,
            product(dgates, x) if needs[3] else None,
            None if before is None else product(dgates, before),
            dgates.sum((0, 1)) if needs[5] else None,
            None,
        )


class _GRU(torch.autograd.Function):
    """`gru` with gradients; saves the gates and the state's part of n of all timesteps."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TBF: Tensor,
        h_BH: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor | None,
        bias_hh: Tensor | None,
        reverse: bool,
    ) -> tuple[Tensor, Tensor]:
        y, h_n, gates, hidden = OPERATORS["gru"](
            x_TBF, h_BH, weight_ih, weight_hh, bias_ih, bias_hh, reverse, True
        )
        ctx.reverse = reverse
        ctx.save_for_backward(x_TBF, h_BH, weight_ih, weight_hh, y, gates, hidden)
        ctx.set_materialize_grads(False)
        return y, h_n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor | None, dh: Tensor | None) -> tuple[Tensor | None, ...]:
        x_TBF, h_BH, weight_ih, weight_hh, y_TBH, gates, hidden = ctx.saved_tensors
        x, by_row = arranged(x_TBF)
        needs = ctx.needs_input_grad
        dgates, dn, dh = OPERATORS["gru_backward"](
            *(h_BH, weight_hh, y_TBH, gates, hidden, dy, dh, by_row, ctx.reverse, needs[1])
        )
        before = _before(y_TBH, h_BH, by_row, ctx.reverse) if needs[3] else None
        dw_hh = None if before is None else product(dgates, before)
        db_hh = dgates.sum((0, 1)) if needs[5] else None
        dgates[..., 2 * weight_hh.shape[1] :] = dn  # of the projected input now
        return (
            turned(dgates @ weight_ih, by_row) if needs[0] else None,
            dh if needs[1] else None,
            product(dgates, x) if needs[2] else None,
            dw_hh,
            dgates.sum((0, 1)) if needs[4] else None,
            db_hh,
            None,
        )


def _before(y_TBH: Tensor, first_BH: Tensor, by_row: bool, reverse: bool) -> Tensor:
    """The state before each timestep; (B, T, H) if `by_row`."""
    first_1BH = first_BH.unsqueeze(0)
    parts = (y_TBH[1:], first_1BH) if reverse else (first_1BH, y_TBH[:-1])
    return torch.cat([turned(part, by_row) for part in parts], int(by_row))


def product(one: Tensor, other: Tensor) -> Tensor:
    """The sum over timesteps and rows of outer products: (…, P) and (…, Q) → (P, Q)."""
    return one.flatten(0, 1).t() @ other.flatten(0, 1)
