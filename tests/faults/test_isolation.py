"""A case of a study cannot change the next: each is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_a_case_of_a_study_changes_no_other(tmp_path):
    (tmp_path / "s.toml").write_text(STUDY)
    paths = os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "benchsuite", "run", "s.toml", "--home", "home"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in {0, 1}, done.stderr
    records = tmp_path / "home/meddling/records.jsonl"
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    ended = [row for row in rows if row["status"] != "started"]
    witnesses = [row for row in ended if row["model"] == "meddling:witness"]
    assert {row["model"] for row in ended} == {"meddling:everything", "meddling:witness"}
    assert {row["measure"] for row in witnesses} == {"parameters", "receptive_field"}
    assert [row.get("reason", "") for row in witnesses if row["status"] == "failed"] == []
    assert all(row["status"] == "ok" for row in witnesses if row["measure"] == "parameters")
