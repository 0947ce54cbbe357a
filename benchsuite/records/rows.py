"""Rows out of record files: which lines are records, and what became of each attempt."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec

from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import DEFAULTS
from benchsuite.records.schema import CRASHED, INTERRUPTED, SCHEMA, SCHEMA_VERSION

FILE_NAME = "records.jsonl"

#: The next attempt of a run starts within this, once one has been killed at its limit.
_KILL_SECONDS = 120.0
#: Columns that tell one measurement from another; a later attempt replaces an earlier one.
MEASUREMENT = (
    *("study", "case", "measure", "version", "machine", "commit", "tree", "torch"),
    *("source", "min_run_time"),
)
#: The largest whole number that a frame can hold.
_MOST = (1 << 63) - 1
#: Half of a pair, which no text can be written with.
_SURROGATE = re.compile("[\ud800-\udfff]")

_TYPES: dict[str, Any] = {
    "str": str,
    "int": Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)],
    "float": float,
    "bool": bool,
    "floats": list[float],
}
_COLUMNS = {name: _TYPES[column.kind] for name, column in SCHEMA.items()}
_COLUMNS["schema"] = Annotated[int, msgspec.Meta(le=SCHEMA_VERSION)]
#: Axes that rows of every version have; the others have their default where they are missing.
_OLDEST_AXES = tuple(axis.name for axis in AXES.values() if axis.since == 1)
_REQUIRED = (*_OLDEST_AXES, "uid", "status", "schema")


class _RowBase(msgspec.Struct):
    """What `attempts` asks of a row, whether it is a `Row` or a dict."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        value = getattr(self, name)
        return default if value is None else value

    def __or__(self, changes: Mapping[str, Any]) -> Any:
        return msgspec.structs.replace(self, **changes)


#: `SCHEMA` as a type, for the fastest way into a frame; missing texts are empty, others None.
Row: Any = msgspec.defstruct(
    "Row",
    [
        *((name, _COLUMNS[name]) for name in _REQUIRED),
        *(
            (name, kind, DEFAULTS.get(name, "" if SCHEMA[name].kind == "str" else None))
            for name, kind in _COLUMNS.items()
            if name not in _REQUIRED
        ),
    ],
    bases=(_RowBase,),
    gc=False,
)
#: The same as a type of dicts, which have what was written and no more.
_DICT: Any = TypedDict(  # type: ignore[misc]
    "_DICT",
    {name: kind if name in _REQUIRED else NotRequired[kind] for name, kind in _COLUMNS.items()},
)


def read_rows(path: Path, problems: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one file as they were written; lines that are none are reported and passed over.

    Args:
        path: A record file.
        problems: Gets one sentence per unreadable line.

    Raises:
        UsageError: if the file cannot be read.
    """
    return rows_as(_DICT, path, problems)


def rows_as(kind: Any, path: Path, problems: list[str] | None = None) -> Iterator[Any]:
    """The same as objects of a type made from `SCHEMA`.

    Its decoder checks a line while parsing it, several times as fast as `json` parses alone; what
    it rejects is looked at again for the words.
    """
    decode = msgspec.json.Decoder(kind).decode
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = decode(line)
                except (ValueError, RecursionError):
                    if not line.strip():
                        continue
                    try:
                        row = msgspec.convert(_parse(line), kind)
                    except ValueError as fault:
                        if problems is not None:
                            problems.append(f"{path.name}, line {number}: {fault}")
                        continue
                yield row
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _parse(line: bytes) -> dict[str, Any]:
    """A line that was rejected; it may be a record all the same, but for a column not ours.

    Raises:
        ValueError: saying why it is none.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        torn = "" if line.endswith(b"\n") else " (the last line: its writer was stopped)"
        raise ValueError(f"not a record, passed over{torn}") from None
    fault = _fault_of(row)
    if fault:
        raise ValueError(f"{fault}, passed over")
    return row  # type: ignore[no-any-return]


def _fault_of(row: object) -> str:
    """Why a parsed line is no record of ours, or an empty string."""
    if not isinstance(row, dict) or "uid" not in row or "status" not in row:
        return "not a record"
    if not isinstance(row.get("schema"), int) or row["schema"] > SCHEMA_VERSION:
        return f"schema {row.get('schema')!r} is newer than {SCHEMA_VERSION}; update benchsuite"
    for name, value in row.items():
        column = SCHEMA.get(name)
        if column is not None and not _fits(value, column.kind):
            return f"{name} = {str(value)[:40]!r} is not of type {column.kind}"
    missing = next((name for name in _OLDEST_AXES if name not in row), None)
    return f"{missing} is missing" if missing else ""


def _fits(value: object, kind: str) -> bool:
    match kind:
        case "floats":
            return isinstance(value, list) and all(_fits(item, "float") for item in value)
        case "str":
            return isinstance(value, str) and not _SURROGATE.search(value)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST
        case _:
            return (
                isinstance(value, int | float)
                and not isinstance(value, bool)
                and abs(value) <= sys.float_info.max
            )


def attempts(rows: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    """What became of every attempt: its place in the order of beginning, and its row.

    Ends come as they are read, so that only what is under way is held; a later end of an attempt
    replaces an earlier one. Attempts without an end come last: their process was killed, at its
    limit if the next one started only after that (asv kills what does not listen), else it crashed.

    Args:
        rows: All of type `Row`, or all dicts.
    """
    places: dict[str, int] = {}
    begun: dict[int, tuple[Any, Any]] = {}  # those under way, and what began after each
    for row in rows:
        count = len(places)
        place = places.setdefault(row["uid"], count)
        if place == count and place - 1 in begun:
            begun[place - 1] = (begun[place - 1][0], row)
        if row["status"] != "started":
            begun.pop(place, None)
            yield place, row
        elif place == count:
            begun[place] = (row, None)
    for place, (row, after) in begun.items():
        yield place, row | _epitaph(row, after)


def settle(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per attempt, in the order they began: its end, or what must have happened."""
    found = dict(attempts(rows))
    return [found[place] for place in sorted(found)]


def _epitaph(row: Any, after: Any) -> dict[str, str]:
    """Status and reason of an attempt that has no end, from itself and the next attempt."""
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


def latest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last attempt of each measurement, whatever came of it; an interrupted one is none."""
    rows = list(rows)
    keys = [tuple(str(row.get(name, "")) for name in MEASUREMENT) for row in rows]
    kept = last_that_counts(keys, (row.get("reason") != INTERRUPTED for row in rows))
    return [rows[index] for index in kept]


def last_that_counts(keys: Iterable[Hashable], counts: Iterable[bool]) -> list[int]:
    """Per key the index of its last item that counts, else of its first; in the order of keys."""
    found: dict[Hashable, int] = {}
    for index, (key, own) in enumerate(zip(keys, counts, strict=True)):
        if own or key not in found:
            found[key] = index
    return list(found.values())


def record_files(path: Path) -> list[Path]:
    """The record files that a file, a study's directory or a results directory stands for.

    Raises:
        UsageError: if there is none.
    """
    if path.is_file():
        return [path]
    files = sorted(path.rglob(FILE_NAME)) if path.is_dir() else []
    if not files:
        raise UsageError(
            f"no records in {str(path)!r}; measure first with `benchsuite run`, or name a"
            f" {FILE_NAME} or a directory that holds one"
        )
    return files
