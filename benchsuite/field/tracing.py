"""The formula on a module itself: intervals of input steps, followed through every operation.

The module is run once, and beside each tensor two of the same shape are kept: the first and the
last input step that each element may depend on. Operations that move elements move these too,
elementwise ones take the union, products and sums the union over what they sum, and a convolution
that over its taps, as in the recurrence of `theory`. Padding is taken for steps before the
beginning (or after the end), so that a field is found at its full size in a short sequence. Nothing
is typed in: what a `forward` really pads, cuts, adds and loops over is what counts.

In a sequence of steps t = 0, 1, … a finite field shows as a first step of t - c; one that still
grows towards the end of the sequence is unbounded.

Shape suffixes: B batch, T timesteps, F features.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from benchsuite.errors import Unsupported
from benchsuite.field.subject import run, subject
from benchsuite.field.theory import NOTHING, UNBOUNDED, Field, Steps

#: Below this length the growth of a field cannot be told.
_SHORTEST = 4
#: A field is unbounded if only outputs past this part of the sequence have it whole.
UNBOUNDED_FROM = 0.75
#: First and last input step of every element; (inf, -inf) where there is none.
Span = tuple[Tensor, Tensor]


def traced_field(module: nn.Module, input_size: int, length: int = 64) -> Field:
    """The receptive field of a module over (batch, time, features), derived from its operations.

    Args:
        module: The module; it is copied, and run once with a batch of one.
        input_size: Features of the input.
        length: Timesteps of that run. A Python loop that looks back over three quarters of them or
            more is told as unbounded.

    Returns:
        The least interval of lags that holds those of all paths; unbounded for a recurrence, and
        for whatever else sees the whole sequence.

    Raises:
        Unsupported: if it cannot be derived, naming the operation.
        UsageError: if the module cannot be run.
    """
    model = subject(module).cpu()
    with torch.inference_mode():
        x_BTF = torch.zeros(1, max(length, _SHORTEST), input_size, dtype=torch.float64)
        with _Spans(x_BTF) as spans:
            y_BTF = run(model, x_BTF)
        first_BTF, last_BTF = spans.of(y_BTF)
    return _read(first_BTF.amin((0, 2)), last_BTF.amax((0, 2)))


def _read(first_T: Tensor, last_T: Tensor) -> Field:
    step_T = torch.arange(len(first_T), dtype=torch.float64)
    if not (first_T <= last_T).any():
        return NOTHING
    future = _reach((last_T - step_T).flip(0))
    return Field(future if future is UNBOUNDED else -future, _reach(step_T - first_T))


def _reach(distance_T: Tensor) -> Steps:
    """The greatest distance, unless only the last steps have it."""
    greatest = distance_T.max()
    if distance_T[: int(UNBOUNDED_FROM * len(distance_T))].max() < greatest:
        return UNBOUNDED
    return int(greatest)


class _Spans(TorchDispatchMode):
    """Keeps the spans of all tensors while it is on.

    In inference mode, so that a tensor seen here is the very object that `forward` holds.
    """

    def __init__(self, x_BTF: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._spans: Any = WeakIdKeyDictionary()
        step_T1 = torch.arange(x_BTF.shape[1], dtype=x_BTF.dtype)[:, None]
        self._spans[x_BTF] = (x_BTF + step_T1, x_BTF + step_T1)

    def of(self, tensor: Tensor) -> Span:
        """The span of a tensor; none for weights and constants."""
        found: Span | None = self._spans.get(tensor)
        return _nothing(tensor) if found is None else found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = _tensors((args, tuple(kwargs.values())))
        if given and not any(tensor in self._spans for tensor in given):
            return func(*args, **kwargs)  # of weights alone
        if _composite(func):  # linear, lstm and the like come down to products and sums
            with self:
                return func.decompose(*args, **kwargs)
        result = func(*args, **kwargs)
        results = _tensors((result,))
        for tensor, span in zip(results, self._rule(func, args, kwargs, results), strict=True):
            held = self._spans.get(tensor)
            if held is not None and held[0] is not span[0]:  # in place; views share their spans
                held[0].copy_(span[0])
                held[1].copy_(span[1])
            elif held is None and _sees(span) and any(tensor is other for other in given):
                raise _underivable(func, "it writes into a tensor made before")
            elif held is None:
                self._spans[tensor] = span
        return result

    def _rule(self, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Span]:
        """The spans of an operation's results."""
        name = func.overloadpacket.__name__
        if args and name.rstrip("_") in _MOVES:
            if any(_sees(self.of(tensor)) for tensor in _tensors(args[1:])):
                raise _underivable(func, "what it picks depends on the input's values")
            return self._moved(func, args, kwargs)
        sources = args[1:] if name == "copy_" else args
        seen = [span for span in map(self.of, _tensors(sources)) if _sees(span)]
        if name in _FRESH or not seen:
            return [_nothing(tensor) for tensor in results]
        if torch.Tag.pointwise in func.tags or name in _POINTWISE:
            span = _union(*(_expanded(span, results[0]) for span in seen))
        elif name in _RULES:
            names = (argument.name for argument in func._schema.arguments)
            bound = dict(zip(names, args, strict=False)) | kwargs
            span = _union(_expanded(_RULES[name](self.of, bound, results[0]), results[0]))
        else:
            raise _underivable(func, "what its outputs see is not known here")
        return [span, *(_nothing(tensor) for tensor in results[1:])]

    def _moved(self, func: Any, args: Any, kwargs: Any) -> list[Span]:
        """Do to the spans what is done to the elements."""
        first, *rest = args
        ends = []
        for end in (0, 1):
            own = (
                [self.of(tensor)[end] for tensor in first]
                if isinstance(first, list | tuple)
                else self.of(first)[end]
            )
            moved = func(own, *rest, **kwargs)
            ends.append([moved] if isinstance(moved, Tensor) else moved)
        return list(zip(*ends, strict=True))


