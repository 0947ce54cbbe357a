"""Rich with foreign texts: without markup, emoji codes and control characters."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from benchsuite.cli._terminal import safe_text


class SafeConsole(Console):
    """A console that shows texts unchanged, except for control sequences, which it removes."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """The same as rich's method."""
        return super().render_str(safe_text(text), **options)
