"""The progress display of every command: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchsuite.cli._app import message
from benchsuite.cli._terminal import safe_text

if TYPE_CHECKING:
    from rich.console import Console

#: Shortest time between two lines of progress in a log, in seconds.
SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True, slots=True)
class State:
    """Which item of a series is being worked on.

    Attributes:
        label: The item, such as a case's id.
        number: The count to show: the item's number, or with `share` 1 how many items ended.
        total: Number of items; 0 if it is not known yet.
        share: The part of item `number` that is done, from 0 to 1.
        detail: What else to show, such as the time left.
        always: Write a line even if the last one is recent. A bar shows every state.
    """

    label: str
    number: int = 0
    total: int = 0
    share: float = 0.0
    detail: str = ""
    always: bool = False


class Display(Protocol):
    """Shows progress on standard error."""

    def show(self, state: State) -> None:
        """Replace what is shown."""

    def note(self, text: str) -> None:
        """Write a line that stays, such as a failure."""


@contextmanager
def progress() -> Iterator[Display]:
    """Yield the display that fits standard error; a bar disappears at the end."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from benchsuite.cli._console import SafeConsole

    with bar(SafeConsole(stderr=True)) as display:
        yield display


class _Lines:
    """Lines for logs, at most one in `SECONDS_BETWEEN_LINES` except for those always written."""

    def __init__(self) -> None:
        self._last = time.monotonic() - SECONDS_BETWEEN_LINES

    def show(self, state: State) -> None:
        now = time.monotonic()
        if not state.always and now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        count = f"[{state.number}/{state.total}] " if state.total > 1 else ""
        message(f"{count}{state.label}  {state.detail}".rstrip())

    def note(self, text: str) -> None:
        message(text)


@contextmanager
def bar(console: Console) -> Iterator[Display]:
    """Yield a bar on a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    label, count, detail = (
        TextColumn(f"{{task.{field}}}", markup=False)
        for field in ("description", "fields[count]", "fields[detail]")
    )

    class Bar:
        def show(self, state: State) -> None:
            live.update(
                task,
                description=safe_text(state.label),
                completed=max(state.number - 1 + state.share, 0.0),
                total=state.total or None,
                count=f"{state.number}/{state.total}" if state.total else "",
                detail=safe_text(state.detail),
            )

        def note(self, text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    with Progress(label, BarColumn(), count, detail, console=console, transient=True) as live:
        task = live.add_task("", total=None, count="", detail="")
        yield Bar()
