"""Records: what is written can be read back, also after crashes and other faults."""

from __future__ import annotations

import csv
import json
import math
import multiprocessing
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.grid.axes import AXES
from benchsuite.records import (
    SCHEMA,
    Record,
    RecordFile,
    load_records,
    read_rows,
    rows,
    settle,
    to_frame,
    write_tables,
)
from benchsuite.records.csv_files import write_csv
from benchsuite.records.line import WRITTEN
from benchsuite.stats import summarise


@pytest.fixture
def file(tmp_path):
    return RecordFile(tmp_path / "study" / "records.jsonl")


def test_a_record_is_read_back_unchanged(file, make_record):
    record = make_record(samples=[1.0, 1.5, 2.0], warning="unstable: so it is", match="params")
    file.append(record)
    (row,) = read_rows(file.path)
    assert Record.from_row(row) == record
    assert set(row) <= set(SCHEMA)


_YOUNGER = {
    *("allocator", "page_faults", "fault_time", "malloc"),
    *("other_cores", "preemptions", "calibration", "clock_change"),
}


def test_rows_from_before_the_allocators_axis_are_of_its_default(file, make_record, tmp_path):
    new = make_record(provenance={"page_faults": 3.0, "fault_time": 1e-7, "malloc": "glibc 2"})
    old = {name: value for name, value in new.to_row().items() if name not in _YOUNGER}
    file.append(new)
    (path := tmp_path / "old.jsonl").write_text(json.dumps(old) + "\n")
    (row,) = read_rows(path)
    assert Record.from_row(row).case == new.case
    frame, before = load_records(file.path), load_records(path)
    assert before["allocator"].tolist() == frame["allocator"].tolist() == ["default"]
    assert before["page_faults"].isna().all()
    assert frame["page_faults"].tolist() == [3.0]
    _, parquet = write_tables(before, tmp_path / "out")
    pd.read_parquet(parquet).drop(columns=list(_YOUNGER)).to_parquet(parquet)
    pd.testing.assert_frame_equal(load_records(parquet), before)


def test_the_published_records_still_load():
    frame = load_records(Path(__file__).parents[2] / "reports/default/records.parquet")
    assert set(frame["allocator"]) <= {"default", "held"}
    assert len(frame) > 1000


def test_the_frame_has_all_columns_of_the_schema(file, make_record):
    file.append(make_record(samples=[3.0, 1.0, 2.0, 4.0, 5.0, 6.0], value=3.5))
    file.append(make_record(measure="parameters", unit="1", value=10.0))
    file.append(make_record(measure="flops", unit="FLOP", status="failed", reason="why"))
    frame = load_records(file.path)
    assert list(frame.columns) == list(SCHEMA)
    timed, exact, failed = (row for _, row in frame.iterrows())
    assert (timed["value"], timed["ci_low"], timed["ci_high"]) == (3.5, 1.0, 6.0)
    assert (timed["q25"], timed["q75"], timed["n_samples"]) == (2.25, 4.75, 6)
    assert list(timed["samples"]) == [3.0, 1.0, 2.0, 4.0, 5.0, 6.0]
    assert (exact["ci_low"], exact["ci_high"], exact["n_samples"]) == (10.0, 10.0, 1)
    assert (math.isnan(failed["value"]), failed["n_samples"], failed["reason"]) == (True, 0, "why")


def test_tables_read_back_as_they_were(file, make_record, tmp_path):
    file.append(make_record(samples=[1.0, 2.0]))
    file.append(make_record(measure="parameters", unit="1", value=10.0))
    frame = load_records(file.path)
    table, parquet = write_tables(frame, tmp_path / "out")
    again = pd.read_parquet(parquet)
    assert [list(s) if s is not None else None for s in again["samples"]] == [[1.0, 2.0], None]
    pd.testing.assert_frame_equal(
        again.drop(columns="samples"), frame.drop(columns="samples"), check_dtype=False
    )
    text = pd.read_csv(table)
    assert list(text.columns) == list(SCHEMA)
    assert json.loads(text["samples"][0]) == [1.0, 2.0]


def test_a_start_without_an_end_is_a_crash(file, make_record):
    dead = make_record(status="started", seq_len=8)
    fine = make_record(status="started", seq_len=16)
    for record in (dead, fine, fine.replace(status="ok", value=2.0)):
        file.append(record)
    frame = load_records(file.path).set_index("seq_len")
    assert frame["status"].to_dict() == {8: "crashed", 16: "ok"}
    assert "its process ended without a result" in frame.loc[8, "reason"]


