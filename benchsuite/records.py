"""Records: one row per case × measure, appended to disk as soon as it is known.

A record file is JSON Lines. Each attempt writes a row with status `started` before anything is
built and a second row, under the same `uid`, when it has ended; a process that is killed leaves the
first one alone, which `load_records` reads as `crashed`. Nothing is ever rewritten.

`SCHEMA` is the one table of columns, types and units.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchsuite.case import AXES, Case
from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.stats import summarise

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1
FILE_NAME = "records.jsonl"

#: The next attempt of a run starts within this, once one has been killed at its limit.
_KILL_SECONDS = 120.0

Status = Literal["started", "ok", "skipped", "oom", "timeout", "failed", "crashed"]
#: The reason of an attempt that was stopped from outside.
INTERRUPTED = "interrupted"
#: What is known of an attempt that was killed.
CRASHED = "its process ended without a result"
#: Outcomes that a resumed study takes as final; the others are tried again.
FINAL = frozenset({"ok", "skipped", "oom", "timeout"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the frame: its type, unit and meaning; `stored` is False for derived ones."""

    name: str
    kind: Literal["str", "int", "float", "bool", "floats"]
    help: str
    unit: str = ""
    stored: bool = True


_KINDS: dict[type, Literal["str", "int", "bool"]] = {str: "str", int: "int", bool: "bool"}

_PROVENANCE = (
    Column("kernel", "str", "kernel library that really ran: oneDNN, ATen, cuDNN, Python loop"),
    Column("width", "int", "hidden units or channels after matching"),
    Column("match_deviation", "float", "matched quantity over its target, minus one", "1"),
    Column("output_size", "int", "features per timestep of the output"),
    Column("predicted", "floats", "of a test sequence: seq_len outputs, then outputs fed back"),
    Column("expected", "floats", "what these should have been"),
    Column("tf32_matmul", "bool", "matrix products may use TF32"),
    Column("tf32_cudnn", "bool", "cuDNN kernels may use TF32"),
    Column("threads", "int", "intra-op threads while measuring"),
    Column("load", "float", "one-minute load average at the start", "1"),
    Column("governor", "str", "CPU frequency governor, where readable"),
    Column("cpu", "str", "processor name"),
    Column("cores", "int", "logical processors this process may use"),
    Column("memory", "float", "physical memory", "B"),
    Column("gpu", "str", "CUDA device name"),
    Column("gpu_memory", "float", "its memory", "B"),
    Column("driver", "str", "its driver version, where readable"),
    Column("cuda", "str", "CUDA version torch was built for"),
    Column("cudnn", "str", "cuDNN version"),
    Column("os", "str", "operating system"),
    Column("python", "str", "interpreter version"),
    Column("torch", "str", "version"),
    Column("numpy", "str", "version"),
    Column("benchsuite", "str", "version"),
    Column("asv_runner", "str", "version"),
    Column("dirty", "bool", "the working tree had uncommitted changes"),
    Column("tree", "str", "digest of those changes"),
    Column("source", "str", "digest of the code that measured, and of a model from outside"),
)

