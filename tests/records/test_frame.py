"""The fast reader of records gives the same frame as a simple one, also for damaged files."""

from __future__ import annotations

import json
import math
from itertools import zip_longest
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.records import (
    SCHEMA,
    SCHEMA_VERSION,
    load_records,
    portions,
    rows,
    to_frame,
    write_tables,
)
from benchsuite.records.frame import MEASUREMENT, group_numbers
from benchsuite.records.line import Row, fault_of
from benchsuite.stats import stacked, summarise

#: Records of schema 1, which lack axes and columns that were added later.
PUBLISHED = Path(__file__).parents[2] / "reports/default/records.parquet"
DTYPES = {"str": "str", "int": "Int64", "float": "float64", "bool": "boolean", "floats": "object"}


def plain_frame(lines, *, every_attempt):
    """The result of `load_records`, computed row by row with only json and pandas."""
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not fault_of(row):
            rows.append(row)
    attempts = {}
    for row in rows:
        if row["uid"] not in attempts or row["status"] != "started":
            attempts[row["uid"]] = row
    order = list(attempts.values())
    settled = []
    for row, after in zip_longest(order, order[1:]):
        if row["status"] == "started":
            gap = after["started_at"] - row["started_at"] if after else 0
            why = f"killed after its limit of {row['timeout']:g} s"
            if not row["timeout"] < gap < row["timeout"] + 120:
                began = pd.Timestamp(row["started_at"], unit="s")
                why = f"its process ended without a result (started {began:%Y-%m-%d %H:%M:%S} UTC)"
            status = "timeout" if "killed" in why else "crashed"
            settled.append({**row, "status": status, "reason": why})
        else:
            settled.append(row)
    latest = {}
    for row in settled:
        key = tuple(row.get(name) for name in MEASUREMENT)
        if every_attempt:  # the latest of each run
            key += (row.get("run") or row["uid"],)
        if key not in latest or row.get("reason") != "interrupted":
            latest[key] = row
    kept = list(latest.values())
    columns = {
        name: pd.Series([row.get(name) for row in kept], dtype=DTYPES[column.kind])
        for name, column in SCHEMA.items()
    }
    frame = pd.DataFrame(columns)
    texts = [name for name, column in SCHEMA.items() if column.kind == "str"]
    frame[texts] = frame[texts].fillna("")
    lists = pa.array(list(frame["samples"]), pa.list_(pa.float64()), from_pandas=True)
    frame["samples"] = pd.arrays.ArrowExtensionArray(lists)
    for place, row in enumerate(kept):
        samples, value = row.get("samples"), row.get("value")
        if row["status"] != "ok" or value is None:
            own = {"n_samples": 0}
        elif not samples:
            own = {**dict.fromkeys(("ci_low", "ci_high", "q25", "q75"), value), "n_samples": 1}
        elif len(samples) == 1:
            own = {"n_samples": 1}
        else:
            summary = summarise(samples)
            own = {n: getattr(summary, n) for n in ("ci_low", "ci_high", "q25", "q75")}
            own["n_samples"] = len(samples)
        for name, number in own.items():
            frame.loc[place, name] = number
    return frame


