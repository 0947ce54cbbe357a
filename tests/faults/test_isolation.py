"""A case of a study cannot change the next: each is a process of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent
STUDY = """
name = "meddling"
measures = ["parameters", "receptive_field"]
[axes]
model = ["meddling:everything", "meddling:witness"]
seq_len = [8, 16]
hidden_size = [4, 8]
mode = ["train"]
"""


@pytest.mark.parametrize("fresh", [[], ["--fresh"]])
def test_a_case_of_a_study_changes_no_other(run_command, tmp_path, monkeypatch, fresh):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{FAULTS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(FAULTS)
    (tmp_path / "s.toml").write_text(STUDY)
    code, _, err = run_command("run", "s.toml", "--home", "home", *fresh)
    assert code != 2, err
    records = tmp_path / "home/meddling/records.jsonl"
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    ended = [row for row in rows if row["status"] != "started"]
    witnesses = [row for row in ended if row["model"] == "meddling:witness"]
    assert {row["model"] for row in ended} == {"meddling:everything", "meddling:witness"}
    assert {row["measure"] for row in witnesses} == {"parameters", "receptive_field"}
    assert [row.get("reason", "") for row in witnesses if row["status"] == "failed"] == []
    assert all(row["status"] == "ok" for row in witnesses if row["measure"] == "parameters")
