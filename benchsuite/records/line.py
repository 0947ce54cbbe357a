"""One line of a record file: its type, and why a line is not a record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from benchsuite.grid.axes import AXES
from benchsuite.grid.case import DEFAULTS
from benchsuite.records.schema import SCHEMA, SCHEMA_VERSION, Column

#: Surrogates, which cannot be encoded as UTF-8.
_SURROGATE = re.compile("[\ud800-\udfff]")


def _type_of(column: Column) -> Any:
    """A column's type for msgspec, with its bounds."""
    low, high = column.bounds
    if column.choices:
        return Literal[column.choices]
    match column.kind:
        case "str":
            return Annotated[str, Meta(min_length=int(low), max_length=int(high))]
        case "int":
            return Annotated[int, Meta(ge=int(low), le=int(high))]
        case "bool":
            return bool
        case "float":
            return Annotated[float, Meta(ge=float(low), le=float(high))]
        case "floats":
            return list[Annotated[float, Meta(ge=float(low), le=float(high))]]


_COLUMNS = {name: _type_of(column) for name, column in SCHEMA.items()}
#: Axes that rows of every schema version have; other axes get their default where missing.
_OLDEST_AXES = tuple(axis.name for axis in AXES.values() if axis.since == 1)
_REQUIRED = (*_OLDEST_AXES, "uid", "status", "schema")


_MISSING = {"str": ""}
#: Columns in the order in which records are written: a decoder expects the next one first.
WRITTEN = tuple(
    dict.fromkeys(
        (
            *(*AXES, "case", "measure", "unit", "version", "status", "value", "samples", "number"),
            *("reason", "warning", "study", "machine", "commit", "run", "timeout", "min_run_time"),
            *("started_at", "duration", "setup_duration", "uid", *SCHEMA),
        )
    )
)


class RowBase(msgspec.Struct):
    """The methods of dict that `attempts` needs, for `Row`."""

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict; a column without a value counts as missing."""
        value = getattr(self, name)
        return default if value is None else value

    def __or__(self, changes: Mapping[str, Any]) -> Any:
        return msgspec.structs.replace(self, **changes)


@cache
def struct_of(*names: str) -> Any:
    """A struct of some columns; missing strings are empty, other missing values None."""
    missing = {name: DEFAULTS.get(name, _MISSING.get(SCHEMA[name].kind)) for name in names}
    return msgspec.defstruct(
        "Row",
        [
            (name, _COLUMNS[name]) if name in _REQUIRED else (name, _COLUMNS[name], missing[name])
            for name in sorted(names, key=WRITTEN.index)
        ],
        kw_only=True,
        bases=(RowBase,),
        gc=False,
    )


#: The type with all columns.
Row: Any = struct_of(*SCHEMA)
#: `SCHEMA` as a type of dicts, which hold only the columns that were written.
RowDict: Any = TypedDict(  # type: ignore[misc]
    "RowDict",
    {name: kind if name in _REQUIRED else NotRequired[kind] for name, kind in _COLUMNS.items()},
)


#: Called with the number of a line that is not a record, and the reason.
Report = Callable[[int, object], object]


def decoder(row_type: Any, report: Report) -> Callable[[int, bytes], Any]:
    """A function of a line's number and bytes: its row, or None with a report of the reason.

    The type's decoder validates a line while parsing it, several times as fast as `json` only
    parses it. Lines that it rejects are examined again, to report the reason. Columns that the type
    does not have are parsed, but not validated.
    """
    decode: Any = msgspec.json.Decoder(row_type).decode

    def decoded(number: int, line: bytes) -> Any:
        try:
            return decode(line)
        except (ValueError, RecursionError):
            try:
                return _examined(line, row_type)
            except ValueError as fault:
                report(number, fault)
                return None

    return decoded


def _examined(line: bytes, row_type: Any) -> Any:
    """A line that the decoder has rejected as a row of that type, or None for an empty line.

    Raises:
        ValueError: with the reason why it is not a record.
    """
    if not line.strip():
        return None
    return msgspec.convert(_parse(line), row_type)


def _parse(line: bytes) -> dict[str, Any]:
    """Parse a rejected line; it may still be a record, with a column that is not in the schema.

    Raises:
        ValueError: with the reason why it is not a record.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        torn = "" if line.endswith(b"\n") else " (the last line, only partially written)"
        raise ValueError(f"not a record, skipped{torn}") from None
    fault = fault_of(row)
    if fault:
        raise ValueError(f"{fault}, skipped")
    return row  # type: ignore[no-any-return]


def fault_of(row: object) -> str:
    """Why a parsed line is not a valid record, or an empty string."""
    if not isinstance(row, dict) or "uid" not in row or "status" not in row:
        return "not a record"
    version = row.get("schema")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        shown = version if version is None or type(version) is int else _short(version)
        return f"schema {shown} is newer than {SCHEMA_VERSION}; update benchsuite"
    for name, value in row.items():
        column = SCHEMA.get(name)
        if column is None:
            continue
        if not _is_of(value, column.kind):
            return f"{name} = {_short(value)} is not of type {column.kind}"
        if not _is_within(value, column):
            return f"{name} = {_short(value)} is not allowed; {column.allowed}"
    missing = next((name for name in _OLDEST_AXES if name not in row), None)
    return f"{missing} is missing" if missing else ""


def _short(value: object) -> str:
    """A value for a message: its beginning, and nothing that a terminal cannot show."""
    return ascii(str(value)[:40] if not isinstance(value, int) or abs(value) < 1 << 70 else "huge")


def _is_of(value: object, kind: str) -> bool:
    match kind:
        case "floats":
            return isinstance(value, list) and all(_is_of(item, "float") for item in value)
        case "str":
            return isinstance(value, str) and not _SURROGATE.search(value)
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def _is_within(value: Any, column: Column) -> bool:
    """Whether a value of the right type is within the bounds of its column; NaN is not."""
    low, high = column.bounds
    if column.choices:
        return value in column.choices
    match column.kind:
        case "floats":
            return all(low <= item <= high for item in value)
        case "str":
            return low <= len(value) <= high
        case _:
            return bool(low <= value <= high)
