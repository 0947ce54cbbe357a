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
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from benchsuite.errors import Unsupported
from benchsuite.field.formula import NOTHING, UNBOUNDED, Field, Steps
from benchsuite.field.spans import RULES, Span, expanded, nothing, sees, union
from benchsuite.field.subject import run, subject

#: Below this length a growing field cannot be distinguished from a bounded one.
_SHORTEST = 4
#: A field is unbounded if only outputs past this part of the sequence have it whole.
UNBOUNDED_FROM = 0.75

# fmt: off
_MOVES = frozenset({
    "alias", "cat", "detach", "diagonal", "expand", "flip", "gather", "index", "index_select",
    "permute", "repeat", "roll", "select", "slice", "split", "split_with_sizes", "squeeze", "stack",
    "t", "transpose", "unbind", "unfold", "unsafe_split", "unsafe_split_with_sizes", "unsqueeze",
    "view", "_reshape_alias", "_unsafe_view",
})
_POINTWISE = frozenset({
    "_to_copy", "_prelu_kernel", "complex", "copy_", "hardswish", "hardswish_",
    "log_sigmoid_forward",
})
#: What these return does not depend on the values of what it is made like, or written over.
_FRESH = frozenset({
    "empty_like", "fill_", "full_like", "new_empty", "new_full", "new_ones", "new_zeros",
    "ones_like", "rand_like", "randn_like", "zero_", "zeros_like",
})
# fmt: on

_UNSEEN = nothing(torch.empty(()))


def traced_field(module: nn.Module, input_size: int, length: int = 64) -> Field:
    """The receptive field of a module over (batch, time, features), derived from its operations.

    Args:
        module: The module; it is copied, and run once with a batch of one.
        input_size: Features of the input.
        length: Timesteps of that run. A Python loop that looks back over three quarters of them or
            more is reported as unbounded.

    Returns:
        The least interval of lags that holds those of all paths; unbounded for a recurrence and
        any other module that sees the whole sequence.

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
        return expanded(_UNSEEN, tensor) if found is None else found

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
        for tensor, span in zip(results, self._spans_of(func, args, kwargs, results), strict=True):
            held = self._spans.get(tensor)
            if held is not None and held[0] is not span[0]:  # in place; views share their spans
                held[0].copy_(span[0])
                held[1].copy_(span[1])
            elif held is None and sees(span) and any(tensor is other for other in given):
                raise _underivable(func, "it writes into a tensor made before")
            elif held is None:
                self._spans[tensor] = span
        return result

    def _spans_of(self, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Span]:
        """The spans of an operation's results."""
        try:
            return self._rule(func, args, kwargs, results)
        except Unsupported:
            raise
        except Exception as error:  # a use of the operation that its rule does not foresee
            raise _underivable(func, f"{type(error).__name__}: {error}") from error

    def _rule(self, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> list[Span]:
        name = func.overloadpacket.__name__
        if args and name.rstrip("_") in _MOVES:
            if any(sees(self.of(tensor)) for tensor in _tensors(args[1:])):
                raise _underivable(func, "what it picks depends on the input's values")
            return self._moved(func, args, kwargs)
        sources = args[1:] if name == "copy_" else args
        known = map(self._spans.get, _tensors(sources))
        seen = [span for span in known if span is not None and sees(span)]
        if name in _FRESH or not seen:
            return [nothing(tensor) for tensor in results]
        if torch.Tag.pointwise in func.tags or name in _POINTWISE:
            span = union(*(expanded(span, results[0]) for span in seen))
        elif name in RULES:
            names = (argument.name for argument in func._schema.arguments)
            bound = dict(zip(names, args, strict=False)) | kwargs
            found = RULES[name](self.of, bound, results[0])
            known_spans = found if isinstance(found, list) else [found]
            spans = [union(expanded(s, r)) for s, r in zip(known_spans, results, strict=False)]
            return [*spans, *(nothing(tensor) for tensor in results[len(spans) :])]
        elif name.startswith("_fft_"):
            why = "each of its outputs holds all timesteps, kept apart by sums that cancel"
            raise _underivable(func, why)
        else:
            raise _underivable(func, "what its outputs see is not known here")
        return [span, *(nothing(tensor) for tensor in results[1:])]

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


def _underivable(func: Any, why: str) -> Unsupported:
    return Unsupported(f"the field cannot be derived through {func}: {why}")
