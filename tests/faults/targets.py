"""What is fuzzed: every kind of input file, and the commands that it is given to.

A target draws an input, writes it into an empty directory and gives it to a command in this process.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import pyarrow as pa
import seeds
from hypothesis import strategies as st
from mutations import NOISE, RAW, VALUES, changed, damaged, dumped, repeated
from pyarrow import parquet

from benchsuite.cli import main as command_line
from benchsuite.errors import BenchsuiteError
from benchsuite.records import SCHEMA, load_records, write_tables
from benchsuite.records.rows import read_rows, tail_rows

#: Modules that commands import while they run.
LAZY = (
    *("benchsuite.analysis", "benchsuite.analysis.advice", "benchsuite.analysis.comparison"),
    *("benchsuite.cli._output", "benchsuite.cli._sources", "benchsuite.history.results"),
    *("benchsuite.profiling.explain", "benchsuite.profiling.trace_frame", "benchsuite.report.page"),
)
#: Seconds of processor time that a command may take for one input.
LIMIT = 60
#: Characters that a command may print on standard error.
_MOST_WORDS = 30_000


def command(*words: str | Path) -> None:
    """Run a command in this process.

    Raises:
        AssertionError: if it ended otherwise than with exit code 0, 1 or 2, or printed what it must
            not.
    """
    sys.argv, paths = ["benchsuite", *map(str, words)], sys.path[:]
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command_line()
    except SystemExit as end:
        code = end.code or 0
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.path[:] = paths
    for stream in (out, err):
        stream.flush()
    printed, text = out.buffer.getvalue().decode(), err.buffer.getvalue().decode()
    assert code in {0, 1, 2}, f"exit code {code}"
    assert "Traceback" not in text, text[-300:]
    assert code != 2 or text.splitlines()[-1].startswith(("error: ", "Usage: ")), text[-300:]
    assert len(text) < _MOST_WORDS, f"{len(text)} characters on standard error"
    for odd in ("\x1b", "\x9b", "\x00", "\u202e"):
        assert odd not in printed + text, f"{odd!r} reaches the terminal"


def refused_or_read(read: Callable[[], object]) -> None:
    """Call a function that may refuse its input in one line.

    Raises:
        AssertionError: if the refusal is not one short line.
    """
    try:
        read()
    except BenchsuiteError as error:
        words = str(error)
        assert "\n" not in words, "a message of several lines"
        assert len(words) < 3000, "a message of many thousand characters"
        words.encode()


ROWS = seeds.rows()
PUBLISHED = seeds.published_rows()
EXPLANATIONS, STUDIES = seeds.explanations(), seeds.studies()


@st.composite
def changed_lines(draw: Callable) -> bytes:
    """A record file with changed columns in a few rows, or one column changed in all."""
    base = draw(st.sampled_from([ROWS, ROWS, PUBLISHED]))
    measures = sorted({row["measure"] for row in base})
    chosen = draw(st.sets(st.sampled_from(measures), min_size=1, max_size=2))
    rows = [dict(row) for row in base if row["measure"] in chosen]
    names = st.sampled_from(sorted(SCHEMA))
    how = draw(st.sampled_from(["cells", "cells", "column", "twice"]))
    if how == "column":
        column, value = draw(names), draw(VALUES | st.just("(removed)"))
        for row in rows[draw(st.integers(0, len(rows) - 1)) :]:
            row.pop(column, None)
            if value != "(removed)":
                row[column] = value
        return b"\n".join(map(dumped, rows)) + b"\n"
    lines = list(map(dumped, rows))
    for index in draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=8)):
        if how == "twice":
            name = draw(st.sampled_from(sorted(rows[index])))
            lines[index] = repeated(rows[index], name, draw(VALUES))
        else:
            for column in draw(st.lists(names, min_size=1, max_size=3)):
                rows[index][column] = draw(VALUES)
            lines[index] = dumped(rows[index])
    return b"\n".join(lines) + b"\n"


def give(path: Path, draw: Callable, commands: tuple[str, ...]) -> None:
    """Give records to one of the commands."""
    name = draw(st.sampled_from(commands))
    as_json = draw(st.sampled_from([[], ["--json"]]))
    if name == "load":
        refused_or_read(lambda: load_records(path, every_attempt=bool(as_json)))
        list(read_rows(path, []))
        tail_rows(path, 0)
    elif name == "report":
        command("report", path, "-o", path.parent / "out", *as_json)
    elif name == "advise":
        t, h = draw(st.sampled_from([("64", "8"), ("100", "32"), ("1024", "16"), ("3", "4096")]))
        words = ["-a", f"T={t}", "-a", "B=1", "-a", f"H={h}", *as_json]
        words += draw(st.sampled_from([[], ["--need-field", "0"], ["--max-memory", "1 MB"]]))
        command("advise", "--study", path, *words)
    else:
        base = path.with_name("base.jsonl")
        base.write_bytes(b"\n".join(map(dumped, draw(st.sampled_from([ROWS, PUBLISHED])))))
        measure = draw(st.sampled_from(["latency", "latency", "parameters", "receptive_field"]))
        sides = draw(st.sampled_from([[base, path], [path, base], [path, path]]))
        command("compare", *sides, "--measure", measure, *as_json)


def records_in(name: str) -> Callable:
    """A target of changed columns for one command."""

    def target(draw: Callable, place: Path) -> None:
        (path := place / "records.jsonl").write_bytes(draw(changed_lines()))
        give(path, draw, (name,))

    return target


EVERY = ("report", "advise", "compare")


def other_kinds(draw: Callable, place: Path) -> None:
    """Rows of another kind between the valid ones."""
    rows = list(map(dumped, ROWS))
    of_ours = st.sampled_from(ROWS)
    kind = st.one_of(
        VALUES.map(dumped),
        NOISE,
        st.sampled_from(RAW),
        st.sampled_from([b"[]", b"{}", b'{"uid":1,"status":"ok","schema":1}']),
        st.sampled_from(rows).map(lambda row: row[:-9]),
        st.sampled_from(rows),
        st.sampled_from(EXPLANATIONS).map(dumped),
        of_ours.map(lambda row: dumped({**row, "uid": "again", "status": "started"})),
        of_ours.map(lambda row: dumped({**row, "schema": 99})),
        of_ours.map(lambda row: b"[" + dumped(row) + b"]"),
        of_ours.map(lambda row: dumped(list(row.items()))),
    )
    for item in draw(st.lists(kind, min_size=1, max_size=6)):
        rows.insert(draw(st.integers(0, len(rows))), item)
    if draw(st.booleans()):
        rows = rows[: draw(st.integers(0, 8))]
    (path := place / "records.jsonl").write_bytes(b"\n".join(rows))
    give(path, draw, EVERY)


def encodings(draw: Callable, place: Path) -> None:
    """Records and studies in other encodings, compressed, and damaged ones."""
    study = draw(st.booleans())
    path = place / ("s.toml" if study else "records.jsonl")
    data = draw(st.sampled_from(STUDIES)).encode() if study else b"\n".join(map(dumped, ROWS[-30:]))
    encoding = draw(st.sampled_from([
        *("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "utf-7", "cp500", "latin-1", "shift-jis"),
        *("gzip", "zstd", "damaged", "damaged"),
    ]))  # fmt: skip
    if encoding == "damaged":
        data = draw(damaged(data))
    elif encoding in {"gzip", "zstd"}:
        data = pa.compress(data, codec=encoding, asbytes=True)
        data = draw(damaged(data)) if draw(st.booleans()) else data
    else:
        text = data.decode() + ("# ü" if encoding != "shift-jis" else "# あ")
        data = text.encode(encoding, errors="replace")
    path.write_bytes(data)
    if study:
        give_study(path, draw)
    else:
        give(path, draw, EVERY)


@cache
def tables() -> list[tuple[bytes, pa.Table]]:
    """Valid `records.parquet` files: one of today, and the published one."""
    place = Path("tables")
    place.mkdir()
    (file := place / "records.jsonl").write_bytes(b"\n".join(map(dumped, ROWS)))
    made = write_tables(load_records(file), place)[1]
    few = parquet.read_table(seeds.ROOT / "reports/default/records.parquet").slice(0, 60)
    parquet.write_table(few, published := place / "published.parquet", compression="zstd")
    return [(path.read_bytes(), parquet.read_table(path)) for path in (made, published)]


#: What Arrow raises where a mutation is not a table: such an input cannot be written.
UNWRITABLE = (pa.ArrowException, OverflowError, UnicodeEncodeError, TypeError, ValueError)


def tables_of_records(draw: Callable, place: Path) -> None:
    """Tables with changed, removed, renamed and repeated columns, and damaged files."""
    path = place / "records.parquet"
    how = draw(st.sampled_from(["cells", "cells", "types", "names", "bytes", "few", "columns"]))
    data, table = draw(st.sampled_from(tables()))
    name = draw(st.sampled_from(table.column_names))
    index = table.schema.get_field_index(name)
    try:
        if how == "cells":
            values = table[name].to_pylist()
            for at in draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=5)):
                values[at] = draw(VALUES)
            table = table.set_column(index, name, pa.array(values, table.schema.types[index]))
        elif how == "types":
            table = table.set_column(index, name, pa.array([draw(VALUES)] * len(table)))
        elif how == "names":
            other = draw(st.sampled_from(table.column_names) | st.text(max_size=5))
            table = table.rename_columns([other if n == name else n for n in table.column_names])
        elif how == "columns":
            table = table.select(draw(st.lists(st.sampled_from(table.column_names), max_size=9)))
        elif how == "few":
            table = table.slice(0, draw(st.integers(0, 2)))
        codec = draw(st.sampled_from(["none", "snappy", "gzip", "zstd", "brotli", "lz4"]))
        if how == "bytes":
            path.write_bytes(draw(damaged(data)))
        else:
            parquet.write_table(table, path, compression=codec)
    except UNWRITABLE:
        hypothesis.reject()
    give(path, draw, EVERY)


TOML = st.sampled_from([
    *("nan", "inf", "-inf", "-1", "0", "1e400", "1" * 5000, "9223372036854775808", "1.5", "1e-320"),
    *("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "9999-12-31T23:59:59+23:59", "2023-02-30"),
    *("true", '""', '"a"', "[]", "[[1]]", "[1, [2]]", "{}", "{a = 1}", "[{}]", "['a', 1]", "[true]"),
    *('"1:9999999:+1"', '"1:99999999999999:*2"', '"64,,"', '"1:2:3:4"', '"64:1:*2"', '"1:9:*1"'),
    *('"\\u0000"', '"\\u001b[31m"', '"\\ud800"', '"../x"', '"lstm"', '"gone:model"', '"=1+1"'),
    *("[" * 3000, "{a=" * 2000, '"' + "x" * 9000 + '"', "0x7fffffffffffff", "1" * 400, "0x" + "f" * 9000, '"1 h"', '"1e308 h"'),
    *('"auto"', "[1, true]", '["latency", "latency"]', '"１２"', '"٣"', "[1.0]", '["64:128:*2", 7]'),
])  # fmt: skip
KEYS = st.sampled_from([
    *("name", "axes", "only", "families", "measures", "T", "seq_len", "device", "match", "x", '""'),
    *("timeout", "warmup", '"\\u001b"', "a.b.c", "only.latency.model", "axes.model"),
])  # fmt: skip


@st.composite
def changed_study(draw: Callable) -> bytes:
    """A study with values, keys or bytes changed."""
    text = draw(st.sampled_from(STUDIES)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text) - 1))
        key = text[at].partition(" = ")[0]
        text[at] = draw(
            st.one_of(
                TOML.map(lambda value, key=key: f"{key} = {value}"),
                st.tuples(KEYS, TOML).map(" = ".join),
                st.sampled_from(["", "[", "[[axes]]", "[only]", "[only.latency.x]", "[families]"]),
            )
        )
    data = "\n".join(text).encode()
    return draw(damaged(data)) if draw(st.integers(0, 3)) == 0 else data


def give_study(path: Path, draw: Callable) -> None:
    """Give a study to the commands, and to the steps of `run` that come before measuring."""
    from benchsuite.cli.run import _study

    def plan() -> None:
        study = _study(str(path), [], "cpu", [], None)
        study.to_toml()
        study.cases(study.measures[0])

    if draw(st.booleans()):
        command("report", path, "--home", path.parent)
    else:
        refused_or_read(plan)


def studies(draw: Callable, place: Path) -> None:
    """Study files with changed values, keys and bytes."""
    (path := place / "s.toml").write_bytes(draw(changed_study()))
    give_study(path, draw)


def explanations(draw: Callable, place: Path) -> None:
    """Explanations of traces beside a valid record."""
    (place / "records.jsonl").write_bytes(dumped(ROWS[5]))
    for number in range(draw(st.integers(1, 3))):
        data = dumped(draw(changed(draw(st.sampled_from(EXPLANATIONS)))))
        how = draw(st.sampled_from(["", "", "", "damaged", "value", "gzip"]))
        if how == "damaged":
            data = draw(damaged(data))
        elif how == "value":
            data = dumped(draw(VALUES))
        elif how == "gzip":
            data = draw(damaged(gzip.compress(data)))
        file = place / "traces" / f"t{number}" / "explanation.json"
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
    command("report", place / "records.jsonl", "-o", place / "out")


def traces(draw: Callable, place: Path) -> None:
    """Trace files with changed events, damaged and compressed ones."""
    from benchsuite.profiling.explain import explain
    from benchsuite.profiling.trace_frame import load_frame

    content = draw(changed(seeds.trace(), 1))
    for name in ("traceEvents", "benchsuite"):
        inner = content.get(name)
        if isinstance(inner, dict) and inner:
            content[name] = draw(changed(inner))
        elif isinstance(inner, list) and draw(st.booleans()):
            content[name] = [
                draw(changed(event)) if isinstance(event, dict) and draw(st.booleans()) else event
                for event in inner
            ]
    data = dumped(content)
    if draw(st.integers(0, 3)) == 0:
        data = draw(damaged(data))
    if draw(st.booleans()):
        data = gzip.compress(data)
        data = draw(damaged(data)) if draw(st.integers(0, 3)) == 0 else data
    (path := place / "trace.json.gz").write_bytes(data)
    refused_or_read(lambda: explain(load_frame(path)))


def compressed_bomb(place: Path) -> None:
    """Three gibibytes of spaces as a trace of a few megabytes."""
    from benchsuite.profiling.trace_file import read_trace

    member = gzip.compress(b" " * (64 << 20), compresslevel=1)
    (path := place / "trace.json.gz").write_bytes(member * 48)
    refused_or_read(lambda: read_trace(path))


def explanation_bomb(place: Path) -> None:
    """An explanation of eight gibibytes that take no space on the disk."""
    file = place / "traces" / "t" / "explanation.json"
    file.parent.mkdir(parents=True)
    with file.open("wb") as out:
        out.truncate(8 << 30)
    (place / "records.jsonl").write_bytes(b"\n".join(map(dumped, ROWS[:20])))
    command("report", place / "records.jsonl", "-o", place / "out")


def study_bomb(place: Path) -> None:
    """A study file of eight gibibytes that take no space on the disk."""
    with (path := place / "s.toml").open("wb") as out:
        out.truncate(8 << 30)
    command("report", path, "--home", place)
    command("run", path, "--home", place)


def rows_bomb(place: Path) -> None:
    """Fifty million rows in a table of some kilobytes."""
    few = pa.table({"uid": _one_text("x", 1_000_000)})
    path = place / "records.parquet"
    with parquet.ParquetWriter(path, few.schema, compression="zstd") as writer:
        for _ in range(50):
            writer.write_table(few)
    _read_all(path)


def texts_bomb(place: Path) -> None:
    """A million rows with a text of a mebibyte each, in a table of some megabytes."""
    row = tables()[0][1].slice(0, 1)
    columns = {name: pa.repeat(row[name][0], 10_000) for name in row.column_names}
    columns["reason"] = _one_text("x" * (1 << 20), 10_000)
    path, table = place / "records.parquet", pa.table(columns)
    with parquet.ParquetWriter(path, table.schema) as writer:
        for _ in range(100):
            writer.write_table(table)
    _read_all(path)


def _one_text(text: str, length: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), length), [text])


def line_bomb(place: Path) -> None:
    """Half a gibibyte without an end of line, between two records."""
    _lines_bomb(place, lambda out: out.truncate(1 << 29))


def samples_bomb(place: Path) -> None:
    """A record of twenty million samples."""
    row = dumped(ROWS[1])[:-1] + b',"samples":[' + b"1e-3," * 20_000_000 + b"1]}"
    _lines_bomb(place, lambda out: out.write(row))


def many_lines_bomb(place: Path) -> None:
    """A million lines that are not records."""
    _lines_bomb(place, lambda out: out.writelines([b"[]\n" * 10_000] * 100))


def _lines_bomb(place: Path, write: Callable) -> None:
    row = dumped(ROWS[1])
    with (path := place / "records.jsonl").open("wb") as out:
        out.write(row + b"\n")
        write(out)
        out.seek(0, 2)
        out.write(b"\n" + row + b"\n")
    _read_all(path)


def _read_all(path: Path) -> None:
    command("report", path, "-o", path.parent / "out")
    command("advise", "--study", path, "-a", "T=64", "-a", "B=1", "-a", "H=8")
    command("compare", path, path)


#: Small files that become large; each is tried once.
BOMBS: tuple[Callable[[Path], None], ...] = (
    *(compressed_bomb, explanation_bomb, study_bomb, rows_bomb, texts_bomb, line_bomb),
    *(samples_bomb, many_lines_bomb),
)


TARGETS: dict[str, Callable[[Callable, Path], None]] = {
    "records, loaded": records_in("load"),
    "records in report": records_in("report"),
    "records in advise": records_in("advise"),
    "records in compare": records_in("compare"),
    "rows of another kind": other_kinds,
    "studies": studies,
    "explanations": explanations,
    "traces": traces,
    "parquet": tables_of_records,
    "encodings": encodings,
}


def remember_reports() -> None:
    """Write the report of equal records only once: most mutations are refused when they are read."""
    from benchsuite.report import page

    write, seen = page.write_report, {}

    def write_report(frame, directory, *, traces=None, **options):
        key = repr((frame.to_dict("list"), options))
        if traces is not None and traces.exists():
            return write(frame, directory, traces=traces, **options)
        if key not in seen:
            seen[key] = write(frame, directory, traces=traces, **options)
        return seen[key]

    page.write_report = write_report
