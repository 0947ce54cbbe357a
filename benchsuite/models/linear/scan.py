r"""Executions of the linear recurrence h_t = a_t ⊙ h_{t-1} + b_t.

With a composition (a, b) ∘ (a', b') = (a a', a' b + b') of two timesteps it is an associative scan,
and where a_t = a for all t a convolution with the kernel 1, a, a², …:

    loop           T steps in Python, work T
    scan           odd–even reduction (Blelloch 1990): 2 log₂ T levels, work 2 T
    hillis_steele  doubling (Hillis & Steele 1986): log₂ T levels, work T log₂ T
    chunked        chunks of about √T timesteps side by side, then their ends: 2 √T steps, work 2 T
    fft            the convolution by FFT over about 2 T timesteps; a constant `a` only
    native         T steps in a compiled kernel, work T

The gradients are a recurrence of the same kind that runs backwards,

    db_t = g_t + conj(a_{t+1}) db_{t+1}        da_t = db_t conj(h_{t-1})

which every execution but `loop` and `fft` uses. They save a and h, and have no second derivative.
`loop` and `fft` are differentiated by autograd, operator by operator.

Half precision is computed in float32 and rounded at the end: a recurrence of rounded states forgets
increments below the spacing of its state, and torch has no complex bfloat16.

Shape suffixes: B batch, T timesteps, N states, C chunks, S timesteps of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from benchsuite.models.fftconv import causal_fft_convolution
from benchsuite.models.kernels.compiler import problem_on
from benchsuite.models.kernels.linear_scan import (
    SOURCE,
    linear_scan,
    linear_scan_,
    linear_scan_backward,
)

#: Computes h (B, T, N) from a (B, T, N) or (N,), b (B, T, N) and h_0 (B, N) or None.
Execution = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def recur(
    a: Tensor, b: Tensor, h0: Tensor | None, execution: str, *, overwrite: bool = False
) -> Tensor:
    """All states of a linear recurrence.

    Args:
        a: (B, T, N), or (N,) where it is the same at every timestep.
        b: (B, T, N), real or complex, of the dtype of `a`.
        h0: The state before the first timestep, (B, N); zeros if None.
        execution: A name of `CONSTANT`, or of `VARYING` if `a` changes over time.
        overwrite: Whether h may take the memory of b where no gradients are recorded.

    Returns:
        h (B, T, N), from h_1 to h_T.

    Raises:
        ValueError: for an FFT, if `a` changes over time.
        Unavailable: for a native kernel that cannot be compiled here.
    """
    if execution in _DIFFERENTIABLE:
        return _DIFFERENTIABLE[execution](a, b, h0)
    if execution == "native" and overwrite and not torch.is_grad_enabled():
        return linear_scan_(a, b, h0)  # type: ignore[no-any-return]
    return _Recurrence.apply(a, b, h0, execution)  # type: ignore[no-any-return, no-untyped-call]


def precise(tensor: Tensor) -> Tensor:
    """In float32, if it has half precision."""
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def real_state(state: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A state that was given, if it has the right shape.

    Raises:
        ValueError: if it has another one.
    """
    if state.shape != shape:
        raise ValueError(f"the state is {tuple(state.shape)}; {tuple(shape)} is needed")
    return precise(state)


