"""The outcome of each attempt, from its first row and its final one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from benchsuite.records.schema import CRASHED

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: After an attempt is killed at its limit, the next one of the run starts within this time.
_KILL_SECONDS = 120.0


def attempts(
    rows: Iterable[Any], of: Callable[[Any], tuple[str, str]] = itemgetter("uid", "status")
) -> Iterator[tuple[int, Any]]:
    """Outcomes of all attempts: index in the order in which they began, and final row.

    Finished attempts are yielded as they are read, so that only unfinished ones are kept in memory.
    If an attempt has several final rows, the last one counts. Unfinished attempts are yielded at
    the end. If the next attempt began only after the time limit, asv killed the process there and
    the status is `timeout`; otherwise it is `crashed`.

    Args:
        rows: Rows, all dicts or all structs derived from `RowBase`.
        of: The `uid` and `status` of a row; by default of a dict.
    """
    indices: dict[str, int] = {}
    begun: dict[int, tuple[Any, Any]] = {}  # unfinished attempts, and the one that began next
    count = 0
    for row in rows:
        uid, status = of(row)
        index = indices.setdefault(uid, count)
        new = index == count
        count += new
        if new and begun and index - 1 in begun:
            begun[index - 1] = (begun[index - 1][0], row)
        if status != "started":
            if begun:
                begun.pop(index, None)
            yield index, row
        elif new:
            begun[index] = (row, None)
    for index, (row, after) in begun.items():
        yield index, row | outcome_of_killed(row, after)


def settle(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per attempt with its outcome, in the order in which the attempts began."""
    outcomes = dict(attempts(rows))
    return [outcomes[index] for index in sorted(outcomes)]


def outcome_of_killed(row: Any, after: Any) -> dict[str, str]:
    """Status and reason of an attempt without a final row.

    Args:
        row: Its first row, a dict or similar.
        after: The first row of the attempt that began next; None if there is none.
    """
    began = row.get("started_at", 0.0)
    limit = row.get("timeout", math.inf)
    gap = (
        after.get("started_at", 0.0) - began if after and after.get("run") == row.get("run") else 0
    )
    if limit < gap < limit + _KILL_SECONDS:
        return {"status": "timeout", "reason": f"killed after its limit of {limit:g} s"}
    started = datetime.fromtimestamp(began, UTC)
    why = f"{CRASHED} (started {started:%Y-%m-%d %H:%M:%S} UTC)"
    return {"status": "crashed", "reason": why}


@dataclass(frozen=True, slots=True)
class Settled:
    """Which rows of a file have the outcomes of its attempts; see `attempts`.

    Attributes:
        rows: Position of the row of each attempt, in the order in which the attempts began.
        unfinished: Places in `rows` of the attempts without a final row.
        after: For each of these the position of the first row of the attempt that began next; -1
            if there is none.
    """

    rows: np.ndarray
    unfinished: np.ndarray
    after: np.ndarray


def settled(uids: pa.ChunkedArray, started: np.ndarray) -> Settled:
    """Settle the rows of one file without making objects of them.

    Args:
        uids: Identity of the attempt of each row.
        started: Whether each row is one with the status `started`, bools of shape (rows).
    """
    import numpy as np
    import pyarrow as pa

    encoded = pa.chunked_array([uids.combine_chunks().dictionary_encode()])  # in order of first use
    attempt = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    count = int(attempt.max(initial=-1)) + 1
    position = np.arange(len(attempt))
    first, last = np.empty(count, int), np.full(count, -1)
    first[attempt[::-1]] = position[::-1]  # of equal indices the last assignment remains
    last[attempt[~started]] = position[~started]
    unfinished = np.flatnonzero(last < 0)
    after = np.append(first, -1)[unfinished + 1]
    return Settled(np.where(last < 0, first, last), unfinished, after)
