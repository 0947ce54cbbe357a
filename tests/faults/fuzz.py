"""Mutated input files against the command line: how many were tried, how many ended in a traceback.

    python tests/faults/fuzz.py [--seconds N] [--seed N] [TARGET …]

Every target (see `TARGETS`) mutates valid files by hypothesis strategies for a fixed number of
seconds and gives them to a command in this process. A command may end with exit code 0, 1 or 2 and
nothing else: any other exception, more than `LIMIT` seconds of processor time or a larger address space than
`MEMORY` counts as a failure and is printed once per place of the code. The exit code of the script
is 1 if there was any. `make faults` runs all targets.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pyarrow as pa
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from pyarrow import parquet

from benchsuite.catalog.measures import MEASURES
from benchsuite.cli import main as command_line
from benchsuite.errors import BenchsuiteError
from benchsuite.grid.case import Case
from benchsuite.records import SCHEMA, Record, load_records, write_tables

#: Seconds of processor time that one command may take, and bytes of address space that this process may use.
LIMIT, MEMORY = 60, 8 << 30

NUMBERS = st.sampled_from(
    [
        0,
        -1,
        1,
        1.5,
        -0.0,
        1e-320,
        1e308,
        -1e308,
        1e18,
        1 << 31,
        1 << 63,
        (1 << 63) - 1,
        1 << 70,
        10**400,
        -(1 << 63),
        1e-09,
        253402300800,
        1000000000000000.0,
        float("nan"),
        float("inf"),
        -float("inf"),
    ]
)
TEXTS = st.sampled_from(
    [
        "",
        " ",
        "lstm",
        "conv",
        "gone:model",
        "latency",
        "sine_error",
        "s",
        "B",
        "parsec",
        "FLOP/s",
        "ok",
        "failed",
        "cuda",
        "auto",
        "nan",
        "\x00",
        "\x1b[31m",
        "�",
        "�",
        "𝓗 ü",
        "[/x]",
        "</script>",
        "=1+1",
        "../../x",
        "a" * 300,
        "%s{0}",
        "\n",
        "1",
        "-1",
        "$x_y$",
        "$\\frac$",
        "_",
    ]
) | st.text(max_size=8)
VALUES = (
    NUMBERS
    | TEXTS
    | st.none()
    | st.booleans()
    | st.lists(NUMBERS | TEXTS, max_size=12)
    | st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=12)
    | st.dictionaries(TEXTS, NUMBERS | TEXTS, max_size=2)
)
#: Bytes of other encodings, of damaged text and of no text.
NOISE = st.sampled_from(
    [
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x00",
        b"\xed\xa0\x80",
        b"\xc3",
        b"\n",
        b'"',
        b"\\u",
        b"]",
        b"}",
        b"[" * 5000,
        b'{"a":' * 2000,
        b"9" * 5000,
        b"1e999",
        b"NaN",
        b"-",
        b"\r",
        b"\x1f\x8b",
        b"PAR1",
    ]
) | st.binary(max_size=6)


def run(*words: str | Path) -> None:
    """Run a command in this process.

    Raises:
        AssertionError: if it ended otherwise than with exit code 0, 1 or 2, or took too long.
    """
    sys.argv = ["benchsuite", *map(str, words)]
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command_line()
    except SystemExit as end:
        code = end.code or 0
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    err.flush()
    text = err.buffer.getvalue().decode()
    assert code in {0, 1, 2}, f"exit code {code}"
    assert "Traceback" not in text
    assert code != 2 or text.splitlines()[-1].startswith(("error: ", "Usage: ")), text[-300:]
    assert len(text) < 30_000, f"{len(text)} characters on standard error"


def valid_records() -> list[Record]:
    """Records of two models at several lengths, of most kinds of measures."""
    provenance = {"kernel": "oneDNN", "width": 8, "cpu": "a processor", "memory": 8e9, "torch": "2"}
    found = []
    for model in ("lstm", "conv"):
        for length in (16, 64, 256, 1024):
            case = Case(model=model, seq_len=length, hidden_size=8)
            at = len(found)
            true = 1e-5 + 1e-6 * length * (1 if model == "lstm" else 1.5)
            timed = tuple(true * (1 + 0.01 * (k % 3)) for k in range(9))
            waves = {"predicted": [0.1] * 40, "expected": [0.2] * 40}
            for name, value, samples, more in (
                ("latency", timed[4], timed, {}),
                ("peak_memory", 1000.0 + 64 * length, (), {}),
                ("parameters", 576.0, (), {}),
                ("flops", 1e4 * length, (), {}),
                ("receptive_field", 9.0, (), {"unbounded": False}),
                ("sine_mix_error", 0.1, (), waves),
            ):
                spec = MEASURES.get(name)
                found.append(
                    Record(
                        case=case, measure=name, unit=spec.unit, version=spec.version,
                        status="ok", value=value, samples=samples, study="fuzz", machine="here",
                        started_at=1.7e9 + at, uid=f"{model}{length}{name}", timeout=60.0,
                        run="r", commit="c" * 40, min_run_time=0.2, duration=0.3,
                        provenance={**provenance, **more},
                    )
                )  # fmt: skip
    for name, value in (("matmul_rate", 1e11), ("copy_bandwidth", 1e10)):
        spec = MEASURES.get(name)
        case = Case(model="machine", seq_len=1, batch_size=1, hidden_size=1)
        found.append(
            Record(
                case=case, measure=name, unit=spec.unit, version=spec.version, status="ok",
                value=value, study="fuzz", machine="here", started_at=1.7e9, uid=name,
                provenance=provenance,
            )
        )  # fmt: skip
    return found


def lines() -> list[dict]:
    """Rows of the valid records, each after the row of its start."""
    rows = []
    for record in valid_records():
        start = record.replace(status="started", value=None, samples=()).to_row()
        rows += [start, record.to_row()]
    return rows


ROWS = lines()


def dumped(row: object) -> bytes:
    """A row as JSON with all that Python writes, such as NaN and lone surrogates."""
    return json.dumps(row).encode()


@st.composite
def changed_rows(draw: Callable) -> list[dict]:
    """The valid rows with a few changed columns in a few rows, or one column changed in all."""
    measures = sorted({row["measure"] for row in ROWS})
    chosen = draw(st.sets(st.sampled_from(measures), min_size=1, max_size=2))
    rows = [dict(row) for row in ROWS if row["measure"] in chosen]
    name = st.sampled_from(sorted(SCHEMA))
    if draw(st.booleans()):
        for index in draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8)):
            for column in draw(st.lists(name, min_size=1, max_size=3)):
                rows[index][column] = draw(VALUES)
    else:
        column, value = draw(name), draw(VALUES | st.just("(removed)"))
        for row in rows[draw(st.integers(0, len(rows) - 1)) :]:
            row.pop(column, None)
            if value != "(removed)":
                row[column] = value
    return rows


@st.composite
def damaged(draw: Callable, data: bytes) -> bytes:
    """Bytes with insertions, deletions, repetitions and another end."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.sampled_from([0, 1, 2, 30, 1000]))
        data = data[:at] + draw(NOISE) * draw(st.sampled_from([1, 1, 3])) + data[at + size :]
    cut = draw(st.none() | st.integers(0, len(data)))
    return data[:cut] if cut is not None and draw(st.booleans()) else data