@pytest.fixture
def nasty(make_record, tmp_path):
    """A record file with valid, damaged and incomplete lines of all kinds."""
    rng = np.random.default_rng(0)
    rows = []

    def attempt(number, *ends, **own):
        own = {"timeout": 10.0, "started_at": 1.7e9 + number, "run": "r", **own}
        start = make_record(status="started", uid=f"u{number}", **own).to_row()
        rows.append(start)
        rows.extend({**start, **end} for end in ends)

    for number in range(60):
        count = int(rng.integers(0, 14))
        samples = rng.lognormal(0, 0.1, count).tolist()
        value = float(np.median(samples)) if count else 3.5
        end = {"status": "ok", "value": value, "samples": samples, "width": number}
        attempt(number, end, seq_len=1 + number % 40)  # some are measured again
    attempt(60, seq_len=100)  # crashed
    attempt(75, seq_len=101)  # the previous one was killed at its limit of 10 s; this one crashed
    attempt(76, {"status": "failed", "reason": "interrupted"}, seq_len=3)
    attempt(77, {"status": "failed", "reason": "interrupted"}, seq_len=102)
    attempt(78, {"status": "ok", "value": 1}, {"status": "failed", "reason": "b"}, seq_len=103)
    attempt(79, {"status": "skipped", "reason": "zu groß: 𝓗, \"'\\ \u2028\n"}, seq_len=104)
    attempt(80, {"status": "ok", "value": 2, "samples": [1, 2.5], "later": [{"x": None}]})
    attempt(81, {"status": "oom", "dirty": True, "min_run_time": 1}, seq_len=105)
    interleaved = [rows[-1] | {"uid": uid, "status": s} for s in ("started", "ok") for uid in "xy"]
    rows += [{**row, "commit": row["uid"], "value": 7.0} for row in interleaved]
    lines = [json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(rows)]
    good = rows[1]
    for bad in (
        {**good, "schema": 3},
        {**good, "seq_len": 1.5},
        {**good, "seq_len": 1 << 70},
        {**good, "seq_len": True},
        {**good, "value": math.nan},
        {**good, "value": None},
        {**good, "value": 10**400},
        {**good, "samples": [1.0, "x"]},
        {**good, "samples": [math.inf]},
        {**good, "case": "\ud800"},
        {**good, "dirty": 1},
        {name: value for name, value in good.items() if name != "batch_size"},
        [good],
        "text",
    ):
        lines.insert(int(rng.integers(0, len(lines))), json.dumps(bad))
    lines.insert(9, lines[8][:-30])  # a partial line in the middle of the file
    lines[20:20] = ["", "  ", "[" * 100_000]
    path = tmp_path / "study" / "records.jsonl"
    path.parent.mkdir()
    # A line that is not UTF-8, Windows line ends, and a partial last line.
    path.write_bytes("\r\n".join(lines).encode() + b'\n{"case": "\xff"}\n' + lines[3].encode()[:-9])
    return path


@pytest.mark.parametrize("every_attempt", [False, True])
def test_the_fast_reader_equals_the_simple_one(nasty, every_attempt):
    frame = load_records(nasty, every_attempt=every_attempt)
    expected = plain_frame(nasty.read_bytes().split(b"\n"), every_attempt=every_attempt)
    problems = frame.attrs.pop("problems")
    pd.testing.assert_frame_equal(frame, expected, rtol=1e-14)
    assert frame["samples"].dropna().tolist() == expected["samples"].dropna().tolist()
    assert {type(own) for own in frame["samples"]} == {list, type(pd.NA)}
    assert set(frame["status"]) == {"ok", "crashed", "timeout", "failed", "skipped", "oom"}
    assert len(problems) == 18
    assert len([p for p in problems if ": not a record, skipped" in p]) == 6
    assert len([p for p in problems if "only partially written" in p]) == 1
    assert any("value = 'nan' is not allowed; numbers from 0 to 1e+100" in p for p in problems)
    assert any("schema 3 is newer than 2; update benchsuite, skipped" in p for p in problems)


@pytest.mark.parametrize("block", [7, 1000])
def test_lines_may_be_longer_than_a_block(nasty, monkeypatch, block):
    expected = load_records(nasty)
    monkeypatch.setattr(rows, "_BLOCK", block)
    pd.testing.assert_frame_equal(load_records(nasty), expected)


