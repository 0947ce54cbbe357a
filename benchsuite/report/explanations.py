"""Where each model's time goes, for the report: explanations of traces, links to their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchsuite import units
from benchsuite.profiling.words import MIXED
from benchsuite.profiling.written import MEMORY, TIMELINE, read_explanations

_LINKS = (
    ("timeline", TIMELINE),
    ("memory", MEMORY),
    ("trace for Perfetto", "trace.json.gz"),
    ("explanation", "explanation.json"),
)
_LEAST = 0.005


def cards(traces: Path, directory: Path) -> Iterator[dict[str, Any]]:
    """One card per traced case: its id, bound, sentences, shares and links.

    Args:
        traces: Directory of traced cases.
        directory: Of the page, which links are relative to.
    """
    for found in read_explanations(traces):
        shares = sorted(found["shares"].items(), key=lambda item: -item[1])
        yield {
            "model": found["case"].partition("-T")[0],
            "case": found["case"],
            "bound": found["bound"] if found["bound"] == MIXED else f"{found['bound']}-bound",
            "seconds": units.show(found["seconds"], "s"),
            "sentences": found["sentences"],
            "shares": [(name, f"{share:.1%}") for name, share in shares if share >= _LEAST],
            "links": [
                (name, quote(os.path.relpath(found["path"] / file, directory)))
                for name, file in _LINKS
                if (found["path"] / file).exists()
            ],
        }
