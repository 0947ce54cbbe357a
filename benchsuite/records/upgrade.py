"""Records of earlier schemas, as the present one has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from benchsuite.records.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

_LOOP = "Python loop"
_UNBOUNDED = "unbounded"


#: Column → what its value in a row of schema 1 follows from, besides `schema`.
_SOURCES = {
    "looped": {"kernel"},
    "unbounded": {"measure", "status", "reason"},
    "measure": {"device", "version"},
}


def upgrade_needs(names: Iterable[str]) -> set[str]:
    """The columns that must be read for these."""
    needed = {*names, "schema"}
    for name, sources in _SOURCES.items():
        if name in needed:
            needed |= sources
    return needed


def upgraded(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose rows of schema 1 have columns for what was in texts.

    It may have some of the columns only, but with those of `upgrade_needs`.

    - `kernel` was "Python loop (ATen)": now `kernel` "ATen" and `looped`.
    - The reason of a skipped `receptive_field` began with "unbounded": now `unbounded`.
    - `peak_memory` on CPU counted tensors alone: that measure is now `tensor_memory`.
    """
    import pandas as pd

    old = (frame["schema"] == 1).to_numpy(bool)
    if not old.any():
        return frame
    frame = frame.copy(deep=False)
    if "kernel" in frame:
        kernel = frame["kernel"]
        looped = kernel.str.startswith(_LOOP).to_numpy(bool)
        bare = kernel.str.removeprefix(f"{_LOOP} (").str.removesuffix(")")
        frame["kernel"] = kernel.mask(old & looped, bare)
    if "looped" in frame:
        built = old & (kernel != "").to_numpy(bool)
        frame["looped"] = frame["looped"].mask(built, pd.array(looped, dtype="boolean"))
    if "unbounded" in frame:
        field = old & (frame["measure"] == "receptive_field").to_numpy(bool)
        reason = frame["reason"].str.startswith(_UNBOUNDED)
        unbounded = ((frame["status"] == "skipped") & reason).astype("boolean")
        frame["unbounded"] = frame["unbounded"].mask(field, unbounded)
    if "measure" in frame:
        tensors = old & (frame["measure"] == "peak_memory").to_numpy(bool)
        tensors &= ((frame["device"] == "cpu") & (frame["version"] == "1")).to_numpy(bool)
        frame["measure"] = frame["measure"].mask(tensors, "tensor_memory")
    frame["schema"] = frame["schema"].mask(old, SCHEMA_VERSION)  # not upgraded again in a table
    return frame