@pytest.mark.parametrize("pairs", [1, 2, 5, 64])
@pytest.mark.parametrize("block", [3000, 1 << 20])
def test_attempts_read_together_are_those_read_one_by_one(nasty, monkeypatch, pairs, block):
    """As `RecordFile` writes them, with damaged lines, crashes and other writers in between."""
    lines = nasty.read_bytes().replace(b'": ', b'":').replace(b', "', b',"').split(b"\r\n")
    nasty.write_bytes(b"\n".join(lines))
    together = []
    finished = rows._Attempts.finished

    def counted(self, lines):
        together.append(len(finished(self, lines)))
        return finished(self, lines)

    monkeypatch.setattr(rows, "_BLOCK", block)
    monkeypatch.setattr(rows, "_PAIRS", pairs)
    monkeypatch.setattr(rows._Attempts, "finished", counted)
    frame = load_records(nasty, every_attempt=True)
    assert any(together) or pairs == 64  # of so many some are always irregular here
    problems = frame.attrs.pop("problems")
    expected = plain_frame(nasty.read_bytes().split(b"\n"), every_attempt=True)
    pd.testing.assert_frame_equal(frame, expected, rtol=1e-14)
    monkeypatch.setattr(rows._Attempts, "finished", lambda *_: [])
    assert load_records(nasty, every_attempt=True).attrs["problems"] == problems


def end_at_once(*_, **__):
    raise OSError(11, "Resource temporarily unavailable")


@pytest.mark.parametrize("fault", ["", "failing", "not started", "cut off"])
def test_several_processes_read_what_one_does(nasty, monkeypatch, fault):
    expected = load_records(nasty, every_attempt=True)
    monkeypatch.setattr(portions, "LEAST", nasty.stat().st_size // 9)
    monkeypatch.setattr(portions, "_processes", lambda: 3)
    if fault == "not started":
        monkeypatch.setattr(portions.subprocess, "Popen", end_at_once)
    elif fault:
        code = {"failing": "raise SystemExit(3)", "cut off": "print('{\"portion\": ')"}[fault]
        monkeypatch.setattr(portions, "_CODE", code)
    parse, here = portions._parse, []
    monkeypatch.setattr(portions, "_parse", lambda *own: here.append(own[1]) or parse(*own))
    frame = load_records(nasty, every_attempt=True)
    assert len(here) == (3 if fault else 1)
    pd.testing.assert_frame_equal(frame, expected)
    assert frame.attrs["problems"] == expected.attrs["problems"]


def test_portions_begin_with_an_attempt(nasty, monkeypatch):
    monkeypatch.setattr(portions, "LEAST", 1000)
    data = nasty.read_bytes()
    with nasty.open("rb") as file:
        found = portions._beginnings(file, 8)
    assert found[0] == 0
    assert len(found) > 4
    for at in found[1:]:
        assert data[at - 1 : at] == b"\n"
        assert data[at : at + 9] == b'{"model":'


def test_a_frame_has_the_wanted_columns_alone(nasty):
    whole = load_records(nasty)
    for names in (
        ["n_samples", "status"],
        ["looped"],
        ["ci_low", "unbounded", "case"],
        ["samples"],
    ):
        pd.testing.assert_frame_equal(load_records(nasty, columns=names), whole[names])


@pytest.mark.parametrize("names", [["seq_len"], ["case", "commit", "value"], ["uid"], []])
def test_groups_are_those_of_pandas(nasty, names, monkeypatch):
    frame = load_records(nasty, every_attempt=True)
    expected = frame.groupby(names, dropna=False, sort=False).ngroup() if names else 0 * frame.index
    assert (group_numbers(frame, names) == expected).all()
    monkeypatch.setattr("benchsuite.records.frame._LARGEST", 100)
    assert (group_numbers(frame, names) == expected).all()


def test_tables_are_written_part_by_part(nasty, tmp_path, monkeypatch):
    frame = load_records(nasty)
    frame.loc[0, "value"] = 13402841453.906765
    whole = [path.read_bytes() for path in write_tables(frame, tmp_path / "whole")][:1]
    monkeypatch.setattr("benchsuite.records.arrow._ROWS", 7)
    csv, parquet = write_tables(frame, tmp_path / "parts")
    assert [csv.read_bytes()] == whole
    pd.testing.assert_frame_equal(
        load_records(parquet), load_records(tmp_path / "whole/records.parquet")
    )
    texts = pd.read_csv(csv, keep_default_na=False, dtype=str)["samples"]
    lists = [json.loads(text) if text else None for text in texts]
    assert lists == [own if isinstance(own, list) else None for own in frame["samples"]]


def test_files_of_a_directory_are_kept_separate(nasty):
    """Equal uids in different files are different attempts; a copy of a run counts once."""
    one = load_records(nasty, every_attempt=True)
    other = nasty.parent / "more" / "records.jsonl"  # read first
    other.parent.mkdir()
    other.write_bytes(nasty.read_bytes())
    same = load_records(nasty.parent, every_attempt=True)
    pd.testing.assert_frame_equal(same, one)
    other.write_bytes(nasty.read_bytes().replace(b'"run": "r"', b'"run": "s"'))
    both = load_records(nasty.parent, every_attempt=True)
    expected = pd.concat([one.assign(run="s"), one], ignore_index=True)
    pd.testing.assert_frame_equal(both, expected)
    assert len(load_records(nasty.parent)) == len(load_records(nasty))


def test_a_parquet_file_of_a_report_equals_its_records(nasty, tmp_path):
    frame = load_records(nasty)
    _, parquet = write_tables(frame, tmp_path / "report")
    frame.attrs["problems"] = []
    pd.testing.assert_frame_equal(load_records(parquet), frame)
    frame.drop(columns="case").to_parquet(parquet)
    with pytest.raises(UsageError, match="is not a table of records"):
        load_records(parquet)
    parquet.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="is not a table of records"):
        load_records(parquet)