SCHEMA: dict[str, Column] = {
    column.name: column
    for column in (
        *(Column(axis.name, _KINDS[axis.kind], axis.help) for axis in AXES.values()),
        Column("case", "str", "readable id of the case"),
        Column("study", "str", "name of the study"),
        Column("machine", "str", "name of the machine"),
        Column("commit", "str", "commit under test, if any"),
        Column("measure", "str", "what was measured"),
        Column("unit", "str", "base unit of value, interval, quartiles and samples"),
        Column("value", "float", "median of the samples, or the exact number", "unit"),
        Column("ci_low", "float", "95 % interval of the median", "unit", stored=False),
        Column("ci_high", "float", "95 % interval of the median", "unit", stored=False),
        Column("q25", "float", "first quartile", "unit", stored=False),
        Column("q75", "float", "third quartile", "unit", stored=False),
        Column("n_samples", "int", "number of samples (exact values: 1)", "1", stored=False),
        Column("number", "int", "steps averaged in each sample", "1"),
        Column("samples", "floats", "raw samples per step, in order", "unit"),
        Column("status", "str", "ok, skipped, oom, timeout, failed or crashed"),
        Column("reason", "str", "why it is not ok"),
        Column("warning", "str", "what to know about an ok value, such as an unstable timing"),
        Column("version", "str", "version of the measure"),
        Column("started_at", "float", "Unix time", "s"),
        Column("duration", "float", "spent inside the measurement", "s"),
        Column("setup_duration", "float", "spent building the workload", "s"),
        Column("timeout", "float", "limit for the case", "s"),
        Column("min_run_time", "float", "least time spent timing", "s"),
        *_PROVENANCE,
        Column("uid", "str", "identity of the attempt"),
        Column("run", "str", "identity of the run it belongs to"),
        Column("schema", "int", "version of this table"),
    )
}


