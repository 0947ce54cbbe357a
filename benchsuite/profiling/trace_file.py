"""Trace files: plain or gzipped Chrome JSON, read whole, with errors that name what is wrong."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec

from benchsuite.errors import UsageError
from benchsuite.files import read_bytes

#: Most bytes of a trace's JSON; parsed it takes ten times as much memory.
MAX_BYTES = 512 << 20
#: Our own notes in a trace: the case, what was cut, the machine's pace (see `record`).
NOTES = "benchsuite"
_Amount = Annotated[float, msgspec.Meta(ge=0, le=1e100)]


class _Notes(TypedDict, total=False):
    """What is read of our own notes; others may be among them."""

    case: str
    axes: dict[str, str | int | float | bool | None] | None
    pace: dict[str, _Amount] | None
    cut: list[str] | None
    page_faults: _Amount | None
    untraced_step: _Amount | None


def read_trace(path: str | Path) -> dict[str, Any]:
    """The JSON object of a trace: its `traceEvents`, and what else was written beside them.

    A bare list of events, which the format allows too, becomes such an object.

    Raises:
        UsageError: if it cannot be read, is empty or cut off, or is no trace.
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
        raise UsageError(f"{path} is no trace: it has no list 'traceEvents'")
    if not any(isinstance(event, dict) and event.get("ph") == "X" for event in events):
        raise UsageError(
            f"{path} holds no timed event ('ph': 'X'), of {len(events)}; record it again"
        )
    try:
        msgspec.convert(notes_of(content), _Notes)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is not a trace of ours: {NOTES!r}: {error}") from error
    return dict(content)


def _parse(data: bytes, path: Path) -> Any:
    # A hundred megabytes make millions of objects, none of them garbage: the collector would only
    # walk them again and again.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return json.loads(data)
    except RecursionError as error:
        raise UsageError(f"{path} is no trace: its JSON is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no trace: neither JSON nor gzip") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(error.doc.rstrip()) - 1 or "Unterminated" in error.msg:
            raise UsageError(
                f"{path} is cut off: its JSON ends in line {error.lineno} without being closed;"
                " record it again"
            ) from error
        raise UsageError(
            f"{path} is no trace: line {error.lineno} is not JSON ({error.msg})"
        ) from error
    except ValueError as error:  # a whole number of thousands of digits
        raise UsageError(f"{path} is no trace: {str(error).partition(';')[0]}") from error
    finally:
        if collecting:
            gc.enable()


def notes_of(content: dict[str, Any]) -> dict[str, Any]:
    """Our own notes in a trace; empty for one that another tool has written."""
    notes = content.get(NOTES)
    return notes if isinstance(notes, dict) else {}