def read(path: Path, draw: Callable, commands: tuple[str, ...] = ("report",)) -> None:
    """Give records to one of the commands."""
    command = draw(st.sampled_from(commands))
    as_json = draw(st.sampled_from([[], ["--json"]]))
    if command == "report":
        run("report", path, "-o", path.parent / "out", *as_json)
    elif command == "advise":
        at = draw(st.sampled_from([("64", "8"), ("100", "8"), ("1024", "16"), ("3", "4096")]))
        run(
            "advise", "--study", path, "-a", f"T={at[0]}", "-a", "B=1", "-a", f"H={at[1]}", *as_json
        )
    else:
        (base := path.with_name("base.jsonl")).write_bytes(b"\n".join(map(dumped, ROWS)) + b"\n")
        measure = draw(st.sampled_from(["latency", "latency", "parameters", "receptive_field"]))
        run("compare", base, path, "--measure", measure, *as_json)


def target_records(command: str) -> Callable:
    """A target of changed columns for one command."""

    def target(draw: Callable, place: Path) -> None:
        path = place / "records.jsonl"
        path.write_bytes(b"\n".join(map(dumped, draw(changed_rows()))) + b"\n")
        read(path, draw, (command,))

    return target


def target_kinds(draw: Callable, place: Path) -> None:
    """Rows of another kind between the valid ones."""
    path = place / "records.jsonl"
    rows = list(map(dumped, ROWS))
    kind = st.one_of(
        VALUES.map(dumped),
        NOISE,
        st.sampled_from([b"[]", b"{}", b"[" * 100_000, b'{"uid":1,"status":"ok","schema":1}']),
        st.sampled_from(rows).map(lambda row: row[:-9]),
        st.sampled_from(rows),
        st.sampled_from(ROWS).map(lambda row: dumped({**row, "uid": "again", "status": "started"})),
        st.sampled_from(ROWS).map(lambda row: dumped({**row, "schema": 99})),
        st.sampled_from(ROWS).map(lambda row: b"[" + dumped(row) + b"]"),
    )
    for item in draw(st.lists(kind, min_size=1, max_size=6)):
        rows.insert(draw(st.integers(0, len(rows))), item)
    if draw(st.booleans()):
        rows = rows[: draw(st.integers(0, 8))]
    path.write_bytes(b"\n".join(rows))
    read(path, draw, ("report", "advise", "compare"))


