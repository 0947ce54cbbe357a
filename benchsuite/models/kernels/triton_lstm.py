"""The operator `benchsuite::lstm_triton`, on the kernels of triton_kernels.py, for CUDA.

As with the kernels in C, products that need no state (the projected input, and the gradients of all
weights) are single large products of torch; the kernel does what must go timestep by timestep, in
one launch. Float32, float64, float16 and bfloat16; h and c are computed in float32, or in float64.
Gradients of the first order. A launch goes to the current stream of the input's device and
allocates nothing outside torch's allocator, so a CUDA graph can capture it once it is compiled.

**Not run or measured on a device yet.** Expected to be fast, by the registers and shared memory of
the compiled code: H ≤ 64 in float32, up to two rows per multiprocessor, and H ≤ 128 in half
precision, where W_hh stays on the chip. Beyond that each program reads W_hh from the L2 cache at
every timestep, as one program cannot wait for another: the result is correct for any H, and
expected to be slower than cuDNN's. cuDNN computes products of float32 in TF32 unless
`torch.backends.cudnn.allow_tf32` is False; these kernels never do.

With TRITON_INTERPRET=1 in the environment, set before triton is imported, the kernels run in
Triton's interpreter on CPU tensors: slow, and how they are tested without a device. There
`tl.dot` does not compute in bfloat16.

Shape suffixes: T timesteps, B batch, F features, G stacked gates, H hidden units, S = T + 1 states.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from benchsuite.models.kernels.operators import define
from benchsuite.models.kernels.recurrent import check, differentiated, product

#: Whether kernels run in Triton's interpreter, on the CPU; triton reads it when it is imported.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in {"1", "on", "true", "y", "yes"}
_DEVICE: Literal["cpu", "cuda"] = "cpu" if INTERPRETED else "cuda"
_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
#: `input_precision` of `tl.dot`: IEEE float32 and not TF32, whose products have 11 bits.
_PRECISION = "ieee"


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
        x_TBF: The input, (T, B, F).
        state: h and c before the first timestep, each (B, H).
        weight_ih: (4H, F).
        weight_hh: (4H, H).
        bias: (4H,), or None.
        reverse: Run from the last timestep to the first.

    Returns:
        h of all timesteps, (T, B, H), and the last h and c, each (B, H).

    Raises:
        ValueError: for a device or dtype without a kernel, or a shape that does not fit.
        ImportError: if triton is not installed.
    """
    check(x_TBF, 4, state, (weight_ih, weight_hh, bias))
    arguments = (x_TBF, *state, weight_ih, weight_hh, bias, reverse)
    for given in arguments[:6]:
        if isinstance(given, Tensor) and given.device != x_TBF.device:
            raise ValueError(f"tensors are on {given.device} and {x_TBF.device}; move them to one")
    if x_TBF.dtype not in _DTYPES:
        allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise ValueError(f"the Triton kernels compute in {allowed}, not in {x_TBF.dtype}")
    if differentiated(arguments):
        return _LSTM.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]
    hidden_SBH, h_n, c_n, *_ = _OPERATORS["lstm_triton"](*arguments, False)
    return _outputs(hidden_SBH, reverse), h_n, c_n


def runs_on(device: torch.device) -> bool:
    """Whether the kernels take tensors of a device: of CUDA, or of the CPU if interpreted."""
    return device.type in {_DEVICE, "meta"}


def problem_on(device: str) -> str:
    """Why a model cannot run on a device, which needs these kernels; empty if it can."""
    if device != _DEVICE:
        return f"is a kernel for {_DEVICE} and cannot run on {device}; choose -a device={_DEVICE}"
    if importlib.util.find_spec("triton") is None:
        return "needs triton, which is not installed; pip install 'benchsuite[triton]'"
    return ""


