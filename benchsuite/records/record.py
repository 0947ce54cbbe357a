"""Records, and the file that they are appended to."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchsuite.errors import BenchsuiteError
from benchsuite.grid.case import Case
from benchsuite.records.schema import PROVENANCE, SCHEMA, SCHEMA_VERSION, Status

#: Values that two attempts at the same measurement have in common.
Key = tuple[str, ...]


def storable(text: str, longest: int) -> str:
    """A text as a record can hold it: encodable as UTF-8, and of at most `longest` characters.

    Bytes that are not UTF-8 reach Python as lone surrogates (in the environment, in file names);
    they are written as backslash escapes, because no reader of JSON accepts them.
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def key_of(
    *,
    case: str,
    measure: str,
    version: str,
    machine: str,
    commit: str,
    tree: str,
    torch: str,
    source: str,
    min_run_time: float | None,
) -> Key:
    """The key for finding a finished measurement; the arguments are columns of `SCHEMA`."""
    names: Key = (case, measure, version, machine, commit, tree, torch, source)
    if not "".join(names).isascii():  # a resumed run makes 200,000 keys
        names = tuple(name.encode("utf-8", "backslashreplace").decode() for name in names)
    return (*names, str(min_run_time))


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The outcome of one attempt to measure one case.

    Attributes are columns of `SCHEMA`; columns of the environment are in `provenance`.
    """

    case: Case
    measure: str
    unit: str
    version: str
    status: Status = "started"
    value: float | None = None
    samples: tuple[float, ...] = ()
    number: int = 1
    reason: str = ""
    warning: str = ""
    study: str = ""
    machine: str = ""
    commit: str = ""
    run: str = ""
    timeout: float | None = None
    min_run_time: float | None = None
    started_at: float = field(default_factory=time.time)
    duration: float | None = None
    setup_duration: float | None = None
    uid: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def replace(self, **changes: Any) -> Record:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)

    def to_row(self) -> dict[str, Any]:
        """The flat row to store, without empty values."""
        row: dict[str, Any] = {**self.case.as_dict(), "case": self.case.id}
        for item in dataclasses.fields(self):
            if item.name not in {"case", "provenance"}:
                row[item.name] = getattr(self, item.name)
        row.update(self.provenance)
        row["schema"] = SCHEMA_VERSION
        return {
            key: storable(value, int(SCHEMA[key].bounds[1]))
            if isinstance(value, str) and key in SCHEMA
            else value
            for key, value in row.items()
            if value not in (None, "", ())
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Record:
        """Create a record from a stored row."""
        names = {item.name for item in dataclasses.fields(cls)} - {"case", "provenance", "samples"}
        return cls(
            case=Case.from_row(row),
            samples=tuple(row.get("samples", ())),
            provenance={c.name: row[c.name] for c in PROVENANCE if c.name in row},
            **{name: row[name] for name in names if name in row},
        )

    @property
    def key(self) -> Key:
        """The key, which shows whether a measurement is already finished."""
        stored = {name: str(self.provenance.get(name, "")) for name in ("tree", "torch", "source")}
        return key_of(
            case=self.case.id,
            measure=self.measure,
            version=self.version,
            machine=self.machine,
            commit=self.commit,
            min_run_time=self.min_run_time,
            **stored,
        )


class RecordFile:
    """An append-only file of records; several processes may write, and any may be killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Record) -> None:
        """Write one row with a single system call, and flush it to the disk.

        Raises:
            BenchsuiteError: if it cannot be written; the message has the reason.
        """
        # Without allow_nan=False, a row might be written that other JSON readers reject.
        line = json.dumps(record.to_row(), allow_nan=False, separators=(",", ":")) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if self._is_torn(descriptor):
                    line = "\n" + line
                data = line.encode()
                if os.write(descriptor, data) != len(data):
                    raise OSError(28, "the disk is full")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise BenchsuiteError(
                f"cannot write to {self.path}: {error.strerror}; free some space or choose"
                " another directory with --home"
            ) from error

    @staticmethod
    def _is_torn(descriptor: int) -> bool:
        """Whether the last line is incomplete: its writer was killed, or the disk was full."""
        size = os.fstat(descriptor).st_size
        return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