def target_encodings(draw: Callable, place: Path) -> None:
    """Records and studies in other encodings, and damaged ones."""
    study = draw(st.booleans())
    path = place / ("s.toml" if study else "records.jsonl")
    data = STUDY.encode() if study else b"\n".join(map(dumped, ROWS[-30:]))
    encoding = draw(
        st.sampled_from(["utf-16", "utf-32", "utf-8-sig", "cp500", "latin-1", "damaged"])
    )
    if encoding == "damaged":
        data = draw(damaged(data))
    else:
        data = (data.decode() + "# ü").encode(encoding)
    path.write_bytes(data)
    if study:
        read_study(path, draw)
    else:
        read(path, draw, ("report", "advise", "compare"))


def target_parquet(draw: Callable, place: Path) -> None:
    """Tables with changed, removed, renamed and repeated columns, and damaged files."""
    path = place / "records.parquet"
    how = draw(st.sampled_from(["cells", "cells", "types", "names", "bytes", "empty"]))
    table = parquet.read_table(PARQUET)
    name = draw(st.sampled_from(table.column_names))
    index = table.schema.get_field_index(name)
    if how == "bytes":
        path.write_bytes(draw(damaged(PARQUET.read_bytes())))
    else:
        if how == "cells":
            values = table[name].to_pylist()
            for at in draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=5)):
                values[at] = draw(VALUES)
            with contextlib.suppress(
                pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError
            ):
                table = table.set_column(index, name, pa.array(values, table.schema.types[index]))
        elif how == "types":
            values = [draw(VALUES)] * len(table)
            with contextlib.suppress(
                pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError
            ):
                table = table.set_column(index, name, pa.array(values))
        elif how == "names":
            other = draw(st.sampled_from(table.column_names) | st.text(max_size=5))
            names = [other if own == name else own for own in table.column_names]
            with contextlib.suppress(UnicodeEncodeError):
                table = table.rename_columns(names)
        else:
            table = table.slice(0, draw(st.integers(0, 2)))
        try:
            parquet.write_table(table, path)
        except pa.ArrowException:
            hypothesis.reject()
    read(path, draw, ("report", "advise", "compare"))