class _LSTM(torch.autograd.Function):
    """`lstm` with gradients; saves the gates, h and c of all timesteps."""

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
        hidden_SBH, h_n, c_n, gates, cells = _OPERATORS["lstm_triton"](
            x_TBF, h_BH, c_BH, weight_ih, weight_hh, bias, reverse, True
        )
        ctx.reverse = reverse
        ctx.save_for_backward(x_TBF, weight_ih, weight_hh, hidden_SBH, gates, cells)
        ctx.set_materialize_grads(False)
        return _outputs(hidden_SBH, reverse), h_n, c_n

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, dy: Tensor | None, dh: Tensor | None, dc: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x_TBF, weight_ih, weight_hh, hidden_SBH, gates, cells = ctx.saved_tensors
        needs = ctx.needs_input_grad
        dgates, dh, dc = _OPERATORS["lstm_triton_backward"](
            *(weight_hh, gates, cells, dy, dh, dc, ctx.reverse, any(needs[1:3]))
        )
        before_TBH = _outputs(hidden_SBH, not ctx.reverse)
        return (
            dgates @ weight_ih if needs[0] else None,
            dh if needs[1] else None,
            dc if needs[2] else None,
            product(dgates, x_TBF) if needs[3] else None,
            product(dgates, before_TBH) if needs[4] else None,
            dgates.sum((0, 1)) if needs[5] else None,
            None,
        )


def _outputs(hidden_SBH: Tensor, reverse: bool) -> Tensor:
    """The states after each timestep, without the first of all: (T, B, H), a view."""
    return hidden_SBH[:-1] if reverse else hidden_SBH[1:]


class Plan(NamedTuple):
    """How a kernel is compiled and launched.

    Attributes:
        kind: "resident" or "tiled", the ends of the kernels' names.
        rows: Rows of the batch per program.
        tiles: UNITS, or OUTS and INS.
        warps: Warps per program.
    """

    kind: str
    rows: int
    tiles: dict[str, int]
    warps: int


class Limits(NamedTuple):
    """The number of multiprocessors of a device, and bytes of shared memory of a program."""

    processors: int
    shared: int


@functools.cache
def _limits(device: torch.device) -> Limits:
    if device.type == "cpu":  # so that small tests reach each kernel
        return Limits(1, 1 << 20)
    facts = torch.get_device_module(device).get_device_properties(device)
    return Limits(facts.multi_processor_count, facts.shared_memory_per_block_optin)


