"""Lines of memory over sequence length: bytes per timestep, and the longest sequence that fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.noise import Floats
from benchsuite.analysis.select import LINE, measured, only, without_repeats

#: Relative deviation up to which values count as linear. The heap's peak includes tables that grow
#: by doubling; deviations seen so far are below 0.5 %.
_NEARLY = 0.01


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """`bytes = base + slope · T`.

    Attributes:
        slope: Bytes per timestep: of the two longest lengths, or of the line through all lengths
            where they are `linear` and not `exact`.
        low: The smallest slope between neighbouring lengths; equal to `slope` where `exact`.
        high: The largest.
        base: Bytes at T = 0 of that line.
        exact: Whether three lengths or more lie exactly on the line.
        linear: Whether three lengths or more lie within 1 % of the line.
        longest: The largest T measured.
        n: Number of lengths.
    """

    slope: float
    low: float
    high: float
    base: float
    exact: bool
    linear: bool
    longest: int
    n: int

    def largest_seq_len(self, memory: float) -> int | None:
        """The longest sequence that fits into `memory` bytes; None where every length does.

        Parameters and input are not part of `peak_memory`; subtract them first. Beyond `longest`
        the line is extended, with its steepest slope where the values are not linear. The result is
        then too short if growth slows down, and too long if it speeds up beyond the last length.
        """
        at_longest = self.base + self.slope * self.longest
        if self.linear or memory <= at_longest:
            slope, base = self.slope, self.base
        else:
            slope, base = self.high, at_longest - self.high * self.longest
        if slope <= 0:
            return None if memory >= base else 0
        return max(0, math.floor((memory - base) / slope))


def fit_memory(seq_len: Floats, value: Floats) -> MemoryLine | None:
    """The line of one model's memory; None with fewer than two lengths.

    Memory is counted, not sampled: tensors exactly, the heap to within a few tenths of a per cent.
    Larger deviations mean that memory is not linear in T (a deeper network for a longer sequence, a
    workspace that appears). The interval is therefore the range of slopes, not a confidence
    interval.

    Args:
        seq_len: Timesteps, distinct.
        value: Bytes at those lengths.
    """
    if len(seq_len) < 2:
        return None
    order = np.argsort(seq_len)
    T, size = seq_len[order], value[order]
    slopes = np.diff(size) / np.diff(T)
    slope = float(slopes[-1])
    base = float(size[-1] - slope * T[-1])
    # Values are whole bytes, so the smallest deviation is far above rounding errors.
    exact = linear = len(T) > 2 and float(np.ptp(slopes)) * float(T[-1]) < 0.5
    if len(T) > 2 and not exact:
        through_all = np.linalg.lstsq(np.stack([1 / size, T / size], 1), np.ones(len(T)))[0]
        linear = bool((np.abs(through_all @ [np.ones(len(T)), T] / size - 1) <= _NEARLY).all())
        base, slope = through_all.tolist() if linear else (base, slope)
    return MemoryLine(
        slope=slope,
        low=float(slopes.min()),
        high=float(slopes.max()),
        base=base,
        exact=exact,
        linear=linear,
        longest=int(T[-1]),
        n=len(T),
    )


def memory_lines(
    frame: pd.DataFrame, measure: str = "peak_memory", *, memory: float | None = None
) -> pd.DataFrame:
    """Bytes per timestep of every line.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: `peak_memory` or another measure in bytes.
        memory: Bytes; adds the column `largest_seq_len`, empty where every length fits.

    Returns:
        A frame with the columns of `LINE`, `model, slope, low, high, base, exact, linear,
        longest, n`.
    """
    keys = [*LINE, "model"]
    rows = measured(only(frame, (*keys, "seq_len", "measure", "status", "value")), measure)
    rows = without_repeats(rows, [*keys, "seq_len"])
    T, value = rows["seq_len"].to_numpy(float), rows["value"].to_numpy(float)
    found = []
    lines: dict[Any, Any] = rows.groupby(keys, sort=False).indices
    for key, line in lines.items():
        fit = fit_memory(T[line], value[line])
        if fit is None:
            continue
        row = {**dict(zip(keys, key, strict=True)), **_columns(fit)}
        if memory is not None:
            row["largest_seq_len"] = fit.largest_seq_len(memory)
        found.append(row)
    extra = [] if memory is None else ["largest_seq_len"]
    table = pd.DataFrame(found, columns=[*keys, *_COLUMNS, *extra])
    return table if memory is None else table.astype({"largest_seq_len": "Int64"})


_COLUMNS = ("slope", "low", "high", "base", "exact", "linear", "longest", "n")


def _columns(fit: MemoryLine) -> dict[str, object]:
    return {name: getattr(fit, name) for name in _COLUMNS}
