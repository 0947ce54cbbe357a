"""How wide output is, and how tables and long words are made to fit into it."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchsuite.cli._app import PLAIN_WIDTH

if TYPE_CHECKING:
    from rich.console import Console


def width() -> int:
    """Columns of the terminal, of `COLUMNS`, or a fixed number where there is neither."""
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns


def console() -> Console:
    """A console of that width."""
    from benchsuite.cli._console import SafeConsole

    return SafeConsole(width=width())


def paragraph(text: str, indent: str = "") -> str:
    """Text wrapped between words; all lines after the first are indented."""
    return textwrap.fill(
        text, width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def fold(text: str, columns: int, separator: str) -> str:
    """A long name in lines of at most so many columns, broken after separators only."""
    *pieces, last = text.split(separator)
    lines = [""]
    for piece in (*(piece + separator for piece in pieces), last):
        if lines[-1] and len(lines[-1]) + len(piece) > columns:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def columns_left(rows: Iterable[Sequence[str]], of: int, heads: Sequence[str], gap: int = 2) -> int:
    """Columns that a table leaves for its column number `of`, when all others have their text."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return width() - sum(widths) + widths[of] - gap * (len(widths) - 1)