@functools.cache
def _composite(func: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key))


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among an operation's arguments, those in lists too."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found.extend(_tensors(value))
    return found


def _nothing(tensor: Tensor) -> Span:
    first = torch.full(tensor.shape, math.inf, dtype=torch.float64)
    return first, -first


def _sees(span: Span) -> bool:
    return bool((span[0] <= span[1]).any())


def _expanded(span: Span, like: Tensor) -> Span:
    return span[0].expand(like.shape), span[1].expand(like.shape)


def _union(*spans: Span) -> Span:
    """Element by element, in memory of its own."""
    firsts, lasts = zip(*spans, strict=True)
    return (
        functools.reduce(torch.minimum, firsts).clone(memory_format=torch.contiguous_format),
        functools.reduce(torch.maximum, lasts).clone(memory_format=torch.contiguous_format),
    )


def _hull(span: Span, dims: Any) -> Span:
    """Over these dimensions, which are kept with size one."""
    return span[0].amin(dims, keepdim=True), span[1].amax(dims, keepdim=True)


def _underivable(func: Any, why: str) -> Unsupported:
    return Unsupported(f"the field cannot be derived through {func}: {why}")


#: What a rule is given: the span of a tensor, the operation's arguments by name, and its result.
Rule = Callable[[Callable[[Tensor], Span], dict[str, Any], Tensor], Span]