def test_a_process_killed_after_its_limit_was_a_timeout(make_record):
    dead = make_record(status="started", seq_len=8, timeout=10.0, started_at=100.0)
    next_one = make_record(seq_len=16, timeout=10.0, started_at=141.0)
    (row, _) = settle([dead.to_row(), next_one.to_row()])
    assert (row["status"], row["reason"]) == ("timeout", "killed after its limit of 10 s")
    soon = next_one.replace(started_at=102.0)
    tomorrow = next_one.replace(started_at=90_000.0)
    for other in (soon, tomorrow):
        assert settle([dead.to_row(), other.to_row()])[0]["status"] == "crashed"


def test_a_partial_last_line_is_reported_and_the_others_are_read(file, make_record):
    file.append(make_record(seq_len=8))
    file.append(make_record(seq_len=16))
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-40])
    frame = load_records(file.path)
    assert list(frame["seq_len"]) == [8]
    (problem,) = frame.attrs["problems"]
    assert "line 2: not a record, skipped (the last line, only partially written)" in problem
    file.append(make_record(seq_len=32))  # a partial line does not swallow the next one
    assert list(load_records(file.path)["seq_len"]) == [8, 32]


@given(cut=st.integers(min_value=0))
def test_whole_lines_of_a_truncated_file_are_read(cut, tmp_path_factory):
    path = tmp_path_factory.mktemp("cut") / "records.jsonl"
    row = {**dict.fromkeys(AXES, 1), "uid": "u", "status": "ok", "schema": 1}
    row.update(model="lstm", mode="infer", device="cpu", dtype="float32", match="width")
    row.update(bidirectional=False, engine="eager", allocator="default")
    lines = [json.dumps({**row, "uid": str(i)}).encode() + b"\n" for i in range(3)]
    data = b"".join(lines)
    cut %= len(data) + 1
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n")
    complete = cut in {len(b"".join(lines[: k + 1])) - 1 for k in range(3)}  # only "\n" is missing
    assert len(list(read_rows(path))) == whole + complete


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[]", "not a record"),
        ('"text"', "not a record"),
        ("{}", "not a record"),
        ("\x00\x01", "not a record"),
        ('{"uid": "u", "status": "ok"}', "schema None"),
        ('{"uid": "u", "status": "ok", "schema": 99}', "schema 99 is newer than 2; update"),
        ('{"uid": "u", "status": "ok", "schema": 1}', "model is missing"),
        ('{"uid": "u", "status": "ok", "schema": 1, "value": "fast"}', "value = 'fast' is not"),
        ('{"uid": "u", "status": "ok", "schema": 1, "value": NaN}', "value = 'nan' is not"),
        ('{"uid": "u", "status": "ok", "schema": 1, "seq_len": 1.5}', "seq_len = '1.5' is not"),
        ('{"uid": "u", "status": "ok", "schema": 1, "samples": ["x"]}', "samples = "),
    ],
)
def test_lines_that_are_not_records_are_reported(file, make_record, line, words):
    file.append(make_record())
    with file.path.open("a") as out:
        out.write(line + "\n")
    file.append(make_record(seq_len=9))
    problems = []
    assert len(list(read_rows(file.path, problems))) == 2
    (problem,) = problems
    assert problem.startswith("records.jsonl, line 2: ")
    assert words in problem


def test_later_attempts_supersede_earlier_ones_unless_interrupted(file, make_record):
    for record in (
        make_record(value=1.0),
        make_record(value=2.0),
        make_record(status="failed", reason="interrupted"),
        make_record(seq_len=16, value=9.0),
        make_record(seq_len=16, status="timeout", reason="x"),
        make_record(value=3.0, commit="other"),
        make_record(seq_len=8, status="failed", reason="x"),
        make_record(seq_len=8, value=4.0),
    ):
        file.append(record)
    frame = load_records(file.path)
    assert frame["status"].tolist() == ["ok", "timeout", "ok", "ok"]
    assert frame["value"].dropna().tolist() == [2.0, 3.0, 4.0]


def test_every_attempt_can_be_loaded(file, make_record):
    file.append(make_record(value=1.0))
    file.append(make_record(value=2.0))
    assert list(load_records(file.path)["value"]) == [2.0]
    assert list(load_records(file.path, every_attempt=True)["value"]) == [1.0, 2.0]


def test_missing_records_are_reported(tmp_path):
    with pytest.raises(UsageError, match="measure first with `benchsuite run`"):
        load_records(tmp_path)
    with pytest.raises(UsageError, match="no records"):
        load_records(tmp_path / "absent")


