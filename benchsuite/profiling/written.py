"""Explanations as they lie on disk, for reports; needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXPLANATION = "explanation.json"
TIMELINE = "timeline.html"
MEMORY = "memory.svg"


def read_explanations(root: Path) -> list[dict[str, Any]]:
    """All explanations below a directory, by case; `path` is the directory of each.

    Unreadable ones are passed over: a report is not held up by a trace that was interrupted.
    """
    found = []
    for file in sorted(root.glob(f"*/{EXPLANATION}")):
        try:
            content = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(content, dict) and {"case", "sentences"} <= content.keys():
            found.append({**content, "path": file.parent})
    return found