def _reduced(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> Span:
    first, last = _hull(of(bound["self"]), bound.get("dim") or ())
    return first.reshape(out.shape), last.reshape(out.shape)


def _softmax(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    return _hull(of(bound["self"]), bound["dim"])


def _scanned(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    first, last = of(bound["self"])
    return first.cummin(bound["dim"]).values, last.cummax(bound["dim"]).values


def _layer_norm(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    return _hull(of(bound["input"]), tuple(range(-len(bound["normalized_shape"]), 0)))


def _group_norm(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    grouped = (end.unflatten(1, (bound["group"], -1)) for end in of(bound["input"]))
    first, last = _hull(tuple(grouped), tuple(range(2, bound["input"].dim() + 1)))
    channels = bound["input"].shape[1] // bound["group"]
    return first.squeeze(2).repeat_interleave(channels, 1), last.squeeze(2).repeat_interleave(
        channels, 1
    )


def _gated(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    first, last = of(bound["self"])
    dim = bound.get("dim", -1)
    return torch.minimum(*first.chunk(2, dim)), torch.maximum(*last.chunk(2, dim))


def _product(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> Span:
    """Matrix products, with or without something added; all that is summed over is seen."""
    left, right = list(bound.values())[:2]
    added = []
    if len([value for value in bound.values() if isinstance(value, Tensor)]) == 3:
        added.append(_expanded(of(left), out))
        left, right = list(bound.values())[1:3]
    rows = _hull(of(left), -1)
    if right.dim() == 1:
        rows = rows[0].squeeze(-1), rows[1].squeeze(-1)
    columns = _hull(of(right), -min(2, right.dim()))
    return _union(_expanded(rows, out), _expanded(columns, out), *added)


def _convolved(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> Span:
    """Convolution over the last dimension: the union over taps, and over a group's channels."""
    weight = bound["weight"]
    if bound["transposed"] or weight.dim() != 3:
        raise Unsupported("the field cannot be derived through a convolution other than Conv1d")
    (stride,), (padding,), (dilation,) = bound["stride"], bound["padding"], bound["dilation"]
    groups, kernel = bound["groups"], weight.shape[-1]
    ends = []
    for end, least in zip(of(bound["input"]), (torch.amin, torch.amax), strict=True):
        grouped = _extended(end, padding, padding).unflatten(-2, (groups, -1))
        taps = [
            grouped[..., tap * dilation :: stride][..., : out.shape[-1]] for tap in range(kernel)
        ]
        seen = least(torch.stack(taps), dim=(0, -2))
        ends.append(seen.repeat_interleave(weight.shape[0] // groups, dim=-2))
    return ends[0], ends[1]


def _padded(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    """Padding stands for steps outside the sequence, whatever it is filled with."""
    span = of(bound["self"])
    sides = bound.get("pad") or bound["padding"]
    for dim, left, right in zip(range(-1, -4, -1), sides[::2], sides[1::2], strict=False):
        first, last = (_extended(end.movedim(dim, -1), left, right) for end in span)
        span = first.movedim(-1, dim), last.movedim(-1, dim)
    return span


def _extended(end: Tensor, left: int, right: int) -> Tensor:
    """Go on in both directions of the last dimension, by the step there is at each edge.

    Features have no such step, and their padding sees what its neighbour sees; cutting is negative
    padding.
    """
    size = end.shape[-1]
    end = end[..., max(0, -left) : size - max(0, -right)]
    one = min(1, size - 1)
    step_left = (end[..., one : one + 1] - end[..., :1]).nan_to_num(0)
    step_right = (end[..., -1:] - end[..., -1 - one : end.shape[-1] - one]).nan_to_num(0)
    before = end[..., :1] - step_left * torch.arange(max(0, left), 0, -1)
    after = end[..., -1:] + step_right * torch.arange(1, max(0, right) + 1)
    return torch.cat([before, end, after], -1)


# fmt: off
_MOVES = frozenset({
    "alias", "cat", "detach", "diagonal", "expand", "flip", "gather", "index", "index_select",
    "permute", "repeat", "roll", "select", "slice", "split", "split_with_sizes", "squeeze", "stack",
    "t", "transpose", "unbind", "unfold", "unsafe_split", "unsafe_split_with_sizes", "unsqueeze",
    "view", "_reshape_alias", "_unsafe_view",
})
_POINTWISE = frozenset({
    "_to_copy", "_prelu_kernel", "copy_", "hardswish", "hardswish_", "native_batch_norm",
})
#: What these return does not depend on the values of what it is made like, or written over.
_FRESH = frozenset({
    "empty_like", "fill_", "full_like", "new_empty", "new_full", "new_ones", "new_zeros",
    "ones_like", "rand_like", "randn_like", "zero_", "zeros_like",
})
# fmt: on
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("mean", "sum", "prod", "amax", "amin", "var", "std", "logsumexp"), _reduced),
    **dict.fromkeys(("_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp"), _scanned),
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv"), _product),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad1d", "replication_pad1d"), _padded),
    "convolution": _convolved,
    "glu": _gated,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
}