def test_a_full_disk_is_reported(make_record):
    class Full(RecordFile):
        @staticmethod
        def _is_torn(descriptor):
            return False  # /dev/full cannot be read

    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(BenchsuiteError, match="cannot write to /dev/full: No space left"):
        Full(Path("/dev/full")).append(make_record())


def test_a_value_that_other_readers_reject_is_never_written(file, make_record):
    with pytest.raises(ValueError, match="not JSON compliant"):
        file.append(make_record(value=math.inf))
    assert not file.path.exists()


def _append_many(path, record):
    for _ in range(50):
        RecordFile(path).append(record)


def test_many_processes_append_without_mixing(file, make_record):
    context = multiprocessing.get_context("spawn")
    records = [make_record(seq_len=k + 1, samples=[0.1] * 200) for k in range(3)]
    workers = [context.Process(target=_append_many, args=(file.path, r)) for r in records]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    problems = []
    rows = list(read_rows(file.path, problems))
    assert (len(rows), problems) == (150, [])


def test_an_empty_frame_has_all_columns():
    frame = to_frame([])
    assert list(frame.columns) == list(SCHEMA)
    assert len(frame) == 0


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=60))
def test_quantiles_of_a_summary_are_ordered(samples):
    found = summarise(samples)
    assert found.ci_low <= found.median * (1 + 1e-12)
    assert found.median <= found.ci_high * (1 + 1e-12)
    assert min(samples) <= found.q25 <= found.q75 * (1 + 1e-12) <= max(samples) * (1 + 1e-9)
    assert found.n == len(samples)


@pytest.mark.parametrize(
    ("n", "ranks"),
    [(1, (0, 0)), (5, (0, 4)), (6, (0, 5)), (9, (1, 7)), (20, (5, 14)), (100, (39, 60))],
)
def test_interval_of_the_median_equals_published_tables(n, ranks):
    """Ranks of the 95 % interval for a median (Conover, table A3), counted from zero."""
    found = summarise([float(k) for k in range(n)])
    assert (found.ci_low, found.ci_high) == ranks


def test_interval_of_the_median_has_the_nominal_coverage():
    import numpy as np

    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        found = summarise(rng.lognormal(0, 0.5, 20).tolist())
        inside += found.ci_low <= 1.0 <= found.ci_high
    assert 0.94 <= inside / 2000 <= 0.98  # 95.9 % by the binomial sum


def test_a_summary_needs_samples():
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


def test_text_that_is_not_unicode_is_stored_as_escapes(file, make_record, monkeypatch):
    """Bytes of the environment or of an error's message must not make a row unreadable."""
    record = make_record(machine="lab\udcff", status="failed", reason="bad \ud800 byte")
    file.append(record)
    (row,) = read_rows(file.path)
    assert (row["machine"], row["reason"]) == ("lab\\udcff", "bad \\ud800 byte")
    assert Record.from_row(row).key == record.key


def test_a_long_reason_is_cut_to_what_a_row_may_hold(file, make_record):
    file.append(make_record(status="failed", reason="x" * 100_000))
    (row,) = read_rows(file.path)
    assert (len(row["reason"]), row["reason"][-1]) == (10_000, "…")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"value": -1}, "value = '-1' is not allowed; numbers from 0 to 1e+100"),
        ({"value": 1e300}, "value = '1e+300' is not allowed"),
        ({"samples": [1.0, -1.0]}, "samples = '[1.0, -1.0]' is not allowed"),
        ({"started_at": 1e18}, "started_at = '1e+18' is not allowed"),
        ({"seq_len": 0}, "seq_len = '0' is not allowed; whole numbers from 1 to 1.67772e+07"),
        ({"hidden_size": 1 << 40}, "hidden_size = '1099511627776' is not allowed"),
        ({"status": "fine"}, "status = 'fine' is not allowed; one of started, ok"),
        ({"device": "auto"}, "device = 'auto' is not allowed; one of cpu, cuda"),
        ({"case": "x" * 2000}, "is not allowed; 0 to 1,000 characters"),
    ],
)
def test_values_that_a_column_cannot_mean_are_reported(changes, words, make_record, tmp_path):
    path = tmp_path / "records.jsonl"
    written = [make_record().to_row(), {**make_record(seq_len=9).to_row(), **changes}]
    path.write_text("".join(json.dumps(row) + "\n" for row in written))
    frame = load_records(path)
    assert len(frame) == 1
    (problem,) = frame.attrs["problems"]
    assert words in problem


def test_problems_of_a_file_are_listed_up_to_a_number(file, make_record):
    file.append(make_record())
    with file.path.open("a") as out:
        out.write("[]\n" * 1000)
    problems = load_records(file.path).attrs["problems"]
    assert len(problems) == 21
    assert problems[-1] == "records.jsonl: 980 more lines are not records, skipped"