@given(
    name=st.sampled_from(sorted(SCHEMA)),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text()
        | st.sampled_from([1 << 63, (1 << 63) - 1, -(1 << 63), 10**309, "\ud800", 5e-324]),
        st.lists,
        max_leaves=4,
    ),
)  # fmt: skip
def test_the_reported_faults_and_the_decoder_agree(name, value):
    """`fault_of` reports a value if and only if the decoder rejects it."""
    from benchsuite.grid.case import Case

    row = {**Case(model="lstm").as_dict(), "uid": "u", "status": "ok", "schema": 1, name: value}
    line = json.dumps(row)
    try:
        msgspec.json.decode(line, type=Row)
    except ValueError:
        assert fault_of(json.loads(line))
    else:
        assert not fault_of(json.loads(line))


def test_equally_long_rows_are_stacked():
    rows = [[3, 4], (), [1, 2], [5], np.array([6, 7])]
    found = {len(places): (places.tolist(), own.tolist()) for places, own in stacked(rows)}
    assert found == {1: ([3], [[5]]), 3: ([0, 2, 4], [[3, 4], [1, 2], [6, 7]])}
    assert list(stacked([])) == list(stacked([[]])) == []


def test_a_frame_has_no_unknown_columns(make_record):
    frame = to_frame([{**make_record(samples=[1.0, 2.0]).to_row(), "later": 1}])
    assert list(frame.columns) == list(SCHEMA)
    assert frame["samples"][0] == [1.0, 2.0]


def test_records_of_schema_1_still_load(tmp_path):
    frame = load_records(PUBLISHED)
    assert len(frame) == 2600
    assert set(frame["schema"]) == {SCHEMA_VERSION}
    assert set(frame["engine"]) == {"eager"}
    assert Case.from_row(frame.iloc[0]).engine == "eager"
    looped = frame[frame["measure"] == "latency"].groupby("model")["looped"].agg(set)
    assert looped["lstm_cell"] == {True}
    assert looped["lstm"] == {False}
    assert set(frame.loc[frame["kernel"].str.contains("Python"), "kernel"]) == set()
    assert frame["unbounded"].sum() == 24
    assert "peak_memory" not in set(frame["measure"])  # it counted tensors alone
    assert (frame["measure"] == "tensor_memory").sum() == 648
    for name in ("kernel", "looped", "unbounded", "measure", "value"):
        assert load_records(PUBLISHED, columns=[name])[name].equals(frame[name])
    _, parquet = write_tables(frame, tmp_path)
    pd.testing.assert_frame_equal(load_records(parquet), frame)
