"""The operators `benchsuite::lstm` and `benchsuite::gru`, on the kernels of recurrent.c.

They are operators of torch, so that whatever watches operators sees them. Products that need no
state (the projected input, and the gradients of all weights) are single large products of torch;
the kernel does what must go timestep by timestep. Float32 and float64 on CPU; half precision is
computed in float32 and rounded at the end. Gradients of the first order. Rows are shared among as
many threads as torch uses.

Shape suffixes: T timesteps, B batch, F features, G stacked gates, H hidden units.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from benchsuite.models.kernels.operators import define, function

SOURCE = "recurrent.c"
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
    y, h_n, c_n, *_ = _OPERATORS["lstm"](*arguments, False)
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
    y, h_n, *_ = _OPERATORS["gru"](*arguments, False)
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
        y, h_n, c_n, gates, cells = _OPERATORS["lstm"](
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
        x, by_row = _arranged(x_TBF)
        needs = ctx.needs_input_grad
        dgates, dh, dc = _OPERATORS["lstm_backward"](
            *(c_BH, weight_hh, gates, cells, dy, dh, dc, by_row, ctx.reverse, any(needs[1:3]))
        )
        before = _before(y_TBH, h_BH, by_row, ctx.reverse) if needs[4] else None
        return (
            _turned(dgates @ weight_ih, by_row) if needs[0] else None,
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
        y, h_n, gates, hidden = _OPERATORS["gru"](
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
        x, by_row = _arranged(x_TBF)
        needs = ctx.needs_input_grad
        dgates, dn, dh = _OPERATORS["gru_backward"](
            *(h_BH, weight_hh, y_TBH, gates, hidden, dy, dh, by_row, ctx.reverse, needs[1])
        )
        before = _before(y_TBH, h_BH, by_row, ctx.reverse) if needs[3] else None
        dw_hh = None if before is None else product(dgates, before)
        db_hh = dgates.sum((0, 1)) if needs[5] else None
        dgates[..., 2 * weight_hh.shape[1] :] = dn  # of the projected input now
        return (
            _turned(dgates @ weight_ih, by_row) if needs[0] else None,
            dh if needs[1] else None,
            product(dgates, x) if needs[2] else None,
            dw_hh,
            dgates.sum((0, 1)) if needs[4] else None,
            db_hh,
            None,
        )


def _arranged(tensor_TBF: Tensor) -> tuple[Tensor, bool]:
    """A tensor without gaps, and whether it is (B, T, F), as it is where that lies in memory."""
    turned = tensor_TBF.transpose(0, 1)
    if tensor_TBF.shape[1] > 1 and turned.is_contiguous():
        return turned, True
    return tensor_TBF.contiguous(), False


def _turned(tensor: Tensor, by_row: bool) -> Tensor:
    """(B, T, …) as (T, B, …) and back, if `by_row`; a view."""
    return tensor.transpose(0, 1) if by_row else tensor


def _before(y_TBH: Tensor, first_BH: Tensor, by_row: bool, reverse: bool) -> Tensor:
    """The state before each timestep; (B, T, H) if `by_row`."""
    first_1BH = first_BH.unsqueeze(0)
    parts = (y_TBH[1:], first_1BH) if reverse else (first_1BH, y_TBH[:-1])
    return torch.cat([_turned(part, by_row) for part in parts], int(by_row))


def product(one: Tensor, other: Tensor) -> Tensor:
    """The sum over timesteps and rows of outer products: (…, P) and (…, Q) → (P, Q)."""
    return one.flatten(0, 1).t() @ other.flatten(0, 1)


class _Shape(ctypes.Structure):
    """`Shape` of the C source: where timestep t of row b is, and which rows to compute."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("steps", "rows", "units", "step", "row")),
        *(("first", ctypes.c_int64), ("last", ctypes.c_int64)),
        *(("reverse", ctypes.c_int32), ("initial", ctypes.c_int32)),
    )


class _Sizes(NamedTuple):
    """Sizes of a tensor (T, B, …), or (B, T, …) if `by_row`, and the number of hidden units."""

    steps: int
    rows: int
    units: int
    by_row: bool

    @classmethod
    def of(cls, tensor: Tensor, units: int, by_row: bool) -> _Sizes:
        """Those of a tensor in that layout."""
        first, second = tensor.shape[:2]
        return cls(second, first, units, by_row) if by_row else cls(first, second, units, by_row)


