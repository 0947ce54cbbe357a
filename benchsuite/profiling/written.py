"""Explanations on disk, read for reports without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchsuite.profiling.words import bound_of, sentences

EXPLANATION = "explanation.json"
TIMELINE = "timeline.html"
MEMORY = "memory.svg"
#: Earlier names of the bounds, and the facts that earlier explanations lack.
_EARLIER = {"launch": "overhead", "compute": "arithmetic", "bandwidth": "memory"}
_UNKNOWN = {"fault_share": 0.0, "page_faults": 0.0}


def read_explanations(root: Path) -> list[dict[str, Any]]:
    """Explanations below a directory, sorted by case, each with its directory as `path`.

    Unreadable ones are skipped, so that an interrupted trace does not prevent a report.
    """
    found = []
    for file in sorted(root.glob(f"*/{EXPLANATION}")):
        try:
            content = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and {"case", "sentences"} <= content.keys():
            found.append({**_upgraded(content), "path": file.parent})
    return found


def _upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """An explanation of an earlier version as today's.

    Earlier ones have no `model`, which their case's id begins with, no page faults, and other names
    of the bounds; their sentences follow from their numbers.
    """
    content = {"model": content["case"].partition("-T")[0], **content}
    if "launch" not in content.get("bounds", ()):
        return content
    bounds = {_EARLIER[name]: share for name, share in content["bounds"].items()}
    content = {**_UNKNOWN, **content, "bounds": bounds, "bound": bound_of(bounds)}
    return {**content, "sentences": sentences(content, {})}
