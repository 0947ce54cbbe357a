"""Rows of a run as they are appended to a record file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchsuite.records.rows import tail_rows


class Tail:
    """Complete rows of a run that were appended to a record file since the last call.

    Args:
        path: The record file; it may not exist yet.
        offset: Bytes to begin after.
        run: Identity of the run; rows of other runs and lines that are not rows are skipped.
    """

    def __init__(self, path: Path, offset: int, run: str) -> None:
        self._path, self._offset, self._run = path, offset, run

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows, in the order of writing."""
        rows, self._offset = tail_rows(self._path, self._offset)
        yield from (row for row in rows if row.get("run") == self._run)
