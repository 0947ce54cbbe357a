"""Records of earlier schemas, as the present one has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchsuite.records.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pandas as pd

_LOOP = "Python loop"
_UNBOUNDED = "unbounded"


def upgraded(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame of stored columns whose rows of schema 1 have columns for what was in texts.

    - `kernel` was "Python loop (ATen)": now `kernel` "ATen" and `looped`.
    - The reason of a skipped `receptive_field` began with "unbounded": now `unbounded`.
    - `peak_memory` on CPU counted tensors alone: that measure is now `tensor_memory`.
    """
    import pandas as pd

    old = (frame["schema"] == 1).to_numpy(bool)
    if not old.any():
        return frame
    frame = frame.copy(deep=False)
    kernel, reason = frame["kernel"], frame["reason"]
    looped = kernel.str.startswith(_LOOP).to_numpy(bool)
    bare = kernel.str.removeprefix(f"{_LOOP} (").str.removesuffix(")")
    frame["kernel"] = kernel.mask(old & looped, bare)
    built = old & (kernel != "").to_numpy(bool)
    frame["looped"] = frame["looped"].mask(built, pd.array(looped, dtype="boolean"))
    field = old & (frame["measure"] == "receptive_field").to_numpy(bool)
    unbounded = (frame["status"] == "skipped") & reason.str.startswith(_UNBOUNDED)
    frame["unbounded"] = frame["unbounded"].mask(field, unbounded.astype("boolean"))
    tensors = old & (frame["measure"] == "peak_memory").to_numpy(bool)
    tensors &= ((frame["device"] == "cpu") & (frame["version"] == "1")).to_numpy(bool)
    frame["measure"] = frame["measure"].mask(tensors, "tensor_memory")
    frame["schema"] = frame["schema"].mask(
        old, SCHEMA_VERSION
    )  # tables of it are not upgraded again
    return frame
