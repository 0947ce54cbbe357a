"""The width of output, and how sentences and tables are made to fit into it."""

from __future__ import annotations

import re
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
    """Return a console on standard output with the given number of columns, or `width()`."""
    from benchsuite.cli._console import SafeConsole

    return SafeConsole(width=columns or width())


def paragraph(text: str, indent: str = "", columns: int | None = None) -> str:
    """Wrap text between words; a number stays with its "%".

    Args:
        text: One paragraph.
        indent: What all lines after the first begin with.
        columns: The width, by default `width()`.
    """
    wrapped = textwrap.fill(
        re.sub(r"(\d) %", "\\1\N{NO-BREAK SPACE}%", text),
        columns or width(),
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped.replace("\N{NO-BREAK SPACE}", " ")


def fold(text: str, columns: int, separator: str) -> str:
    """Break a long name into lines of at most that many columns, only after separators."""
    *pieces, last = text.split(separator)
    lines = [""]
    for piece in (*(piece + separator for piece in pieces), last):
        if lines[-1] and len(lines[-1]) + len(piece) > columns:
            lines.append("")
        lines[-1] += piece
    return "\n".join(lines)


def columns_left(rows: Iterable[Sequence[str]], of: int, heads: Sequence[str], gap: int = 2) -> int:
    """Width left for column number `of` of a table whose other columns are not folded."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return width() - sum(widths) + widths[of] - gap * (len(widths) - 1)
