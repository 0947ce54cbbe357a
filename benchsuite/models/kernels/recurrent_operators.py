"""The operators `benchsuite::lstm` and `benchsuite::gru`, on the kernels of recurrent.c.

They are operators of torch, so that whatever watches operators sees them. The projected input is a
single large product of torch; the kernel does what must go timestep by timestep. Rows are shared
among as many threads as torch uses.

Shape suffixes: T timesteps, B batch, F features, H hidden units.
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
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from benchsuite.models.kernels.operators import define, function

SOURCE = "recurrent.c"


def arranged(tensor_TBF: Tensor) -> tuple[Tensor, bool]:
    """A tensor without gaps, and whether it is (B, T, F), as it is where that lies in memory."""
    turned = tensor_TBF.transpose(0, 1)
    if tensor_TBF.shape[1] > 1 and turned.is_contiguous():
        return turned, True
    return tensor_TBF.contiguous(), False


def turned(tensor: Tensor, by_row: bool) -> Tensor:
    """(B, T, …) as (T, B, …) and back, if `by_row`; a view."""
    return tensor.transpose(0, 1) if by_row else tensor


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
    x, by_row = arranged(x_TBF)
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
    return turned(y, by_row), h_n, c_n, *kept


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
    dy = None if dy_TBH is None else turned(dy_TBH, by_row).contiguous()
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
    x, by_row = arranged(x_TBF)
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
    return turned(y, by_row), h_n, *kept


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
    dy = None if dy_TBH is None else turned(dy_TBH, by_row).contiguous()
    y = turned(y_TBH, by_row)
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
OPERATORS = {
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

for _name, _formula in zip(OPERATORS, (*_flops(4), *_flops(3)), strict=True):
    register_flop_formula(getattr(torch.ops.benchsuite, _name))(_formula)