STUDY = """name = "fuzzed"
description = "a study"
measures = ["latency", "peak_memory", "parameters"]
min_run_time = "100 ms"
max_run_time = 1.0
timeout = 60
[axes]
model = ["lstm", "conv"]
seq_len = "64:1024:*2"
batch_size = [1, 4]
hidden_size = 8
[only.peak_memory]
seq_len = [64, 256]
"""
TOML = st.sampled_from(
    [
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "1" * 5000,
        "9223372036854775808",
        "1979-05-27",
        "07:32:00",
        "1979-05-27T07:32:00Z",
        "true",
        '""',
        '"a"',
        "[]",
        "[[1]]",
        "[1, [2]]",
        "{}",
        "{a = 1}",
        "[{}]",
        '"1:9999999:+1"',
        '"1:99999999999999:*2"',
        '"64,,"',
        "1.5",
        '"\\u0000"',
        '"../x"',
        '"lstm"',
        "[" * 3000,
        "{a=" * 2000,
        '"gone:model"',
        '"' + "x" * 9000 + '"',
        "['a', 1]",
        "0x7fffffffffffff",
        '"1 h"',
        '"1e308 h"',
        '"auto"',
        "[true, 1]",
        "[1, true]",
        '["latency", "latency"]',
        '"１２"',
    ]
)


@st.composite
def changed_study(draw: Callable) -> bytes:
    """The study with values, keys or bytes changed."""
    text = STUDY.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text) - 1))
        key = text[at].partition(" = ")[0]
        keys = st.sampled_from(
            ["name", "axes", "only", "T", "seq_len", "device", "match", "x", '""']
        )
        text[at] = draw(
            st.one_of(
                TOML.map(lambda value, key=key: f"{key} = {value}"),
                st.tuples(keys, TOML).map(" = ".join),
                st.sampled_from(["", "[", "[[axes]]", "[only]", "[only.latency.x]", "a.b.c = 1"]),
            )
        )
    data = "\n".join(text).encode()
    return draw(damaged(data)) if draw(st.integers(0, 3)) == 0 else data


def read_study(path: Path, draw: Callable) -> None:
    """Give a study to the commands, and to the steps of `run` that come before measuring."""
    from benchsuite.cli.run import _study

    if draw(st.booleans()):
        run("report", path, "--home", path.parent)
        return
    try:
        study = _study(str(path), [], "cpu", [], None)
        study.to_toml()
        study.cases(study.measures[0])
    except BenchsuiteError as error:
        words = str(error)
    else:
        return
    assert "\n" not in words, "a message of several lines"
    assert len(words) < 3000, "a message of many thousand characters"
    words.encode()


def target_studies(draw: Callable, place: Path) -> None:
    """Study files with changed values, keys and bytes."""
    (path := place / "s.toml").write_bytes(draw(changed_study()))
    read_study(path, draw)


def explanation() -> dict:
    """An explanation as `benchsuite trace` writes it."""
    return {
        "case": "lstm-T64-B1-H8-infer-cpu", "device": "cpu", "seconds": 0.01, "model": "lstm",
        "untraced_seconds": 0.008, "page_faults": 3.0, "fault_share": 0.1,
        "shares": {"python": 0.5, "dispatch": 0.2, "matmul": 0.3}, "phases": {"forward": 1.0},
        "bound": "overhead", "bounds": {"overhead": 0.7, "arithmetic": 0.2, "memory": 0.1},
        "timesteps": 64, "calls": 100, "works": 50, "products": 2, "kernels": 0, "unrolled": True,
        "idle": None, "libraries": {"oneDNN": 1.0}, "flops_rate": 1e9, "cut": [],
        "top": [{"op": "aten::mm", "category": "matmul", "calls": 3, "seconds": 0.1, "share": 0.2}],
        "sentences": ["A step takes 1 ms."],
    }  # fmt: skip


def target_explanations(draw: Callable, place: Path) -> None:
    """Explanations of traces beside valid records."""
    rows = [row for row in ROWS if row["measure"] in {"latency", "parameters"}]
    (place / "records.jsonl").write_bytes(b"\n".join(map(dumped, rows)))
    for number in range(3):
        content = explanation()
        if draw(st.booleans()):
            content["bounds"] = {"launch": 0.7, "compute": 0.2, "bandwidth": 0.1}
        for key in draw(st.lists(st.sampled_from(sorted(content)), max_size=3)):
            if draw(st.integers(0, 3)) == 0:
                del content[key]
                break
            if isinstance(content[key], dict) and content[key] and draw(st.booleans()):
                inner = draw(st.sampled_from(sorted(content[key])))
                content[key] = {**content[key], inner: draw(VALUES)}
            else:
                content[key] = draw(VALUES)
        data = dumped(draw(st.just(content) | VALUES) if draw(st.integers(0, 5)) == 0 else content)
        if draw(st.integers(0, 4)) == 0:
            data = draw(damaged(data))
        file = place / "traces" / f"t{number}" / "explanation.json"
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    run("report", place / "records.jsonl", "-o", place / "out")