def _run(name: str, sizes: _Sizes, reverse: bool, initial: bool, *tensors: Tensor | None) -> None:
    """Call a kernel on all rows, shared among threads; the first tensor decides the dtype."""
    first = tensors[0]
    assert first is not None
    kernel = _kernel(name, first.dtype, len(tensors))
    pointers = [None if t is None else t.data_ptr() for t in tensors]
    shapes = _shapes(sizes, reverse, initial, torch.get_num_threads())
    if len(shapes) == 1:
        failed = kernel(shapes[0], *pointers)
    else:
        failed = any(_shared([functools.partial(kernel, shape, *pointers) for shape in shapes]))
    if failed:
        raise MemoryError(f"no memory for the kernel {name}")


@functools.cache
def _kernel(name: str, dtype: torch.dtype, pointers: int) -> Callable[..., int]:
    """A function of the library, for a shape and that many tensors."""
    kernel: Callable[..., int] = function(SOURCE, name, dtype)
    kernel.argtypes = [ctypes.POINTER(_Shape), *[ctypes.c_void_p] * pointers]  # type: ignore[attr-defined]
    return kernel


@functools.lru_cache(maxsize=256)
def _shapes(sizes: _Sizes, reverse: bool, initial: bool, threads: int) -> tuple[_Shape, ...]:
    """The shape for each thread, with its rows."""
    steps, rows, units, by_row = sizes
    distances = (1, steps) if by_row else (rows, 1)
    threads = max(1, min(threads, rows))
    bounds = [rows * thread // threads for thread in range(threads + 1)]
    return tuple(
        _Shape(steps, rows, units, *distances, start, end, reverse, initial)
        for start, end in itertools.pairwise(bounds)
    )


def _shared(calls: list[Callable[[], int]]) -> list[int]:
    """Results of calls that run at the same time; a call of a library releases Python's lock."""
    return list(_pool(len(calls)).map(lambda call: call(), calls))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "benchsuite-kernel")


def _lstm(
    x_TBF: Tensor,
    h_BH: Tensor,
    c_BH: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, ...]:
    x, by_row = _arranged(x_TBF)
    units = weight_hh.shape[1]
    gates = F.linear(x, weight_ih, bias)
    y = gates.new_empty(*gates.shape[:2], units)
    cells = torch.empty_like(y) if keep else None
    h_BH, c_BH, weight_hh = h_BH.contiguous(), c_BH.contiguous(), weight_hh.contiguous()
    h_n, c_n = torch.empty_like(h_BH), torch.empty_like(c_BH)
    if not x.is_meta:
        sizes = _Sizes.of(gates, units, by_row)
        _run("lstm", sizes, reverse, True, weight_hh, gates, h_BH, c_BH, y, cells, h_n, c_n)
    kept = (y.new_empty(0), y.new_empty(0)) if cells is None else (gates, cells)
    return _turned(y, by_row), h_n, c_n, *kept


