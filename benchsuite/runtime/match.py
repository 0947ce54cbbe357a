"""Fairness: the width at which a model has as many parameters, or FLOPs, as torch's LSTM.

`match=width` gives every model the case's hidden size. `params` and `flops` solve the model's own
width so that the matched quantity comes as near as whole numbers allow to that of
`torch.nn.LSTM` (all other sizes equal) at the case's hidden size; the deviation is recorded.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from benchsuite.errors import Unsupported
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import Case
from benchsuite.runtime import count
from benchsuite.runtime.build import Sizes, build_on_meta

REFERENCE = "lstm"


@functools.lru_cache(maxsize=4096)
def solve(
    model: str, sizes: Sizes, match: str, reference_layers: int | None = None
) -> tuple[int, float]:
    """The width for a model, and by what fraction the matched quantity misses its target.

    Args:
        model: Its name.
        sizes: All of its sizes but the width, which is the reference's.
        match: What is held equal.
        reference_layers: Layers of the reference, where they are not the model's own.

    Raises:
        Unsupported: if no width comes within 50 % of the target.
    """
    if match == "width" or model == REFERENCE:
        return sizes.hidden_size, 0.0
    quantity = _parameters if match == "params" else count.flops_per_timestep

    def at(width: int) -> int:
        return quantity(model, dataclasses.replace(sizes, hidden_size=width))

    layers = reference_layers or sizes.num_layers
    target = quantity(REFERENCE, dataclasses.replace(sizes, num_layers=layers))
    width = _nearest(at, target)
    deviation = at(width) / target - 1
    if abs(deviation) > 0.5:
        raise Unsupported(
            f"no width of {model} comes near {target:,} {match}: {width} gives {at(width):,}"
        )
    return width, deviation


def matched(case: Case) -> tuple[Sizes, float]:
    """The sizes to build a case with, and the deviation of its match."""
    sizes = Sizes.of(case)
    width, deviation = solve(case.model, sizes, case.match)
    return dataclasses.replace(sizes, hidden_size=width), deviation


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
