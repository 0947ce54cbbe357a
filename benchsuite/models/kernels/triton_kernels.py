"""Kernels in Triton for the recurrence of an LSTM: one launch for all timesteps.

Equations and order of gates are those of `torch.nn.LSTM`. A program computes some rows of the batch
from the first timestep to the last, so no program waits for another one. There are two pairs:

- `lstm_forward_resident` and `lstm_backward_resident` have all units in one tile. W_hh is loaded
  once and stays on the chip, as do h and c.
- `lstm_forward_tiled` and `lstm_backward_tiled` have tiles of units, and of the inputs that a sum
  runs over, for any H. W_hh is read at each timestep, from the L2 cache; h and c pass from one
  timestep to the next through memory that only the threads of one program share.

Sums, h and c are of `STATE`, float32 or float64; h and the gradients of gates are rounded to the
dtype of the weights before a product. A program with one row multiplies and adds elementwise,
which leaves no part of a tile unused; one with 16 rows or more calls `tl.dot`.

All tensors are contiguous. A pointer to a tensor over time is to the timestep that is computed
first, and a stride `…_step`, negative in one direction, leads to the next. `hidden` and `cells`
have one slot more than timesteps, for the state before the first one. Two threads may hold the same
element, so there is a barrier before a tensor is overwritten that was read, and before one is read
that other threads have written.

Importing this module imports triton, which is an optional dependency.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

#: The values of `STATE`.
STATE = {torch.float32: tl.float32, torch.float64: tl.float64}
#: Arguments whose values, such as 1 or a multiple of 16, are not a reason to compile again.
_COUNTS = ("steps", "products", "batch")


@triton.jit
def _sigmoid(x):
    """σ(x), without overflow."""
    e = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, e) / (1.0 + e)


@triton.jit
def _tanh(x):
    """tanh x by exp(-2|x|); near zero, where that would cancel, by the Taylor series."""
    s = x * x
    p = 1382 / 155925 - s * (21844 / 6081075)
    p = 62 / 2835 - s * p
    p = 17 / 315 - s * p
    p = 2 / 15 - s * p
    p = 1 / 3 - s * p
    e = tl.exp(-2.0 * tl.abs(x))
    large = (1.0 - e) / (1.0 + e)
    return tl.where(tl.abs(x) < 0.1, x - x * s * p, tl.where(x < 0, -large, large))


@triton.jit
def _weights(w, outs, ins, units, stride):
    """The weights of one gate from some inputs to some outputs, (outs, ins); zero beyond H."""
    at = outs[:, None].to(tl.int64) * stride + ins[None, :]
    return tl.load(w + at, mask=(outs < units)[:, None] & (ins < units)[None, :], other=0.0)


@triton.jit
def _zeros(ROWS: tl.constexpr, OUTS: tl.constexpr, INS: tl.constexpr, STATE: tl.constexpr):
    """What products are added to: (ROWS, OUTS), or for one row the terms of its sums."""
    if ROWS == 1:
        return tl.zeros((OUTS, INS), STATE)
    else:  # noqa: RET505 - Triton compiles one of two returns only in this form
        return tl.zeros((ROWS, OUTS), STATE)


@triton.jit
def _add_product(total, v, w, ROWS: tl.constexpr, PRECISION: tl.constexpr):
    """Add v wᵀ to a total: (ROWS, ins) and (outs, ins)."""
    if ROWS == 1:
        return total + v.to(w.dtype).to(total.dtype) * w.to(total.dtype)
    else:  # noqa: RET505
        return tl.dot(v.to(w.dtype), tl.trans(w), total, input_precision=PRECISION)


@triton.jit
def _summed(total, ROWS: tl.constexpr):
    """The total as (ROWS, outs)."""
    if ROWS == 1:
        return tl.sum(total, axis=1)[None, :]
    else:  # noqa: RET505
        return total


@triton.jit
def _gates(gates, at, units, inside, STATE: tl.constexpr):
    """Four tiles of a timestep's stacked gates."""
    i = tl.load(gates + at, mask=inside, other=0.0).to(STATE)
    f = tl.load(gates + units + at, mask=inside, other=0.0).to(STATE)
    g = tl.load(gates + 2 * units + at, mask=inside, other=0.0).to(STATE)
    o = tl.load(gates + 3 * units + at, mask=inside, other=0.0).to(STATE)
    return i, f, g, o