def _lstm_backward(
    c_BH: Tensor,
    weight_hh: Tensor,
    gates: Tensor,
    cells: Tensor,
    dy_TBH: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
    by_row: bool,
    reverse: bool,
    initial: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dy = None if dy_TBH is None else _turned(dy_TBH, by_row).contiguous()
    c_BH, weight_hh = c_BH.contiguous(), weight_hh.contiguous()
    dgates, dh, dc = torch.empty_like(gates), _own(dh, c_BH), _own(dc, c_BH)
    if not gates.is_meta:
        sizes = _Sizes.of(gates, weight_hh.shape[1], by_row)
        _run(
            *("lstm_back", sizes, reverse, initial),
            *(weight_hh, gates, c_BH, cells, dy, dh, dc, dgates),
        )
    return dgates, dh, dc


def _gru(
    x_TBF: Tensor,
    h_BH: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None,
    bias_hh: Tensor | None,
    reverse: bool,
    keep: bool,
) -> tuple[Tensor, ...]:
    x, by_row = _arranged(x_TBF)
    units = weight_hh.shape[1]
    offset = None
    if bias_ih is not None and bias_hh is not None:  # those of r and z are only needed as a sum
        offset = bias_hh[2 * units :].contiguous()
        bias_ih = torch.cat([bias_ih[: 2 * units] + bias_hh[: 2 * units], bias_ih[2 * units :]])
    gates = F.linear(x, weight_ih, bias_ih)
    y = gates.new_empty(*gates.shape[:2], units)
    hidden = torch.empty_like(y) if keep else None
    h_BH, weight_hh = h_BH.contiguous(), weight_hh.contiguous()
    h_n = torch.empty_like(h_BH)
    if not x.is_meta:
        sizes = _Sizes.of(gates, units, by_row)
        _run("gru", sizes, reverse, True, weight_hh, offset, gates, h_BH, y, hidden, h_n)
    kept = (y.new_empty(0), y.new_empty(0)) if hidden is None else (gates, hidden)
    return _turned(y, by_row), h_n, *kept


def _gru_backward(
    h_BH: Tensor,
    weight_hh: Tensor,
    y_TBH: Tensor,
    gates: Tensor,
    hidden: Tensor,
    dy_TBH: Tensor | None,
    dh: Tensor | None,
    by_row: bool,
    reverse: bool,
    initial: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    dy = None if dy_TBH is None else _turned(dy_TBH, by_row).contiguous()
    y = _turned(y_TBH, by_row)
    h_BH, weight_hh = h_BH.contiguous(), weight_hh.contiguous()
    dgates, dn, dh = torch.empty_like(gates), torch.empty_like(hidden), _own(dh, h_BH)
    if not gates.is_meta:
        sizes = _Sizes.of(gates, weight_hh.shape[1], by_row)
        _run(
            *("gru_back", sizes, reverse, initial),
            *(weight_hh, gates, h_BH, y, hidden, dy, dh, dgates, dn),
        )
    return dgates, dn, dh


def _own(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A copy that the kernel may write to; zeros for None."""
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.clone(memory_format=torch.contiguous_format)


def _flops(gates: int) -> tuple[Callable[..., int], Callable[..., int]]:
    """Formulas of forward and backward; products outside of the kernel are counted as such."""

    def forward(x: Any, h: Any, *_: Any, **__: Any) -> int:
        (steps, rows, features), units = x, h[-1]
        return int(2 * steps * rows * gates * units * (features + units))

    def backward(_: Any, weight_hh: Any, *others: Any, **__: Any) -> int:
        *_, by_row, _, initial = others
        first, second = others[gates == 3][:2]  # of the gates
        steps, rows = (second, first) if by_row else (first, second)
        return int(2 * (steps - (not initial)) * rows * weight_hh[0] * weight_hh[1])

    return forward, backward


#: Each function serves the meta device too: there it makes its results and calls no kernel.
_OPERATORS = {
    "lstm": define(
        "lstm(Tensor x, Tensor h, Tensor c, Tensor weight_ih, Tensor weight_hh, Tensor? bias,"
        " bool reverse, bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        _lstm,
        _lstm,
    ),
    "lstm_backward": define(
        "lstm_backward(Tensor c, Tensor weight_hh, Tensor gates, Tensor cells, Tensor? dy,"
        " Tensor? dh, Tensor? dc, bool by_row, bool reverse, bool initial)"
        " -> (Tensor, Tensor, Tensor)",
        _lstm_backward,
        _lstm_backward,
    ),
    "gru": define(
        "gru(Tensor x, Tensor h, Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih,"
        " Tensor? bias_hh, bool reverse, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
        _gru,
        _gru,
    ),
    "gru_backward": define(
        "gru_backward(Tensor h, Tensor weight_hh, Tensor y, Tensor gates, Tensor hidden,"
        " Tensor? dy, Tensor? dh, bool by_row, bool reverse, bool initial)"
        " -> (Tensor, Tensor, Tensor)",
        _gru_backward,
        _gru_backward,
    ),
}

for _name, _formula in zip(_OPERATORS, (*_flops(4), *_flops(3)), strict=True):
    register_flop_formula(getattr(torch.ops.benchsuite, _name))(_formula)
