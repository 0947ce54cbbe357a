"""Statistics derived from raw samples, which are stored; statistics are computed on loading."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: IQR/median above which a timing is called unstable (the limit of torch.utils.benchmark).
UNSTABLE_SPREAD = 0.10
#: Fewest samples whose range covers the median with 95 % probability.
INTERVAL_SAMPLES = 6


@dataclass(frozen=True, slots=True)
class Summary:
    """Median, its confidence interval and the quartiles of one set of samples."""

    median: float
    ci_low: float
    ci_high: float
    q25: float
    q75: float
    n: int

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        return (self.q75 - self.q25) / self.median if self.median else 0.0


def summarise(samples: Sequence[float]) -> Summary:
    """Summarise samples by their median with a 95 % interval, and quartiles.

    The interval is the distribution-free one from order statistics (Conover, Practical
    Nonparametric Statistics, section 3.2); with fewer than six samples it is the whole range,
    which then covers less than 95 %.

    Args:
        samples: At least one finite number, in any order.

    Raises:
        ValueError: if there are no samples.
    """
    if not samples:
        raise ValueError("no samples to summarise")
    return _summary(sorted(samples))


def summarise_columns(samples: np.ndarray) -> Summary:
    """Summarise many sets of equally many samples at once.

    Args:
        samples: One set per column, (samples, sets); at least one sample.

    Returns:
        A summary whose attributes are arrays of shape (sets), except `n`.
    """
    ordered = samples.copy()
    ordered.sort(axis=0)
    return _summary(ordered)


def quantile_of(samples: np.ndarray, share: float) -> np.ndarray:
    """The smallest sample of each set that `share` of its samples do not exceed.

    Args:
        samples: One set per row, (sets, samples).
        share: From above 0 to 1, where it is the largest.

    Returns:
        One number per set; NaN where fewer than one sample can be expected beyond the quantile.
    """
    import numpy as np

    count = samples.shape[1]
    if share < 1 and count * (1 - share) < 1 - 1e-9:
        return np.full(len(samples), np.nan)
    rank = min(math.ceil(share * count), count) - 1
    found: np.ndarray = np.partition(samples, rank, axis=1)[:, rank]
    return found


def stacked(rows: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Group sequences by their length, each group as one matrix to compute with at once.

    Args:
        rows: Sequences of numbers, or Arrow lists or a pandas column of them; empty ones are left
            out.

    Yields:
        (indices of the rows of a group, the rows), of shapes (n,) and (n, numbers).
    """
    import numpy as np

    array = getattr(rows, "array", rows)
    if hasattr(array, "__arrow_array__"):
        array = array.__arrow_array__()
    if hasattr(array, "__arrow_c_array__") or hasattr(array, "__arrow_c_stream__"):
        yield from _stacked_arrow(array)
        return
    lengths = np.fromiter(map(len, rows), int, len(rows))
    for places in _by_length(lengths):
        yield places, np.array([rows[place] for place in places])


def _by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Places of equal lengths; those of length zero are left out."""
    import numpy as np

    order = np.argsort(lengths, kind="stable")
    first = np.flatnonzero(np.diff(lengths[order], prepend=0))
    return np.split(order, first)[1:]


def _stacked_arrow(lists: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`stacked` of an Arrow array of lists of floats; missing lists count as empty."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks()
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    numbers = lists.flatten().to_numpy()
    starts = np.cumsum(lengths) - lengths
    for places in _by_length(lengths):
        yield places, numbers[starts[places, None] + np.arange(lengths[places[0]])]


def _summary(ordered: Any) -> Summary:
    """Summary of sorted numbers, or of arrays of numbers sorted along the first axis."""
    n = len(ordered)
    low, high = _median_ranks(n)
    return Summary(
        median=_quantile(ordered, 0.5),
        ci_low=ordered[low],
        ci_high=ordered[high],
        q25=_quantile(ordered, 0.25),
        q75=_quantile(ordered, 0.75),
        n=n,
    )


def _quantile(ordered: Any, q: float) -> Any:
    """Linear interpolation between order statistics (numpy's default)."""
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


@cache
def _median_ranks(n: int) -> tuple[int, int]:
    """Zero-based ranks (j, n-1-j) whose order statistics cover the median with at least 95 %."""
    if n > 1000:  # the normal approximation is exact to the rank here
        rank = max(0, math.floor(n / 2 - 1.959964 * math.sqrt(n) / 2) - 1)
        return rank, n - 1 - rank
    tail, rank, weight = 0.0, 0, 0.5**n
    # P(fewer than rank+1 samples below the median) = sum_{k<=rank} C(n, k) / 2^n
    for k in range(n // 2):
        tail += weight
        if tail > 0.025:
            break
        rank = k
        weight *= (n - k) / (k + 1)
    return rank, n - 1 - rank
