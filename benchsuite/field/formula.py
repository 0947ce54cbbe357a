"""The receptive field by formula: the recurrence over layers of Araujo, Norris & Sim 2019.

"Computing receptive fields of convolutional neural networks", Distill, doi 10.23915/distill.00021:
r_0 = 1 + Σ_l (k_l - 1) Π_{i<l} s_i (equation 2), where a dilation d replaces k by d(k-1)+1, and
several paths give the union of their fields (section "Arbitrary computation graphs"). Written here
for the two ends of the interval of lags, so that what is past and what is future stay apart.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchsuite.errors import UsageError


class Unbounded(enum.Enum):
    """The reach of a recurrence, which no number of steps is."""

    UNBOUNDED = "unbounded"

    def __str__(self) -> str:
        return self.value


UNBOUNDED = Unbounded.UNBOUNDED
Steps = int | Unbounded


@dataclass(frozen=True, slots=True)
class Field:
    """The lags that an output may depend on: all k with `nearest` <= k <= `farthest`, at most.

    Attributes:
        nearest: Least lag in steps; below zero, or unbounded, for a model that sees the future.
        farthest: Greatest lag in steps.
    """

    nearest: Steps
    farthest: Steps

    @property
    def size(self) -> Steps:
        """Steps from the first to the last lag, both counted; 0 where nothing is seen."""
        if isinstance(self.nearest, int) and isinstance(self.farthest, int):
            return self.farthest - self.nearest + 1
        return UNBOUNDED

    @property
    def causal(self) -> bool:
        """Whether nothing of the future is seen."""
        return isinstance(self.nearest, int) and self.nearest >= 0

    def __contains__(self, lag: int) -> bool:
        return (isinstance(self.nearest, Unbounded) or self.nearest <= lag) and (
            isinstance(self.farthest, Unbounded) or lag <= self.farthest
        )


#: Of a model that does not look at its input.
NOTHING = Field(0, -1)


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution or a pooling over time, with the names of `torch.nn.Conv1d`.

    Padding on the right changes the length of the output, not what one step of it sees, and so is
    not asked for.

    Attributes:
        kernel_size: Taps k.
        stride: Input steps s from one output to the next.
        dilation: Input steps d from one tap to the next.
        left: Steps padded before the first input; d(k-1) in a causal layer.

    Raises:
        UsageError: on construction, for a size that no layer has.
    """

    kernel_size: int
    stride: int = 1
    dilation: int = 1
    left: int = 0

    def __post_init__(self) -> None:
        for name, least in (("kernel_size", 1), ("stride", 1), ("dilation", 1), ("left", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise UsageError(f"{name} = {value!r} is not allowed; whole numbers from {least}")


@dataclass(frozen=True, slots=True)
class Branches:
    """Paths side by side whose outputs are added or concatenated; an empty path is a plain skip."""

    paths: Sequence[Network]


Network = Sequence["Layer | Branches"]


def receptive_field(network: Network) -> Field:
    """The field of layers in their order, from input to output.

    With strides it is that of output 0, whose lags are counted from input 0; its size is that of
    every output.

    Args:
        network: Layers, and branches of layers.

    Raises:
        UsageError: if branches that meet have different strides.
    """
    nearest, farthest, _ = _follow(network)
    return Field(nearest, farthest)


def _follow(network: Iterable[Layer | Branches]) -> tuple[int, int, int]:
    """Least lag, greatest lag and stride of a network, in steps of its input."""
    nearest, farthest, jump = 0, 0, 1
    for part in network:
        if isinstance(part, Layer):
            last = part.left  # the first tap looks back furthest
            first = last - part.dilation * (part.kernel_size - 1)
            stride = part.stride
        else:
            first, last, stride = _unite(part)
        nearest, farthest, jump = nearest + jump * first, farthest + jump * last, jump * stride
    return nearest, farthest, jump


def _unite(branches: Branches) -> tuple[int, int, int]:
    firsts, lasts, strides = zip(*map(_follow, branches.paths), strict=True)
    if len(set(strides)) > 1:
        raise UsageError(
            f"paths of strides {', '.join(map(str, strides))} cannot be combined;"
            " use one stride for all"
        )
    return min(firsts), max(lasts), strides[0]
