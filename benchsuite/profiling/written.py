"""Explanations on disk, read for reports without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchsuite.profiling.words import bound_of, sentences

EXPLANATION = "explanation.json"
TIMELINE = "timeline.html"
MEMORY = "memory.svg"
#: Names of the bounds in earlier versions → today's.
_EARLIER = {"launch": "overhead", "compute": "arithmetic", "bandwidth": "memory"}


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
            found.append({**_renamed(content), "path": file.parent})
    return found


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    """An explanation with today's names; its sentences are derived from its numbers again."""
    if "launch" not in content.get("bounds", ()):
        return content
    bounds = {_EARLIER[name]: share for name, share in content["bounds"].items()}
    content = {**content, "bounds": bounds, "bound": bound_of(bounds)}
    return {**content, "sentences": sentences(content, {})}
