"""Explanations on disk, read for reports without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from benchsuite.errors import UsageError
from benchsuite.files import read_bytes
from benchsuite.profiling.words import bound_of, sentences

EXPLANATION = "explanation.json"
TIMELINE = "timeline.html"
MEMORY = "memory.svg"
#: Most bytes of an explanation; one takes a few thousand.
_MAX_BYTES = 1 << 20
#: Earlier names of the bounds, and the facts that earlier explanations lack.
_EARLIER = {"launch": "overhead", "compute": "arithmetic", "bandwidth": "memory"}
_UNKNOWN = {"fault_share": 0.0, "page_faults": 0.0}


_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e100)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class _Explanation(TypedDict):
    """The part of an explanation that reports read (see `explain.Explanation`)."""

    case: str
    model: NotRequired[str]
    bound: str
    bounds: NotRequired[dict[str, _Amount]]
    seconds: _Amount
    shares: dict[str, _Amount]
    sentences: list[str]


class _EarlierBounds(TypedDict):
    launch: _Amount
    compute: _Amount
    bandwidth: _Amount


class _EarlierShares(TypedDict):
    python: _Amount
    dispatch: _Amount


class _Earlier(TypedDict):
    """Keys that only explanations of an earlier version have."""

    device: str
    untraced_seconds: _Amount | None
    page_faults: _Amount | None
    fault_share: _Amount
    shares: _EarlierShares
    bounds: _EarlierBounds
    timesteps: _Count | None
    calls: _Amount
    works: _Amount
    products: _Amount
    kernels: _Amount
    unrolled: bool
    idle: _Amount | None
    libraries: dict[str, _Amount]
    flops_rate: _Amount
    cut: list[str]


def read_explanations(root: Path) -> list[dict[str, Any]]:
    """Explanations below a directory, sorted by case, each with its directory as `path`.

    Unreadable ones are skipped, so that an interrupted trace does not prevent a report.
    """
    found = []
    for file in sorted(root.glob(f"*/{EXPLANATION}")):
        try:
            content = msgspec.json.decode(read_bytes(file, "explanation", _MAX_BYTES))
            msgspec.convert(content, _Explanation)
            content = _upgraded(content)
        except (UsageError, ValueError, RecursionError):
            continue
        found.append({**content, "path": file.parent})
    return found


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """An explanation of an earlier version in the present form.

    Earlier ones have no `model`, which their case's id begins with, no page faults, and other names
    of the bounds; their sentences follow from their numbers.
    """
    content = {**_UNKNOWN, "model": content["case"].partition("-T")[0], **content}
    if "launch" not in content.get("bounds", ()):
        return content
    msgspec.convert(content, _Earlier)
    bounds = {name: content["bounds"][earlier] for earlier, name in _EARLIER.items()}
    content = {**content, "bounds": bounds, "bound": bound_of(bounds)}
    return {**content, "sentences": sentences(content, {})}