@functools.lru_cache(maxsize=1024)
def plan(batch: int, units: int, itemsize: int, limits: Limits) -> Plan:
    """Choose the kernel and its tiles; not measured yet.

    In half precision products run on matrix units, whose tiles have 16 rows. In float32 and float64
    they do not, so a program has one row as long as that leaves few waves of programs, and W_hh
    lies in the registers of its threads, 64 kB at most. Of the half types W_hh lies in shared
    memory.

    Args:
        batch: Rows.
        units: H.
        itemsize: Bytes of an element.
        limits: Those of the device.
    """
    size = max(16, 1 << (units - 1).bit_length())
    bytes_hh = 4 * size * size * itemsize
    if itemsize == 2:
        if size <= 128 and bytes_hh + (16 << 10) <= limits.shared:
            return Plan("resident", 16, {"UNITS": size}, 8 if size > 32 else 4)
        return Plan("tiled", 16, {"OUTS": 64, "INS": 64}, 8)
    if itemsize == 4 and batch > 2 * limits.processors:
        return Plan("tiled", 16, {"OUTS": 64, "INS": 32}, 8)
    if bytes_hh <= 64 << 10:
        return Plan("resident", 1, {"UNITS": size}, 8 if size > 32 else 4)
    return Plan("tiled", 1, {"OUTS": 32, "INS": 512 // itemsize}, 8)


@functools.cache
def _source() -> ModuleType:
    """The kernels; imported at the first launch, as importing triton takes time."""
    return importlib.import_module("benchsuite.models.kernels.triton_kernels")


def _launch(
    name: str, like: Tensor, units: int, arguments: tuple[Any, ...], **constants: bool
) -> None:
    """Launch a kernel for the rows of a tensor (T, B, …)."""
    batch = like.shape[1]
    if not batch:
        return
    kind, rows, tiles, warps = plan(batch, units, like.itemsize, _limits(like.device))
    kernel = getattr(_source(), f"lstm_{name}_{kind}")
    # Triton launches on the current device, whichever one the tensors are on.
    with _current(like.device):
        kernel[(-(-batch // rows),)](
            *arguments,
            **constants,
            **tiles,
            STATE=_source().STATE[_state_dtype(like)],
            ROWS=rows,
            PRECISION=_PRECISION,
            num_warps=warps,
            num_stages=1 if kind == "resident" else 2,
            enable_fp_fusion=True,
        )


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which a device is the current one of its kind."""
    if device.type == "cpu":
        return contextlib.nullcontext()
    current: AbstractContextManager[Any] = torch.get_device_module(device).device(device)
    return current


def _state_dtype(tensor: Tensor) -> torch.dtype:
    """The dtype of h and c inside a kernel."""
    return torch.float64 if tensor.dtype is torch.float64 else torch.float32


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
    steps, rows, _ = x_TBF.shape
    units = weight_hh.shape[1]
    gates = F.linear(x_TBF.contiguous(), weight_ih, bias)
    hidden = gates.new_empty(steps + 1, rows, units)
    cells = gates.new_empty(steps + 1 if keep else 2, rows, units, dtype=_state_dtype(gates))
    h_n, c_n = gates.new_empty(rows, units), gates.new_empty(rows, units)
    if not gates.is_meta:
        first, sign = (-1, -1) if reverse else (0, 1)
        strides = (sign * rows * 4 * units, sign * rows * units)
        tensors = (gates[first], h_BH.contiguous(), c_BH.contiguous(), hidden[first])
        states = (cells[first], h_n, c_n)
        counts = (steps, rows, units)
        arguments = (weight_hh.contiguous(), *tensors, *states, *counts, *strides)
        _launch("forward", gates, units, arguments, KEEP=keep)
    kept = (gates, cells) if keep else (gates.new_empty(0), gates.new_empty(0))
    return hidden, h_n, c_n, *kept


def _lstm_backward(
    weight_hh: Tensor,
    gates: Tensor,
    cells: Tensor,
    dy_TBH: Tensor | None,
    dh_BH: Tensor | None,
    dc_BH: Tensor | None,
    reverse: bool,
    initial: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    steps, rows, _ = gates.shape
    units = weight_hh.shape[1]
    dh, dc = (_own(given, cells[0]) for given in (dh_BH, dc_BH))
    dgates = torch.empty_like(gates)
    if not gates.is_meta:
        first, sign = (0, 1) if reverse else (-1, -1)
        strides = (sign * rows * 4 * units, sign * rows * units)
        dy = gates if dy_TBH is None else dy_TBH.contiguous()
        tensors = (gates[first], cells[first], dy[first], dh, dc, dgates[first])
        counts = (steps, steps if initial else steps - 1, rows, units)
        arguments = (weight_hh.t().contiguous(), *tensors, *counts, *strides)
        _launch("backward", gates, units, arguments, HAS_DY=dy_TBH is not None)
    return dgates, dh.to(gates.dtype), dc.to(gates.dtype)


def _own(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A copy that the kernel may write to, of the dtype of another tensor; zeros for None."""
    if gradient is None:
        return torch.zeros_like(like)
    return torch.empty_like(like).copy_(gradient)


#: Each function serves the meta device too: there it makes its results and launches no kernel.
_OPERATORS = {
    "lstm_triton": define(
        "lstm_triton(Tensor x, Tensor h, Tensor c, Tensor weight_ih, Tensor weight_hh,"
        " Tensor? bias, bool reverse, bool keep) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
        _lstm,
        _lstm,
        device=_DEVICE,
    ),
    "lstm_triton_backward": define(
        "lstm_triton_backward(Tensor weight_hh, Tensor gates, Tensor cells, Tensor? dy, Tensor? dh,"
        " Tensor? dc, bool reverse, bool initial) -> (Tensor, Tensor, Tensor)",
        _lstm_backward,
        _lstm_backward,
        device=_DEVICE,
    ),
}


@register_flop_formula(torch.ops.benchsuite.lstm_triton)
def _forward_flops(x: Any, h: Any, *_: Any, **__: Any) -> int:
    """Of the projected input and the recurrence."""
    (steps, rows, features), units = x, h[-1]
    return int(2 * steps * rows * 4 * units * (features + units))


@register_flop_formula(torch.ops.benchsuite.lstm_triton_backward)
def _backward_flops(weight_hh: Any, gates: Any, *others: Any, **__: Any) -> int:
    """Of the recurrence; products outside of the kernel are counted as such."""
    (steps, rows, _), initial = gates, others[-1]
    return int(2 * (steps - (not initial)) * rows * weight_hh[0] * weight_hh[1])