#: Columns that tell one measurement from another; a later attempt replaces an earlier one.
_MEASUREMENT = (
    *("study", "case", "measure", "version", "machine", "commit", "tree", "torch"),
    *("source", "min_run_time"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What one attempt to measure one case gave.

    Attributes are columns of `SCHEMA`; those of the environment are in `provenance`.
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
        """The flat row that is stored; empty values are left out."""
        row: dict[str, Any] = {**self.case.as_dict(), "case": self.case.id}
        for item in dataclasses.fields(self):
            if item.name not in {"case", "provenance"}:
                row[item.name] = getattr(self, item.name)
        row.update(self.provenance)
        row["schema"] = SCHEMA_VERSION
        return {key: value for key, value in row.items() if value not in (None, "", ())}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Record:
        """Rebuild a record from a stored row."""
        names = {item.name for item in dataclasses.fields(cls)} - {"case", "provenance", "samples"}
        return cls(
            case=Case.from_row(row),
            samples=tuple(row.get("samples", ())),
            provenance={c.name: row[c.name] for c in _PROVENANCE if c.name in row},
            **{name: row[name] for name in names if name in row},
        )

    @property
    def key(self) -> tuple[str, ...]:
        """What makes a finished measurement the same one: asked before measuring it again."""
        own = self.provenance
        return (
            self.case.id,
            self.measure,
            self.version,
            self.machine,
            self.commit,
            str(own.get("tree", "")),
            str(own.get("torch", "")),
            str(own.get("source", "")),
            str(self.min_run_time),
        )


class RecordFile:
    """An append-only file of records, safe for several processes and for being killed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Record) -> None:
        """Write one row in one piece and hand it to the disk.

        Raises:
            BenchsuiteError: if it cannot be written, saying why.
        """
        # allow_nan: a row that JSON readers elsewhere reject must never be written.
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
                " another place with --home"
            ) from error

    @staticmethod
    def _is_torn(descriptor: int) -> bool:
        """Whether the last line lacks its end, because its writer was killed or the disk full."""
        size = os.fstat(descriptor).st_size
        return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def read_rows(path: Path, problems: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one file as they were written; lines that are none are reported and passed over.

    Args:
        path: A record file.
        problems: Gets one sentence per unreadable line.
    """
    report = problems.append if problems is not None else lambda _: None
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    torn = (
                        "" if line.endswith(b"\n") else " (the last line: its writer was stopped)"
                    )
                    report(f"{path.name}, line {number}: not a record, passed over{torn}")
                    continue
                fault = _fault_of(row)
                if fault:
                    report(f"{path.name}, line {number}: {fault}, passed over")
                else:
                    yield row
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


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
    missing = next((name for name in AXES if name not in row), None)
    return f"{missing} is missing" if missing else ""


def _fits(value: object, kind: str) -> bool:
    if kind == "floats":
        return isinstance(value, list) and all(isinstance(v, int | float) for v in value)
    if kind == "float":
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, bool if kind == "bool" else str)


def settle(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per attempt: its end, or for a start that has no end what must have happened.

    Such a process was killed: at its limit, if the next one started only after that (asv kills
    what does not listen), else it has crashed.
    """
    attempts: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["uid"] not in attempts or row["status"] != "started":
            attempts[row["uid"]] = row
    order = list(attempts.values())
    return [
        row if row["status"] != "started" else {**row, **_epitaph(row, after)}
        for row, after in zip_longest(order, order[1:])
    ]


def _epitaph(row: Mapping[str, Any], after: Mapping[str, Any] | None) -> dict[str, str]:
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


def load_records(path: str | Path, *, every_attempt: bool = False) -> pd.DataFrame:
    """Read record files into a tidy frame: one row per case × measure, columns of `SCHEMA`.

    Args:
        path: A record file, a study's directory, or a directory with several of them.
        every_attempt: Keep superseded attempts too; otherwise the latest of each measurement stays.

    Returns:
        The frame; `frame.attrs["problems"]` lists lines that could not be read.

    Raises:
        UsageError: if there are no records.
    """
    problems: list[str] = []
    rows: list[dict[str, Any]] = []
    for file in record_files(Path(path)):
        rows += settle(read_rows(file, problems))
    if not rows:
        first = f": {problems[0]}" if problems else ""
        raise UsageError(f"no readable record in {str(path)!r}{first}")
    frame = to_frame(rows if every_attempt else latest(rows))
    frame.attrs["problems"] = problems
    return frame


def latest(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last attempt of each measurement, whatever came of it; an interrupted one is none."""
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(str(row.get(name, "")) for name in _MEASUREMENT)
        if key not in kept or row.get("reason") != INTERRUPTED:
            kept[key] = row
    return list(kept.values())


def to_frame(rows: Iterable[Mapping[str, Any] | Record]) -> pd.DataFrame:
    """Rows or records as a frame with all columns of `SCHEMA`, statistics derived from samples."""
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA}
    for item in rows:
        row = item.to_row() if isinstance(item, Record) else item
        derived = _derive(row)
        for name, values in columns.items():
            values.append(derived[name] if name in derived else row.get(name))
    frame = pd.DataFrame(
        {
            name: pd.Series(values, dtype=_DTYPES[SCHEMA[name].kind])
            for name, values in columns.items()
        }
    )
    texts = [name for name, column in SCHEMA.items() if column.kind == "str"]
    frame[texts] = frame[texts].fillna("")
    return frame


_DTYPES = {"str": "str", "int": "Int64", "float": "float64", "bool": "boolean", "floats": "object"}


def _derive(row: Mapping[str, Any]) -> dict[str, Any]:
    value = row.get("value")
    if row["status"] != "ok" or value is None:
        return {"n_samples": 0}
    samples = row.get("samples")
    if not samples:
        return {"ci_low": value, "ci_high": value, "q25": value, "q75": value, "n_samples": 1}
    summary = summarise(samples)
    if summary.n == 1:  # one sample says nothing of its spread
        return {"n_samples": 1}
    return {
        "ci_low": summary.ci_low,
        "ci_high": summary.ci_high,
        "q25": summary.q25,
        "q75": summary.q75,
        "n_samples": summary.n,
    }


def write_tables(frame: pd.DataFrame, directory: Path) -> list[Path]:
    """Write `records.csv` and `records.parquet` (samples too; in the CSV as JSON lists)."""
    directory.mkdir(parents=True, exist_ok=True)
    parquet, csv = directory / "records.parquet", directory / "records.csv"
    plain = frame.copy()
    plain.attrs = {}
    plain.to_parquet(parquet, index=False)
    for name in (column.name for column in SCHEMA.values() if column.kind == "floats"):
        plain[name] = [json.dumps(v) if isinstance(v, list) else "" for v in plain[name]]
    plain.to_csv(csv, index=False)
    return [csv, parquet]
