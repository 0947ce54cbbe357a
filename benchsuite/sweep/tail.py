"""Rows of a run as they are appended to a record file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Tail:
    """Complete rows of a run that were appended to a record file since the last call.

    Args:
        path: The record file; it may not exist yet.
        offset: Bytes to begin after.
        run: Identity of the run; rows of other runs are passed over, and what is not a row.
    """

    def __init__(self, path: Path, offset: int, run: str) -> None:
        self._path, self._offset, self._run = path, offset, run

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows, in the order of writing."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # being written
                self._offset += len(line)
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue  # a line that an earlier run left torn; loading reports it
                if isinstance(row, dict) and row.get("run") == self._run:
                    yield row
