"""Spans: which input steps each element of a tensor may depend on, and how operations combine them.

A span is two tensors of the shape of the one it belongs to, the first and the last step of every
element; (inf, -inf) for an element that depends on no step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchsuite.errors import Unsupported

Span = tuple[Tensor, Tensor]


def nothing(tensor: Tensor) -> Span:
    """The span of a tensor that depends on no input."""
    first = torch.full(tensor.shape, math.inf, dtype=torch.float64)
    return first, -first


def sees(span: Span) -> bool:
    """Whether any element depends on any input."""
    return bool(span[0].numel()) and span[0].min().item() < math.inf


def expanded(span: Span, like: Tensor) -> Span:
    """Broadcast to the shape of another tensor."""
    if span[0].shape == like.shape:
        return span
    return span[0].expand(like.shape), span[1].expand(like.shape)


def union(*spans: Span) -> Span:
    """The union, element by element, in new memory."""
    firsts, lasts = zip(*spans, strict=True)
    return (
        functools.reduce(torch.minimum, firsts).clone(memory_format=torch.contiguous_format),
        functools.reduce(torch.maximum, lasts).clone(memory_format=torch.contiguous_format),
    )


def hull(span: Span, dims: Any) -> Span:
    """Over these dimensions, which are kept with size one."""
    return span[0].amin(dims, keepdim=True), span[1].amax(dims, keepdim=True)


#: What a rule is given: the span of a tensor, the operation's arguments by name, and its result; it
#: returns the span of that first result, or those of all results as a list.
Rule = Callable[[Callable[[Tensor], Span], dict[str, Any], Tensor], Span | list[Span]]


def _reduced(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> Span:
    first, last = hull(of(bound["self"]), bound.get("dim") or ())
    return first.reshape(out.shape), last.reshape(out.shape)


def _softmax(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    return hull(of(bound["self"]), bound["dim"])


def _scanned(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    first, last = of(bound["self"])
    return first.cummin(bound["dim"]).values, last.cummax(bound["dim"]).values


def _recurred(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> Span:
    """Outputs (B, T, ·) of all inputs (B, T, ·) up to their timestep, and of a state h0 (B, …)."""
    parts = []
    for name, value in bound.items():
        if isinstance(value, Tensor) and sees(of(value)):
            first, last = hull(of(value), tuple(range(1 if name == "h0" else 2, value.dim())))
            shape = (len(out), -1, 1)
            parts.append(expanded((first.reshape(shape), last.reshape(shape)), out))
    first, last = union(*parts)
    return first.cummin(1).values, last.cummax(1).values


def _layer(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> list[Span]:
    """h (T, B, H) of a recurrent layer, and its last states, of the inputs up to there."""
    states = [bound[name] for name in ("h", "c") if name in bound]
    seen = [hull(of(bound["x"]), -1), *(hull(of(state), -1) for state in states)]
    first, last = union(*(expanded(span, out[..., :1]) for span in seen))
    ends = []
    for end, scan in ((first, torch.cummin), (last, torch.cummax)):
        ordered = end.flip(0) if bound["reverse"] else end
        scanned = scan(ordered, 0).values
        ends.append(scanned.flip(0) if bound["reverse"] else scanned)
    final = 0 if bound["reverse"] else -1
    output = expanded((ends[0], ends[1]), out)
    return [output, *((output[0][final], output[1][final]) for _ in states)]


def _paired(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    """A complex number of its two parts."""
    first, last = hull(of(bound["self"]), -1)
    return first.squeeze(-1), last.squeeze(-1)


def _unpaired(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> Span:
    """The two parts of a complex number."""
    first, last = of(bound["self"])
    return first.unsqueeze(-1).expand(out.shape), last.unsqueeze(-1).expand(out.shape)


def _layer_norm(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    return hull(of(bound["input"]), tuple(range(-len(bound["normalized_shape"]), 0)))


def _group_norm(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    grouped = (end.unflatten(1, (bound["group"], -1)) for end in of(bound["input"]))
    first, last = hull(tuple(grouped), tuple(range(2, bound["input"].dim() + 1)))
    channels = bound["input"].shape[1] // bound["group"]
    return first.squeeze(2).repeat_interleave(channels, 1), last.squeeze(2).repeat_interleave(
        channels, 1
    )


def _batch_norm(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    """Without running statistics, as in an InstanceNorm, over all but the channels."""
    span = of(bound["input"])
    if not bound["training"]:
        return span
    return hull(span, (0, *range(2, bound["input"].dim())))


def _gated(of: Callable[[Tensor], Span], bound: dict[str, Any], _: Tensor) -> Span:
    first, last = of(bound["self"])
    dim = bound.get("dim", -1)
    return torch.minimum(*first.chunk(2, dim)), torch.maximum(*last.chunk(2, dim))


def _product(of: Callable[[Tensor], Span], bound: dict[str, Any], out: Tensor) -> Span:
    """Matrix products, with or without something added; all that is summed over is seen."""
    left, right = list(bound.values())[:2]
    added = []
    if len([value for value in bound.values() if isinstance(value, Tensor)]) == 3:
        added.append(expanded(of(left), out))
        left, right = list(bound.values())[1:3]
    rows = hull(of(left), -1)
    if right.dim() == 1:
        rows = rows[0].squeeze(-1), rows[1].squeeze(-1)
    columns = hull(of(right), -min(2, right.dim()))
    return union(expanded(rows, out), expanded(columns, out), *added)


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
    """Padding stands for steps outside the sequence, independent of its values."""
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


RULES: dict[str, Rule] = {
    **dict.fromkeys(("mean", "sum", "prod", "amax", "amin", "var", "std", "logsumexp"), _reduced),
    **dict.fromkeys(("_softmax", "_log_softmax"), _softmax),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp"), _scanned),
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "addmm", "baddbmm", "addmv"), _product),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad1d", "replication_pad1d"), _padded),
    "convolution": _convolved,
    "glu": _gated,
    **dict.fromkeys(("linear_scan", "linear_scan_", "minimal", "s4d", "selective"), _recurred),
    **dict.fromkeys(("lstm", "gru"), _layer),
    "view_as_complex": _paired,
    "view_as_real": _unpaired,
    "native_batch_norm": _batch_norm,
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
}