def target_traces(draw: Callable, place: Path) -> None:
    """Trace files with changed events, damaged and compressed ones."""
    from benchsuite.profiling.explain import explain
    from benchsuite.profiling.trace_frame import load_frame

    shapes = {"Input Dims": [[1, 8], [8, 8]], "Input type": ["float", "float"]}
    events = [
        {"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#1", "ts": 0, "dur": 90,
         "pid": 1, "tid": 1},
        *({"ph": "X", "cat": "cpu_op", "name": name, "ts": 5 + 9 * at, "dur": 8, "pid": 1, "tid": 1,
           "args": {**shapes, "Sequence number": at, "External id": at}}
          for at, name in enumerate(["aten::mm", "aten::addmm", "aten::relu", "aten::copy_"])),
        {"ph": "X", "cat": "kernel", "name": "k", "ts": 50, "dur": 3, "pid": 0, "tid": 7,
         "args": {"correlation": 3, "External id": 2}},
    ]  # fmt: skip
    notes = {"case": "c", "axes": {"seq_len": 2, "batch_size": 1}, "pace": {"flops": 1e9}}
    content = {"traceEvents": events, "benchsuite": notes}
    for event in draw(st.lists(st.sampled_from([*events, notes, content]), max_size=4)):
        key = draw(st.sampled_from(sorted(event)))
        event[key] = draw(VALUES)
    data = dumped(content)
    if draw(st.integers(0, 3)) == 0:
        data = draw(damaged(data))
    if draw(st.booleans()):
        data = gzip.compress(data)
        if draw(st.integers(0, 3)) == 0:
            data = draw(damaged(data))
    (path := place / "trace.json.gz").write_bytes(data)
    with contextlib.suppress(BenchsuiteError):
        explain(load_frame(path))


