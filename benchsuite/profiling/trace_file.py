"""Trace files: Chrome's JSON, plain or gzipped, with errors that name what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from benchsuite.allocator import collector_paused
from benchsuite.errors import UsageError
from benchsuite.files import read_bytes

#: Most bytes of a trace's JSON; parsed it takes ten times as much memory.
MAX_BYTES = 512 << 20
#: Key of benchsuite's notes in a trace: the case, cuts, the machine's rates (see `recorder`).
NOTES = "benchsuite"
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e100)]


class _Notes(TypedDict, total=False):
    """The notes of a trace that are read; a file may have others too."""

    case: str
    axes: dict[str, str | int | float | bool | None] | None
    pace: dict[str, _Amount] | None
    cut: list[str] | None
    page_faults: _Amount | None
    untraced_step: _Amount | None


def read_trace(path: str | Path) -> dict[str, Any]:
    """Read the JSON object of a trace, which holds `traceEvents` and other entries.

    A bare list of events, which the format allows too, becomes such an object.

    Raises:
        UsageError: if the file cannot be read, is empty or cut off, or is not a trace.
    """
    path = Path(path)
    data = read_bytes(path, "trace", MAX_BYTES)
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
    try:
        msgspec.convert(notes_of(content), _Notes)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} has unreadable notes, {NOTES!r}: {error}") from error
    return dict(content)


def _parse(data: bytes, path: Path) -> Any:
    try:
        # A hundred megabytes become millions of objects, none of them garbage, which the collector
        # would only walk again and again.
        with collector_paused():
            return json.loads(data)
    except RecursionError as error:
        raise UsageError(f"{path} is not a trace: its JSON is nested too deeply") from error
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
    except ValueError as error:  # a whole number of thousands of digits
        raise UsageError(f"{path} is not a trace: {str(error).partition(';')[0]}") from error


def notes_of(content: dict[str, Any]) -> dict[str, Any]:
    """benchsuite's notes in a trace; empty for a trace of another tool."""
    notes = content.get(NOTES)
    return notes if isinstance(notes, dict) else {}
