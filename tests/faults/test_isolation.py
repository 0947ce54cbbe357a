"""A model cannot change the next one: in a study, in a training, and where fields are looked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tools import KILL, Project

pytestmark = pytest.mark.faults

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
SMALL = ("-a", "seq_len=16", "-a", "hidden_size=4")
WORDS = {
    "train": ("train", "delay", *SMALL, "-t", "lag=2", "--steps", "3", "--json"),
    "field": ("field", *SMALL, "--json"),
}
#: Models that end their process or change it, and why they have no result.
FAILED = {
    "everything": "",
    "leaves": "the code that was run has called sys.exit(0)",
    "vanishes": "its process ended with exit code 0: last words",
    "asks_for_too_much": "",
    "crashes": "its process was killed by SIGSEGV",
    "kills_its_group": "its process was killed by SIGKILL",
}
FINE = ["dtype", "interrupts", "leaves_a_process", "returns_twice", "witness"]


@pytest.fixture
def project(tmp_path):
    started = Project(tmp_path)
    yield started
    started.signal(KILL)


def test_the_witness_names_all_that_was_changed():
    """In one process it fails: the tests below would see each of these changes."""
    code = "import meddling; meddling.everything(1, 2); sent = meddling.sys.__stdout__\n"
    code += "try: meddling.witness(1, 2)\n"
    code += "except RuntimeError as error: print(error, file=sent, flush=True)\n"
    code += "meddling.os._exit(0)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=FAULTS, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == (
        "dtype, device, deterministic, gradients, seed, threads, clock, randn, loss, directory,"
        " umask, environment, signal, thread, path, output"
    )


def test_a_case_of_a_study_changes_no_other(tmp_path):
    (tmp_path / "s.toml").write_text(STUDY)
    paths = os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "benchsuite", "run", "s.toml", "--home", "home", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in {0, 1}, done.stderr
    assert json.loads(done.stdout)["study"] == "meddling"  # and nothing that a model has printed
    records = tmp_path / "home/meddling/records.jsonl"
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    ended = [row for row in rows if row["status"] != "started"]
    witnesses = [row for row in ended if row["model"] == "meddling:witness"]
    assert {row["model"] for row in ended} == {"meddling:everything", "meddling:witness"}
    assert {row["measure"] for row in witnesses} == {"parameters", "receptive_field"}
    assert [row.get("reason", "") for row in witnesses if row["status"] == "failed"] == []
    assert all(row["status"] == "ok" for row in witnesses if row["measure"] == "parameters")


@pytest.mark.parametrize("command", ["train", "field"])
def test_a_model_of_a_command_changes_no_other(project, command):
    """Each that fails is a line with its reason; the others are as they are alone."""
    names = {f"meddling:{name}": reason for name, reason in FAILED.items()}
    names |= {f"meddling:{name}": None for name in FINE} | {"lstm": None}
    words = WORDS[command]
    alone = {row["model"]: row for row in _results(project.run(*words, "meddling:witness", "lstm"))}
    together = project.run(*words, *names)
    assert together.returncode == 1, together.stderr
    assert "Traceback" not in together.stderr
    assert "printed by the model" not in together.stdout
    rows = {row["model"]: row for row in _results(together)}
    assert list(rows) == list(names)
    for model, reason in names.items():
        failed = rows[model].get("status") == "failed" or rows[model].get("horizon", 0) is None
        assert failed is (reason is not None), rows[model]
        assert not reason or f"{model}: {reason}\n" in together.stderr
    for model in alone:
        assert _values(rows[model]) == _values(alone[model])
    project.all_end()  # also the process that a model has left behind


def _results(done):
    document = json.loads(done.stdout)
    return document["runs"] if isinstance(document, dict) else document


def _values(row):
    """What must not depend on other models: all but times and paths."""
    curve = [{**point, "seconds": 0} for point in row.get("curve", ())]
    return {**row, "seconds": 0, "curve": curve}


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_command_leaves_no_process(project, sign):
    """Its model has started a process besides."""
    words = WORDS["train"]
    with project.start(words[0], words[1], "meddling:waits", *words[2:]) as process:
        project.wait_for(lambda: project.process("sleep 3600"))
        process.send_signal(sign)
        out, err = process.communicate(timeout=60)
    assert out == ""
    if sign == signal.SIGINT:
        assert process.returncode == 130
        assert err == "interrupted; add --resume to the same command to continue\n"
    project.all_end()