def complex_state(pairs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """As `real_state`, of pairs (…, 2) as complex numbers."""
    return torch.view_as_complex(real_state(pairs, shape).contiguous())


def refuse_second_derivative(execution: str) -> None:
    """Raise in a backward pass whose own graph is recorded: it would miss what the kernels do.

    torch's `once_differentiable` refuses only if the gradient that comes in has a graph too.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"execution {execution!r} has no second derivative (create_graph=True); use 'loop'"
        )


class _Recurrence(torch.autograd.Function):
    """The recurrence with the reverse recurrence as its gradient; saves a and h."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor | None, execution: str) -> Tensor:
        h = _KERNELS[execution](a, b, h0)
        ctx.save_for_backward(a, h, h0)
        ctx.execution = execution
        return h

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative(ctx.execution)
        a, h, h0 = ctx.saved_tensors
        if ctx.execution == "native":
            da, db = linear_scan_backward(a, h, h0, g)
            da = da.sum(0) if a.dim() == 1 else da
        else:
            after = a.conj() if a.dim() == 1 else torch.cat([a[:, 1:], a[:, :1]], 1).conj().flip(1)
            db = _KERNELS[ctx.execution](after, g.flip(1), None).flip(1)
            first = torch.zeros_like(h[:, 0]) if h0 is None else h0
            da = db * torch.cat([first.unsqueeze(1), h[:, :-1]], 1).conj()
            da = da.sum((0, 1)) if a.dim() == 1 else da
        dh0 = None
        if h0 is not None:
            dh0 = db[:, 0] * (a if a.dim() == 1 else a[:, 0]).conj()
        return da, db, dh0, None


def _loop(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """One step after the other; `unbind` and not `b[t]`, whose backward is O(T²)."""
    steps = b.unbind(1)
    factors = [a] * len(steps) if a.dim() == 1 else a.unbind(1)
    h = steps[0] if h0 is None else factors[0] * h0 + steps[0]
    states = [h]
    for a_t, b_t in zip(factors[1:], steps[1:], strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states, 1)


def _started(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """b with the state before the first timestep in its first one."""
    if h0 is None:
        return b
    first = b[:, 0] + (a if a.dim() == 1 else a[:, 0]) * h0
    return torch.cat([first.unsqueeze(1), b[:, 1:]], 1)


def _odd_even(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """Pairs of timesteps as one, recursively, which gives the states at 1, 3, 5 …, then the rest.

    A constant `a` is squared at each level.
    """
    b = _started(a, b, h0)
    steps = b.shape[1]
    if steps == 1:
        return b
    constant = a.dim() == 1
    even_a, odd_a = (a, a) if constant else (a[:, : steps - 1 : 2], a[:, 1::2])
    pairs = torch.addcmul(b[:, 1::2], odd_a, b[:, : steps - 1 : 2])
    h = torch.empty_like(b)
    odd = h[:, 1::2]
    odd.copy_(_odd_even(odd_a * even_a, pairs, None))
    h[:, 0] = b[:, 0]
    rest = (steps - 1) // 2
    if rest:
        h[:, 2::2] = torch.addcmul(b[:, 2::2], a if constant else a[:, 2::2], odd[:, :rest])
    return h


def _hillis_steele(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """Each level adds the states of `reach` timesteps before."""
    h = _started(a, b, h0)
    steps, reach = h.shape[1], 1
    while reach < steps:
        constant = a.dim() == 1
        added = torch.addcmul(h[:, reach:], a if constant else a[:, reach:], h[:, :-reach])
        h = torch.cat([h[:, :reach], added], 1)
        if constant:
            a = a * a
        elif 2 * reach < steps:
            a = torch.cat([a[:, :reach], a[:, reach:] * a[:, :-reach]], 1)
        reach *= 2
    return h


def _chunked(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    """All chunks side by side from a state of zero, then the ends of chunks one by one.

    The products of `a` inside a chunk weigh the state that the chunk begins with; nothing is
    divided by them, so they may underflow.
    """
    batch, steps, states = b.shape
    size = max(1, math.isqrt(steps))
    chunks = -(-steps // size)
    missing = chunks * size - steps
    factors = a.expand_as(b) if a.dim() == 1 else a
    a_BCSN, b_BCSN = (
        torch.cat([part, part.new_zeros(batch, missing, states)], 1).unflatten(1, (chunks, size))
        for part in (factors, b)
    )
    h_BCN, weight_BCN = b_BCSN[:, :, 0], a_BCSN[:, :, 0]
    own, weights = [h_BCN], [weight_BCN]
    for step in range(1, size):
        h_BCN = torch.addcmul(b_BCSN[:, :, step], a_BCSN[:, :, step], h_BCN)
        weight_BCN = weight_BCN * a_BCSN[:, :, step]
        own.append(h_BCN)
        weights.append(weight_BCN)
    h_BN = b.new_zeros(batch, states) if h0 is None else h0
    starts = [h_BN]
    for chunk in range(chunks - 1):
        h_BN = torch.addcmul(h_BCN[:, chunk], weight_BCN[:, chunk], h_BN)
        starts.append(h_BN)
    start_BC1N = torch.stack(starts, 1).unsqueeze(2)
    h_BCSN = torch.addcmul(torch.stack(own, 2), torch.stack(weights, 2), start_BC1N)
    return h_BCSN.flatten(1, 2)[:, :steps]


def powers(a: Tensor, steps: int) -> Tensor:
    """1, a, a² … of `a` (…), `steps` of them: (T, …).

    The power i S + j is a^{iS} · a^j, each from a table of about √T numbers that is made in double
    precision. Repeated products, or t log a in single precision, would be wrong by t roundings,
    which shows in the phase of a complex `a`. The way back saves `a` alone.
    """
    return _Powers.apply(a, steps)  # type: ignore[no-any-return, no-untyped-call]


class _Powers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, steps: int) -> Tensor:
        ctx.save_for_backward(a)
        return _powers(a, steps)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (a,) = ctx.saved_tensors
        exponents = torch.arange(1, len(g), device=a.device).view(-1, *[1] * a.dim())
        return (g[1:] * (exponents * _powers(a, len(g) - 1)).conj()).sum(0), None


def _powers(a: Tensor, steps: int) -> Tensor:
    size = max(1, math.isqrt(steps))
    blocks, rest = divmod(steps, size)
    wide = a.to(torch.promote_types(a.dtype, torch.float64))
    counts = torch.arange(max(size, blocks + 1), device=a.device).view(-1, *[1] * a.dim())
    fine = torch.pow(wide, counts[:size]).to(a.dtype)
    coarse = torch.pow(wide, size * counts[: blocks + 1]).to(a.dtype)
    whole = (coarse[:blocks].unsqueeze(1) * fine).flatten(0, 1)
    return torch.cat([whole, coarse[blocks] * fine[:rest]])


def _fft(a: Tensor, b: Tensor, h0: Tensor | None) -> Tensor:
    if a.dim() != 1:
        raise ValueError("an FFT needs the same `a` at every timestep; use scan or native")
    return causal_fft_convolution(_started(a, b, h0).mT, powers(a, b.shape[1]).mT).mT


#: Executions that autograd differentiates.
_DIFFERENTIABLE: dict[str, Execution] = {"loop": _loop, "fft": _fft}
#: Executions whose gradient is the reverse recurrence.
_KERNELS: dict[str, Execution] = {
    "scan": _odd_even,
    "hillis_steele": _hillis_steele,
    "chunked": _chunked,
    "native": linear_scan,
}
#: Executions of a recurrence whose `a` changes over time, and of one whose `a` does not.
VARYING = ("loop", "scan", "hillis_steele", "chunked", "native")
CONSTANT = (*VARYING, "fft")


class LinearModel(nn.Module):
    """A model whose state is updated by a linear function.

    Args:
        execution: A name of `executions`.

    Raises:
        ValueError: for another execution, naming the allowed ones.
    """

    mathematics: ClassVar[str]
    executions: ClassVar[tuple[str, ...]] = VARYING
    #: The C source of the execution "native".
    source: ClassVar[str] = SOURCE

    def __init__(self, execution: str) -> None:
        super().__init__()
        if execution not in self.executions:
            raise ValueError(
                f"execution = {execution!r} is not one of those of {self.mathematics}:"
                f" {', '.join(self.executions)}"
            )
        self.execution = execution

    def kernel_problem(self, device: str) -> str:
        """Why the kernel cannot run on a device; empty if it can, or if there is none.

        The kernel is compiled now.
        """
        return problem_on(device, self.source) if self.execution == "native" else ""

    def extra_repr(self) -> str:
        """The execution."""
        return f"execution={self.execution!r}"


def projection(input_size: int, hidden_size: int) -> nn.Module:
    """A Linear without bias where the sizes differ, else nothing."""
    if input_size == hidden_size:
        return nn.Identity()
    return nn.Linear(input_size, hidden_size, bias=False)