def target_bombs(draw: Callable, place: Path) -> None:
    """Small files that become large: gzip, Parquet, long lines, long lists, many lines."""
    from benchsuite.profiling.trace_file import read_trace

    kind = draw(
        st.sampled_from(["gzip", "line", "samples", "lines", "rows", "text", "study", "json"])
    )
    if kind == "gzip":
        path = place / "trace.json.gz"
        with gzip.open(path, "wb", compresslevel=1) as out:
            for _ in range(64):
                out.write(b" " * (64 << 20))
        with contextlib.suppress(BenchsuiteError):
            read_trace(path)
    elif kind in {"rows", "text"}:
        path = place / "records.parquet"
        table = parquet.read_table(PARQUET).slice(0, 1)
        count = 50_000_000 if kind == "rows" else 100_000
        columns = {}
        for name in table.column_names:
            value = table[name][0].as_py()
            if name == "reason" and kind == "text":
                value = "x" * (1 << 20)
            one = pa.array([value] * 1000, table.schema.field(name).type)
            columns[name] = one
        if kind == "rows":
            few = pa.table({"uid": columns["uid"].take(pa.array([0] * 1_000_000))})
            with parquet.ParquetWriter(path, few.schema) as writer:
                for _ in range(count // len(few)):
                    writer.write_table(few)
        else:
            whole = pa.table(columns)
            with parquet.ParquetWriter(path, whole.schema) as writer:
                for _ in range(count // len(whole)):
                    writer.write_table(whole)
        read(path, draw, ("report", "advise"))
    elif kind == "study":
        (path := place / "s.toml").write_bytes(b"#" * (256 << 20))
        read_study(path, draw)
    elif kind == "json":
        file = place / "traces" / "t" / "explanation.json"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"[" + b" " * (1 << 30) + b"]")
        (place / "records.jsonl").write_bytes(b"\n".join(map(dumped, ROWS[:20])))
        run("report", place / "records.jsonl", "-o", place / "out")
    else:
        path = place / "records.jsonl"
        row = dumped(ROWS[1])
        with path.open("wb") as out:
            out.write(row + b"\n")
            if kind == "line":
                out.truncate(6 << 30)  # zeros without an end of line
            elif kind == "samples":
                many = b"1e-3," * 20_000_000
                out.write(row[:-1] + b',"samples":[' + many + b"1]}\n")
            else:
                for _ in range(200):
                    out.write(b"[]\n" * 10_000)
            out.seek(0, 2)
            out.write(b"\n" + row + b"\n")
        read(path, draw, ("report", "advise"))


TARGETS: dict[str, Callable[[Callable, Path], None]] = {
    **{
        f"records in {command}": target_records(command)
        for command in ("report", "advise", "compare")
    },
    "rows of another kind": target_kinds,
    "studies": target_studies,
    "explanations": target_explanations,
    "traces": target_traces,
    "parquet": target_parquet,
    "encodings": target_encodings,
    "bombs": target_bombs,
}
#: A valid table, written at the start.
PARQUET = Path()


class Over(Exception):  # noqa: N818 - the end of the budget, not an error
    """A target's time is over."""


def fuzz(target: Callable, seconds: float, seed: int) -> tuple[int, Counter[str]]:
    """Try a target for some seconds; the number of tries, and of failures by their place."""
    failures: Counter[str] = Counter()
    tried, start = 0, time.monotonic()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=10**9,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(st.data())
    def attempt(data: st.DataObject) -> None:
        nonlocal tried
        if time.monotonic() - start > seconds:
            raise Over
        place = Path(tempfile.mkdtemp(prefix="fuzz"))
        try:
            target(data.draw, place)
        except (hypothesis.errors.UnsatisfiedAssumption, hypothesis.errors.StopTest):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if "StopTest" in type(error).__name__:
                raise
            frames = [
                f for f in traceback.extract_tb(error.__traceback__) if "benchsuite/" in f.filename
            ]
            at = (
                f"{frames[-1].filename.rpartition('benchsuite/')[2]}:{frames[-1].lineno}"
                if frames
                else ""
            )
            failures[f"{at} {type(error).__name__}: {str(error)[:200]!r}"] += 1
            if KEEP:
                kept = Path(KEEP) / f"{len(failures)}-{at.replace('/', '_')}"
                if not kept.exists():
                    shutil.copytree(place, kept)
                    (kept / "argv").write_text(" ".join(sys.argv), errors="replace")
        finally:
            shutil.rmtree(place, ignore_errors=True)
        tried += 1

    # Raising `Over` before anything is drawn is also reported as inconsistent generation of data.
    with contextlib.suppress(Over, hypothesis.errors.FlakyStrategyDefinition):
        attempt()
    return tried, failures


KEEP = os.environ.get("FUZZ_KEEP", "")


def main() -> int:
    """Try the targets and print what came of it."""
    global PARQUET
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("targets", metavar="TARGET", nargs="*", help=", ".join(TARGETS))
    options.add_argument("--seconds", type=float, default=20.0, help="for each target")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    def too_long(*_: object) -> None:
        raise TimeoutError(f"took more than {LIMIT} s of processor time")

    signal.signal(signal.SIGPROF, too_long)
    for name in [n for n in os.environ if n.startswith("BENCHSUITE_")]:
        del os.environ[name]
    failed = 0
    with tempfile.TemporaryDirectory() as directory:
        (file := Path(directory) / "records.jsonl").write_bytes(b"\n".join(map(dumped, ROWS)))
        PARQUET = write_tables(load_records(file), Path(directory))[1]
        os.chdir(directory)
        run("report", PARQUET, "-o", Path(directory) / "out")  # imports are not timed
        for name in given.targets or TARGETS:
            tried, failures = fuzz(TARGETS[name], given.seconds, given.seed)
            failed += failures.total()
            print(
                f"{name:22} {tried:5} tried, {failures.total():4} ended in a traceback", flush=True
            )
            for words, count in failures.most_common():
                print(f"    {count} × {words}", flush=True)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
