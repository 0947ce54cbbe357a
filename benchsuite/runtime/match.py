"""Fairness: the width at which a model has as many parameters, or FLOPs, as torch's LSTM.

`match=width` gives every model the case's hidden size. `params` and `flops` solve the model's own
width so that the matched quantity comes as near as whole numbers allow to that of
`torch.nn.LSTM` (all other sizes equal) at the case's hidden size; the deviation is recorded.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

from benchsuite.errors import Unsupported
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import Case
from benchsuite.runtime import count
from benchsuite.runtime.build import Sizes, build_on_meta

REFERENCE = "lstm"


@dataclass(frozen=True, slots=True)
class Match:
    """A model's width.

    Attributes:
        width: Hidden units or channels.
        deviation: By what fraction the matched quantity misses its target.
        extrapolated: Whether the FLOPs that were matched are known from shorter sequences only.
    """

    width: int
    deviation: float
    extrapolated: bool = False


@functools.lru_cache(maxsize=4096)
def solve(model: str, sizes: Sizes, match: str, reference_layers: int | None = None) -> Match:
    """The width for a model at which the matched quantity is nearest to the reference's.

    FLOPs are those of a forward pass over `sizes.seq_len` timesteps. They are searched by the line
    through short sequences; where `count.flops` does not confirm it at the width found, the search
    is done again with full counts.

    Args:
        model: Its name.
        sizes: All of its sizes but the width, which is the reference's.
        match: What is held equal.
        reference_layers: Layers of the reference, where they are not the model's.

    Raises:
        Unsupported: if no width comes within 50 % of the target.
    """
    if match == "width" or model == REFERENCE:
        return Match(sizes.hidden_size, 0.0)
    quantity = _parameters if match == "params" else count.flops_of_short

    def at(width: int) -> int:
        return quantity(model, dataclasses.replace(sizes, hidden_size=width))

    layers = reference_layers or sizes.num_layers
    target = quantity(REFERENCE, dataclasses.replace(sizes, num_layers=layers))
    width = _nearest(at, target)
    reached, extrapolated = at(width), False
    if match == "flops":
        counted = _flops(model, dataclasses.replace(sizes, hidden_size=width))
        if counted.total != reached:

            def at_length(width: int) -> int:
                return _flops(model, dataclasses.replace(sizes, hidden_size=width)).total

            width = _nearest(at_length, target)
            counted = _flops(model, dataclasses.replace(sizes, hidden_size=width))
        reached, extrapolated = counted.total, counted.extrapolated
    deviation = reached / target - 1
    if abs(deviation) > 0.5:
        raise Unsupported(
            f"no width of {model} comes near {target:,} {match}: {width} gives {reached:,}"
        )
    return Match(width, deviation, extrapolated)


def matched(case: Case) -> tuple[Sizes, Match]:
    """The sizes to build a case with, and how they match."""
    sizes = Sizes.of(case)
    match = solve(case.model, sizes, case.match)
    return dataclasses.replace(sizes, hidden_size=match.width), match


@functools.lru_cache(maxsize=256)
def _flops(model: str, sizes: Sizes) -> count.Count:
    return count.flops(model, sizes, batch_size=1, train=False)


def _parameters(model: str, sizes: Sizes) -> int:
    return count.parameters(build_on_meta(model, sizes))


def _nearest(at: Callable[[int], int], target: int) -> int:
    """The width whose quantity, which grows with it, is nearest to the target."""
    limit = AXES["hidden_size"].high
    assert limit is not None
    low, high = 1, 2  # at(low) <= target < at(high), as far as the axis goes
    while high < limit and at(high) <= target:
        low, high = high, min(2 * high, limit)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle) <= target else (low, middle)
    return min((low, high), key=lambda width: abs(at(width) - target))
