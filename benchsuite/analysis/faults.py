"""The share of page faults in a model's time, where the records have it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchsuite.allocator import NOTABLE, fault_share, fault_words


def fault_note(rows: pd.DataFrame, point: tuple[float, ...], axes: tuple[str, ...]) -> str:
    """A sentence on page faults where they are a notable share of a step near a point.

    Args:
        rows: Latencies of one model.
        point: Values of the axes.
        axes: Their names; the cell that is nearest by ratios counts.

    Returns:
        A sentence without its full stop, or an empty string.
    """
    known = rows.dropna(subset=["page_faults", "fault_time"])
    if not len(known):
        return ""
    apart = np.abs(np.log(known[list(axes)].to_numpy(float) / point)).sum(axis=1)
    cell = known.iloc[int(np.argmin(apart))]
    faults = float(cell["page_faults"])
    share = fault_share(faults, float(cell["fault_time"]), float(cell["value"]))
    return fault_words(share, faults) if share >= NOTABLE else ""