def test_a_line_that_is_too_long_is_skipped(tmp_path, make_record, monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINE", 5000)
    with (tmp_path / "r.jsonl").open("wb") as out:
        for length in (4, 8):
            out.write(json.dumps(make_record(seq_len=length).to_row()).encode() + b"\n")
            out.write(b"\x00" * 20_000 + b"\n")
    frame = load_records(out.name)
    assert list(frame["seq_len"]) == [4, 8]
    assert "line 2: longer than" in frame.attrs["problems"][0]
    assert len(frame.attrs["problems"]) == 2


def test_lines_that_others_append_while_a_run_is_followed_are_skipped(file, make_record):
    file.append(make_record(seq_len=4))
    found, offset = rows.tail_rows(file.path, 0)
    with file.path.open("ab") as out:
        out.write(b"[]\n" + b"[" * 100_000 + b'\n"x"\n\xff\n{"run": "r"}\n\n')
    file.append(make_record(seq_len=8))
    with file.path.open("ab") as out:
        out.write(b'{"uid": "being written')
    more, after = rows.tail_rows(file.path, offset)
    assert [row["seq_len"] for row in found + more] == [4, 8]
    assert rows.tail_rows(file.path, after) == ([], after)
    assert rows.tail_rows(file.path.with_name("absent"), 5) == ([], 5)


def test_columns_that_are_not_wanted_are_not_read(file, make_record):
    file.append(make_record(samples=[1.0, 2.0, 4.0], value=2.0))
    frame = load_records(file.path, columns=["seq_len", "value"])
    assert list(frame.columns) == ["seq_len", "value"]
    frame = load_records(file.path, columns=["value", "q25", "n_samples"])
    assert frame.iloc[0].to_list() == [2.0, 1.5, 3]
    with pytest.raises(UsageError, match="unknown column of records 'vale'"):
        load_records(file.path, columns=["vale"])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("seq_len", [0, 8]),
        ("value", [-1.0, 2.0]),
        ("status", ["fine", "ok"]),
        ("uid", [None, "u"]),
        ("samples", [[1.0, math.nan], [1.0]]),
    ],
)
def test_rows_of_a_table_are_checked_as_lines_are(name, values, file, make_record, tmp_path):
    file.append(make_record(seq_len=4))
    file.append(make_record(seq_len=8))
    _, path = write_tables(load_records(file.path), tmp_path / "out")
    table = parquet.read_table(path)
    index = table.schema.get_field_index(name)
    column = pa.array(values, table.schema.field(name).type)
    parquet.write_table(table.set_column(index, name, column), path)
    frame = load_records(path)
    assert list(frame["seq_len"]) == [8]
    (problem,) = frame.attrs["problems"]
    assert f"records.parquet: 1 rows with {name} that is not allowed" in problem
    doubled = table.append_column(name, table[name])
    parquet.write_table(doubled, path)
    with pytest.raises(UsageError, match=f"column '{name}' is there 2 times"):
        load_records(path)


def test_a_cell_of_the_csv_is_not_a_formula(file, make_record, tmp_path):
    file.append(
        make_record(machine="=cmd|' /C calc'!A0", status="failed", reason="-1+1", study="@x")
    )
    table, _ = write_tables(load_records(file.path), tmp_path / "out")
    row = pd.read_csv(table, keep_default_na=False).iloc[0]
    assert row["machine"] == "'=cmd|' /C calc'!A0"
    assert (row["reason"], row["study"]) == ("'-1+1", "'@x")


def test_numbers_in_a_csv_stay_numbers(tmp_path):
    texts = ["-1", "+2.5", "-1e-05", "-x", "-1-1", "+", "\t1", "\r1", "\n1", "a=1", ""]
    frame = pd.DataFrame({"=name": texts, "number": [-float(k) for k in range(len(texts))]})
    write_csv(frame, path := tmp_path / "t.csv")
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    assert names == ["'=name", "number"]
    changed = {"-x", "-1-1", "+", "\t1", "\r1", "\n1"}
    assert [row[0] for row in rows] == [f"'{t}" if t in changed else t for t in texts]
    assert [float(row[1]) for row in rows] == frame["number"].tolist()


def test_the_order_of_columns_is_that_of_a_written_row(make_record):
    """Else reading takes longer."""
    record = make_record(status="ok", value=1.0, samples=[1.0], reason="x", warning="x", run="x")
    written = list(record.to_row())
    assert written == sorted(written, key=WRITTEN.index)
    assert {*WRITTEN} == {*SCHEMA}