@triton.jit
def _store_gates(gates, at, units, inside, i, f, g, o):
    """Write four tiles of a timestep's stacked gates."""
    tl.store(gates + at, i, mask=inside)
    tl.store(gates + units + at, f, mask=inside)
    tl.store(gates + 2 * units + at, g, mask=inside)
    tl.store(gates + 3 * units + at, o, mask=inside)


@triton.jit
def _step(i, f, g, o, c):
    """The activated gates, c and h, from the gates' inputs and the c before."""
    i = _sigmoid(i)
    f = _sigmoid(f)
    g = _tanh(g)
    o = _sigmoid(o)
    c = f * c + i * g
    return i, f, g, o, c, o * _tanh(c)


@triton.jit
def _step_back(i, f, g, o, c, c_before, dh, dc):
    """The gradients of the gates' inputs and of the c before."""
    tanh_c = _tanh(c)
    dc += dh * o * (1.0 - tanh_c * tanh_c)
    di = dc * g * i * (1.0 - i)
    df = dc * c_before * f * (1.0 - f)
    dg = dc * i * (1.0 - g * g)
    do = dh * tanh_c * o * (1.0 - o)
    return di, df, dg, do, dc * f


@triton.jit(do_not_specialize=_COUNTS)
def lstm_forward_resident(
    w,  # (4, H, H), of the dtype of x
    gates,  # (T, B, 4, H): the projected input, overwritten by the activated gates if KEEP
    h_0,  # (B, H)
    c_0,  # (B, H)
    hidden,  # (1 + T, B, H)
    cells,  # (1 + T, B, H) of STATE if KEEP, else unused
    h_n,  # (B, H)
    c_n,  # (B, H)
    steps,
    batch,
    units,
    gates_step,
    state_step,
    KEEP: tl.constexpr,
    STATE: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """All timesteps of ROWS rows, with H ≤ UNITS."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    n = tl.arange(0, UNITS)
    inside = (rows < batch)[:, None] & (n < units)[None, :]
    at = rows[:, None] * units + n[None, :]
    gates_at = rows[:, None] * (4 * units) + n[None, :]

    w_i = _weights(w, n, n, units, units)
    w_f = _weights(w + units * units, n, n, units, units)
    w_g = _weights(w + 2 * units * units, n, n, units, units)
    w_o = _weights(w + 3 * units * units, n, n, units, units)
    zeros = _zeros(ROWS, UNITS, UNITS, STATE)

    h = tl.load(h_0 + at, mask=inside, other=0.0).to(STATE)
    c = tl.load(c_0 + at, mask=inside, other=0.0).to(STATE)
    tl.store(hidden + at, h, mask=inside)
    if KEEP:
        tl.store(cells + at, c, mask=inside)
    x_i, x_f, x_g, x_o = _gates(gates, gates_at, units, inside, STATE)
    for t in range(steps):
        # The next timestep's projected input is requested before this timestep's work.
        further = inside & (0 * n + t + 1 < steps)[None, :]
        next_i, next_f, next_g, next_o = _gates(gates + gates_step, gates_at, units, further, STATE)
        i, f, g, o, c, h = _step(
            x_i + _summed(_add_product(zeros, h, w_i, ROWS, PRECISION), ROWS),
            x_f + _summed(_add_product(zeros, h, w_f, ROWS, PRECISION), ROWS),
            x_g + _summed(_add_product(zeros, h, w_g, ROWS, PRECISION), ROWS),
            x_o + _summed(_add_product(zeros, h, w_o, ROWS, PRECISION), ROWS),
            c,
        )
        hidden += state_step
        tl.store(hidden + at, h, mask=inside)
        if KEEP:
            cells += state_step
            tl.store(cells + at, c, mask=inside)
            tl.debug_barrier()
            _store_gates(gates, gates_at, units, inside, i, f, g, o)
        gates += gates_step
        x_i, x_f, x_g, x_o = next_i, next_f, next_g, next_o
    tl.store(h_n + at, h, mask=inside)
    tl.store(c_n + at, c, mask=inside)


@triton.jit(do_not_specialize=_COUNTS)
def lstm_forward_tiled(
    w,
    gates,
    h_0,
    c_0,
    hidden,
    cells,  # (1 + T, B, H) of STATE if KEEP, else (2, B, H)
    h_n,
    c_n,
    steps,
    batch,
    units,
    gates_step,
    state_step,
    KEEP: tl.constexpr,
    STATE: tl.constexpr,
    ROWS: tl.constexpr,
    OUTS: tl.constexpr,
    INS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """As `lstm_forward_resident`, with tiles of OUTS units and of INS inputs, for any H."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    within = (rows < batch)[:, None]
    row_at = rows[:, None] * units
    for first in range(0, units, OUTS):
        n = first + tl.arange(0, OUTS)
        inside = within & (n < units)[None, :]
        at = row_at + n[None, :]
        tl.store(hidden + at, tl.load(h_0 + at, mask=inside, other=0.0), mask=inside)
        c = tl.load(c_0 + at, mask=inside, other=0.0).to(STATE)
        tl.store(cells + at, c, mask=inside)

    cells_step = state_step
    for _ in range(steps):
        tl.debug_barrier()  # the state of all units is written
        for first in range(0, units, OUTS):
            n = first + tl.arange(0, OUTS)
            inside = within & (n < units)[None, :]
            at = row_at + n[None, :]
            gates_at = rows[:, None] * (4 * units) + n[None, :]
            x_i, x_f, x_g, x_o = _gates(gates, gates_at, units, inside, STATE)
            c = tl.load(cells + at, mask=inside, other=0.0)
            sum_i = _zeros(ROWS, OUTS, INS, STATE)
            sum_f = _zeros(ROWS, OUTS, INS, STATE)
            sum_g = _zeros(ROWS, OUTS, INS, STATE)
            sum_o = _zeros(ROWS, OUTS, INS, STATE)
            for start in range(0, units, INS):
                k = start + tl.arange(0, INS)
                h = tl.load(hidden + row_at + k[None, :], within & (k < units)[None, :], 0.0)
                w_i = _weights(w, n, k, units, units)
                sum_i = _add_product(sum_i, h, w_i, ROWS, PRECISION)
                w_f = _weights(w + units * units, n, k, units, units)
                sum_f = _add_product(sum_f, h, w_f, ROWS, PRECISION)
                w_g = _weights(w + 2 * units * units, n, k, units, units)
                sum_g = _add_product(sum_g, h, w_g, ROWS, PRECISION)
                w_o = _weights(w + 3 * units * units, n, k, units, units)
                sum_o = _add_product(sum_o, h, w_o, ROWS, PRECISION)
            i, f, g, o, c, h = _step(
                x_i + _summed(sum_i, ROWS),
                x_f + _summed(sum_f, ROWS),
                x_g + _summed(sum_g, ROWS),
                x_o + _summed(sum_o, ROWS),
                c,
            )
            tl.store(hidden + state_step + at, h, mask=inside)
            tl.store(cells + cells_step + at, c, mask=inside)
            if KEEP:
                tl.debug_barrier()  # the projected input is read
                _store_gates(gates, gates_at, units, inside, i, f, g, o)
        gates += gates_step
        hidden += state_step
        cells += cells_step
        if not KEEP:
            cells_step = -cells_step  # between two slots

    tl.debug_barrier()
    for first in range(0, units, OUTS):
        n = first + tl.arange(0, OUTS)
        inside = within & (n < units)[None, :]
        at = row_at + n[None, :]
        tl.store(h_n + at, tl.load(hidden + at, mask=inside, other=0.0), mask=inside)
        tl.store(c_n + at, tl.load(cells + at, mask=inside, other=0.0), mask=inside)


@triton.jit(do_not_specialize=_COUNTS)
def lstm_backward_resident(
    w,  # (H, 4, H): the transpose of W_hh
    gates,  # (T, B, 4, H), activated
    cells,  # (1 + T, B, H)
    dy,  # (T, B, H) if HAS_DY, else unused
    dh,  # (B, H) of STATE: of the last h; overwritten by that of the first
    dc,
    dgates,  # (T, B, 4, H): of the gates' inputs
    steps,
    products,  # T, or T - 1 where the gradient of the first h is not needed
    batch,
    units,
    gates_step,
    state_step,
    HAS_DY: tl.constexpr,
    STATE: tl.constexpr,
    ROWS: tl.constexpr,
    UNITS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """The gradients of all timesteps of ROWS rows, with H ≤ UNITS."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    n = tl.arange(0, UNITS)
    inside = (rows < batch)[:, None] & (n < units)[None, :]
    at = rows[:, None] * units + n[None, :]
    gates_at = rows[:, None] * (4 * units) + n[None, :]

    w_i = _weights(w, n, n, units, 4 * units)
    w_f = _weights(w + units, n, n, units, 4 * units)
    w_g = _weights(w + 2 * units, n, n, units, 4 * units)
    w_o = _weights(w + 3 * units, n, n, units, 4 * units)

    d_h = tl.load(dh + at, mask=inside, other=0.0)
    d_c = tl.load(dc + at, mask=inside, other=0.0)
    c = tl.load(cells + at, mask=inside, other=0.0)
    i, f, g, o = _gates(gates, gates_at, units, inside, STATE)
    for t in range(steps):
        cells += state_step
        c_before = tl.load(cells + at, mask=inside, other=0.0)
        if HAS_DY:
            d_h += tl.load(dy + at, mask=inside, other=0.0).to(STATE)
            dy += state_step
        further = inside & (0 * n + t + 1 < steps)[None, :]
        gates += gates_step
        next_i, next_f, next_g, next_o = _gates(gates, gates_at, units, further, STATE)
        d_i, d_f, d_g, d_o, d_c = _step_back(i, f, g, o, c, c_before, d_h, d_c)
        _store_gates(dgates, gates_at, units, inside, d_i, d_f, d_g, d_o)
        if t < products:
            if ROWS > 1:  # from memory: Triton would compute the step again for each operand
                tl.debug_barrier()
                p_i, p_f, p_g, p_o = _gates(dgates, gates_at, units, inside, w.dtype.element_ty)
            else:
                p_i, p_f, p_g, p_o = d_i, d_f, d_g, d_o
            total = _add_product(_zeros(ROWS, UNITS, UNITS, STATE), p_i, w_i, ROWS, PRECISION)
            total = _add_product(total, p_f, w_f, ROWS, PRECISION)
            total = _add_product(total, p_g, w_g, ROWS, PRECISION)
            total = _add_product(total, p_o, w_o, ROWS, PRECISION)
            d_h = _summed(total, ROWS)
        dgates += gates_step
        i, f, g, o, c = next_i, next_f, next_g, next_o, c_before
    tl.debug_barrier()
    tl.store(dh + at, d_h, mask=inside)
    tl.store(dc + at, d_c, mask=inside)


@triton.jit(do_not_specialize=_COUNTS)
def lstm_backward_tiled(
    w,
    gates,
    cells,
    dy,
    dh,
    dc,
    dgates,
    steps,
    products,
    batch,
    units,
    gates_step,
    state_step,
    HAS_DY: tl.constexpr,
    STATE: tl.constexpr,
    ROWS: tl.constexpr,
    OUTS: tl.constexpr,
    INS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """As `lstm_backward_resident`, with tiles of OUTS units and of INS inputs, for any H."""
    rows = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)
    within = (rows < batch)[:, None]
    row_at = rows[:, None] * units
    for t in range(steps):
        for first in range(0, units, OUTS):
            n = first + tl.arange(0, OUTS)
            inside = within & (n < units)[None, :]
            at = row_at + n[None, :]
            gates_at = rows[:, None] * (4 * units) + n[None, :]
            i, f, g, o = _gates(gates, gates_at, units, inside, STATE)
            c = tl.load(cells + at, mask=inside, other=0.0)
            c_before = tl.load(cells + state_step + at, mask=inside, other=0.0)
            d_h = tl.load(dh + at, mask=inside, other=0.0)
            if HAS_DY:
                d_h += tl.load(dy + at, mask=inside, other=0.0).to(STATE)
            d_c = tl.load(dc + at, mask=inside, other=0.0)
            d_i, d_f, d_g, d_o, d_c = _step_back(i, f, g, o, c, c_before, d_h, d_c)
            _store_gates(dgates, gates_at, units, inside, d_i, d_f, d_g, d_o)
            tl.debug_barrier()  # dc is read
            tl.store(dc + at, d_c, mask=inside)
        tl.debug_barrier()  # dh is read, the gradients of all gates are written
        if t < products:
            for first in range(0, units, OUTS):
                n = first + tl.arange(0, OUTS)
                total = _zeros(ROWS, OUTS, INS, STATE)
                for start in range(0, units, INS):
                    k = start + tl.arange(0, INS)
                    k_at = rows[:, None] * (4 * units) + k[None, :]
                    k_inside = within & (k < units)[None, :]
                    for gate in tl.static_range(4):
                        d = tl.load(dgates + gate * units + k_at, mask=k_inside, other=0.0)
                        part = _weights(w + gate * units, n, k, units, 4 * units)
                        total = _add_product(total, d, part, ROWS, PRECISION)
                inside = within & (n < units)[None, :]
                tl.store(dh + row_at + n[None, :], _summed(total, ROWS), mask=inside)
            tl.debug_barrier()  # dh is written
        gates += gates_step
        cells += state_step
        dgates += gates_step
        if HAS_DY:
            dy += state_step
