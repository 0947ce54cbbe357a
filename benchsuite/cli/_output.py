"""How wide output is, and how tables and long words are made to fit into it."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


#: Columns of output that goes to a pipe or a file, unless `COLUMNS` is set.
PLAIN_WIDTH = 80


def width() -> int:
    """Columns of output: `COLUMNS`, else the terminal's width, else `PLAIN_WIDTH`."""
    return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns


def console(columns: int | None = None) -> Console:
    """Return a console on standard output, of so many columns or of `width()`."""
    from rich.console import Console

    return Console(width=columns or width())


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
