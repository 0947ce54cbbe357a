"""Trace files: Chrome's JSON, plain or gzipped, with errors that name what is wrong."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from benchsuite.allocator import collector_paused
from benchsuite.errors import UsageError

_GZIP = b"\x1f\x8b"
#: Key of benchsuite's notes in a trace: the case, cuts, the machine's rates (see `recorder`).
NOTES = "benchsuite"


def read_trace(path: str | Path) -> dict[str, Any]:
    """Read the JSON object of a trace, which holds `traceEvents` and other entries.

    A bare list of events, which the format allows too, becomes such an object.

    Raises:
        UsageError: if the file cannot be read, is empty or cut off, or is not a trace.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UsageError(f"{path} is cut off or damaged: {error}; record it again") from error
    except OSError as error:
        raise UsageError(f"cannot read the trace {path}: {error.strerror or error}") from error
    if not data.strip():
        raise UsageError(f"{path} is empty; record it again with `benchsuite trace`")
    content = _parse(data, path)
    if isinstance(content, list):
        content = {"traceEvents": content}
    content = content if isinstance(content, dict) else {}
    events = content.get("traceEvents")
    if not isinstance(events, list):
        raise UsageError(f"{path} is not a trace: it has no list 'traceEvents'")
    if not any(isinstance(event, dict) and event.get("ph") == "X" for event in events):
        raise UsageError(
            f"{path} holds no timed event ('ph': 'X') among its {len(events)}; record it again"
        )
    return dict(content)


def _parse(data: bytes, path: Path) -> Any:
    try:
        # A hundred megabytes become millions of objects, none of them garbage, which the collector
        # would only walk again and again.
        with collector_paused():
            return json.loads(data)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a trace: neither JSON nor gzip") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) - 1 or "Unterminated" in error.msg:
            raise UsageError(
                f"{path} is cut off: its JSON ends in line {error.lineno} without being closed;"
                " record it again"
            ) from error
        raise UsageError(
            f"{path} is not a trace: line {error.lineno} is not JSON ({error.msg})"
        ) from error


def notes_of(content: dict[str, Any]) -> dict[str, Any]:
    """benchsuite's notes in a trace; empty for a trace of another tool."""
    notes = content.get(NOTES)
    return notes if isinstance(notes, dict) else {}
