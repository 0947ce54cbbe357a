"""Commands that run several models: each has a process, so that none changes the next.

`tests/faults/test_isolation.py` tries more models, and what a process can be left in.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchsuite.cli import field
from benchsuite.cli import train as train_command
from benchsuite.field.summary import field_of
from benchsuite.grid.case import Case
from benchsuite.learning.scores import test_error as error_of
from benchsuite.learning.trainer import train
from benchsuite.runtime.assemble import assemble
from benchsuite.sweep.launchers.isolated import Children
from benchsuite.tasks.task import make_task

SIZES = {"seq_len": 16, "hidden_size": 8}
SMALL = [word for name, value in SIZES.items() for word in ("-a", f"{name}={value}")]
MODELS = ["meddling:dtype", "meddling:leaves", "exits_at_import:model", "lstm"]
REASONS = {
    "meddling:leaves": "the code that was run has called sys.exit(0)",
    "exits_at_import:model": "cannot import 'exits_at_import' of 'exits_at_import:model': the module"
    " calls sys.exit(0) when it is imported; put that under `if __name__ == '__main__':`",
}


@pytest.fixture
def command(run_command, monkeypatch, tmp_path):
    """(exit code, standard output, standard error) of a command over `MODELS`."""
    for module in (field, train_command):
        monkeypatch.setattr(module, "Children", Children)
    (tmp_path / "exits_at_import.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "faults")
    return lambda *words: run_command(*words, *SMALL, *MODELS, "--json")


def test_a_model_changes_no_other_training(command):
    """A default dtype that the first sets, and what is printed; those that exit are failures."""
    code, out, err = command("train", "delay", "-t", "lag=2", "--steps", "5")
    runs = {run["model"]: run for run in json.loads(out)["runs"]}
    assert code == 1
    assert {model: runs[model]["reason"] for model in REASONS} == REASONS
    for model, reason in REASONS.items():
        assert f"failed: {model}: {reason}\n" in err
    task = make_task("delay", seq_len=16, batch_size=32, seed=0, options={"lag": 2})
    case = Case(model="lstm", batch_size=32, mode="train", **SIZES)
    alone = train(case, task, task.recipe.replace(steps=5))
    assert runs["lstm"]["error"] == error_of(alone)


def test_a_model_changes_no_other_field(command):
    code, out, err = command("field")
    rows = {row.pop("model"): row for row in json.loads(out)}
    assert code == 1
    for model, reason in REASONS.items():
        assert f"error: {model}: {reason}\n" in err
        assert set(rows[model].values()) == {None}
    module = assemble(Case(model="lstm", **SIZES))
    assert rows["lstm"] == field_of(module, input_size=8, seq_len=16).as_dict()
