"""Exact counts, taken on the meta device: no memory, no data, no kernel that hides its work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.runtime.build import SequenceModel, Sizes, build_on_meta
from benchsuite.runtime.flop_rules import RULES


def parameters(module: torch.nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


#: Lengths counted instead of a long one; the third tests what the first two predict.
SHORT = (3, 4, 33)
#: Lengths just above powers of two, where work in blocks of up to 128 timesteps leaves the line.
_MIDDLE = (65, 129)
#: Most torch operations of a count that only confirms a prediction: one to two seconds. A number of
#: operations, not of seconds, so that all machines decide alike.
AFFORDABLE = 5000


@dataclass(frozen=True, slots=True)
class Count:
    """Floating-point operations of one step.

    Attributes:
        total: 1 MAC = 2 FLOP; elementwise work is not counted, Fourier transforms are
            (`flop_rules`).
        extrapolated: Whether they were predicted from shorter sequences; if not, they were counted
            at the very length.
        short: What the shortest sequences predict for this length, where that is a line.
    """

    total: int
    extrapolated: bool = False
    short: int | None = None


def flops(
    model: str,
    sizes: Sizes,
    *,
    batch_size: int,
    train: bool,
    iterations: Sequence[tuple[int, int]] = (),
) -> Count:
    """Floating-point operations of one step; 1 MAC = 2 FLOP, elementwise work is not counted.

    Fourier transforms and grouped convolutions are counted by the rules of `flop_rules`.

    `torch.nn.LSTM` runs as one opaque kernel on CPU and CUDA, which the counter sees as nothing; on
    the meta device it falls apart into its matrix products: 2·g·H·(I+H)·T·B forward, g = 4 for an
    LSTM, 3 for a GRU.

    Unrolled models take milliseconds a timestep to count, so a sequence is counted at its own
    length only where that takes at most `AFFORDABLE` torch operations. A longer one is counted at
    3 and 4 timesteps, and where the line through both predicts the counts at 33 exactly, and those
    at 65 and 129 as far as they are affordable, it is extrapolated to `seq_len`. Off the line,
    `seq_len` itself is counted, however long that takes.

    Args:
        model: A model's name.
        sizes: Sizes to build it with; `sizes.seq_len` timesteps are counted.
        batch_size: Sequences in the batch.
        train: Count the backward pass too.
        iterations: Of a model that iterates: how often each layer and direction does so, forward
            and backward. Without them it is counted for `newton.Iterations.assumed`.
    """
    module = build_on_meta(model, sizes)
    for own, taken in zip(iterations_of(module), iterations, strict=False):
        own.assumed = taken

    def count(seq_len: int, most: int | None = None) -> tuple[int, int]:
        return _count(module, sizes.input_size, batch_size, seq_len, train=train, most=most)

    if sizes.seq_len <= max(SHORT):
        return Count(count(sizes.seq_len)[0])
    counts = {length: count(length) for length in SHORT}
    line, operations = (
        {length: found[part] for length, found in counts.items()} for part in (0, 1)
    )
    if not _predicts(line, max(SHORT)):
        return Count(count(sizes.seq_len)[0])
    short = _predicted(line, sizes.seq_len)
    for length in (sizes.seq_len, *(middle for middle in _MIDDLE if middle < sizes.seq_len)):
        if _predicted(operations, length) > AFFORDABLE:
            continue
        try:
            line[length] = count(length, AFFORDABLE)[0]
        except _TooLong:
            continue
        if length == sizes.seq_len:
            return Count(line[length], short=short)
        if not _predicts(line, length):
            return Count(count(sizes.seq_len)[0], short=short)
    return Count(short, extrapolated=True, short=short)


def _predicted(counts: Mapping[int, int], length: int) -> int:
    """The line through the counts at the first two lengths, at another length."""
    first, second, _ = SHORT
    return counts[first] + (counts[second] - counts[first]) // (second - first) * (length - first)


def _predicts(counts: Mapping[int, int], length: int) -> bool:
    return _predicted(counts, length) == counts[length]


def flops_of_short(model: str, sizes: Sizes) -> int:
    """Forward operations of one sequence of `seq_len` by the line through 3 and 4 timesteps.

    It takes a few operations at any length, and no other count confirms it; see `flops`.
    """
    module = build_on_meta(model, sizes)
    counts = {
        length: _count(module, sizes.input_size, 1, length, train=False)[0] for length in SHORT[:2]
    }
    return _predicted(counts, sizes.seq_len)


def iterations_of(module: torch.nn.Module) -> list[Any]:
    """`models.newton.Iterations` of all parts that iterate: those with a tuple `iterations`."""
    tuples = (getattr(part, "iterations", None) for part in module.modules())
    parts = [own for found in tuples if isinstance(found, tuple) for own in found]
    return [own for own in parts if hasattr(own, "assumed")]  # others' may be anything


class _TooLong(Exception):  # noqa: N818 - no error: the count is given up
    """More operations than are affordable."""


class _Operations(TorchDispatchMode):
    """Counts torch operations, and gives up after a number of them."""

    def __init__(self, most: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most, self.seen = most, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        if self.most is not None and self.seen > self.most:
            raise _TooLong
        return func(*args, **(kwargs or {}))


def _count(
    module: SequenceModel,
    input_size: int,
    batch_size: int,
    seq_len: int,
    *,
    train: bool,
    most: int | None = None,
) -> tuple[int, int]:
    """Floating-point operations, and torch operations run to count them.

    Raises:
        _TooLong: if these are more than `most`.
    """
    x_BTF = torch.empty(batch_size, seq_len, input_size, device="meta")
    module.train(train)
    counter = FlopCounterMode(display=False, custom_mapping=dict(RULES))
    with counter, _Operations(most) as operations, torch.set_grad_enabled(train):
        output = module(x_BTF)
        if train:
            output.square().mean().backward()
    return int(counter.get_total_flops()), operations.seen
