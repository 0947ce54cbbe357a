"""The key of a finished measurement, and the digest of the code that it depends on."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from benchsuite.catalog.measures import MEASURES
from benchsuite.catalog.tasks import TASKS
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.records import provenance
from benchsuite.records.attempts import attempt_key, new_attempt

LATENCY = MEASURES.get("latency")


def test_the_key_of_an_attempt_is_that_of_its_record():
    case, budget = Case(model="lstm", seq_len=7), Budget(min_run_time=0.1)
    assert attempt_key(case, LATENCY, budget) == new_attempt(case, LATENCY, budget).key


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, used for the digest, whose files may be edited."""
    copy = tmp_path / "benchsuite"
    shutil.copytree(provenance._PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def find_spec(name):
        path = tmp_path / f"{name.replace('.', '/')}.py"
        return importlib.util.spec_from_file_location(name, path) if path.exists() else None

    monkeypatch.setattr(provenance, "_PACKAGE", copy)
    monkeypatch.setattr(provenance, "find_spec", find_spec)
    return copy


def digest(model="lstm_cell", measure="latency"):
    provenance.source.cache_clear()
    provenance._imported.cache_clear()
    return provenance.source(model, MEASURES.get(measure))


@pytest.fixture(autouse=True)
def _digests_of_this_package_only():
    yield
    provenance.source.cache_clear()
    provenance._imported.cache_clear()


@pytest.mark.parametrize(
    "file",
    [
        *("report/page.py", "cli/run.py", "analysis/noise.py", "history/publish.py"),
        *("profiling/explain.py", "sweep/driver.py", "scaffold/plan.py", "records/frame.py"),
        *("catalog/registry.py", "grid/study.py", "models/conv.py", "measures/structure.py"),
        *("tasks/delay.py", "learning/trainer.py"),
    ],
)
def test_a_change_to_other_code_repeats_no_measurement(package, file):
    before = digest()
    _touch(package / file)
    assert digest() == before


@pytest.mark.parametrize(
    ("measure", "file"),
    [
        ("latency", "measures/timing.py"),
        ("latency", "models/lstm.py"),
        ("latency", "models/recurrence.py"),
        ("latency", "runtime/workload.py"),
        ("latency", "stats.py"),
        ("delay_error", "tasks/delay.py"),
        ("delay_error", "learning/trainer.py"),
        ("erf50", "field/effective.py"),
    ],
)
def test_a_change_to_measuring_code_repeats_the_measurement(package, measure, file):
    before = digest(measure=measure)
    _touch(package / file)
    assert digest(measure=measure) != before


def test_a_model_from_outside_is_measured_again_when_its_file_changes(tmp_path, monkeypatch):
    file = tmp_path / "own_model.py"
    file.write_text("def build(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = digest("own_model:build")
    file.write_text("def build(): pass\n")
    assert digest("own_model:build") != before


def test_every_task_measure_names_its_task():
    names = {spec.name for spec in MEASURES if spec.task}
    assert names == {f"{task.name}_error" for task in TASKS}


def _touch(path: Path) -> None:
    assert path.exists()
    path.write_bytes(path.read_bytes() + b"\n# changed\n")


@pytest.mark.parametrize(
    ("model", "edited"),
    [
        ("import helper\n", "helper.py"),
        ("from helper import x\n", "helper.py"),
        ("import pack.inner\n", "pack/inner.py"),
        ("from pack import inner\n", "pack/inner.py"),
        ("from pack import inner\n", "pack/__init__.py"),
        ("import pack.inner\n", "pack/deep.py"),  # by way of a relative import
        ("F = Path(__file__).with_name('weights.bin')\n", "weights.bin"),
        ("F = Path(__file__).parent / 'data' / 'table.csv'\n", "data/table.csv"),
        ("F = 'data/table.csv'\n", "data/table.csv"),
    ],
)
def test_an_outside_model_is_measured_again_when_a_file_that_it_uses_changes(
    tmp_path, monkeypatch, model, edited
):
    (tmp_path / "pack").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "pack" / "inner.py").write_text("from .deep import y\n")
    for name in ("helper.py", "pack/__init__.py", "pack/deep.py", "weights.bin", "data/table.csv"):
        (tmp_path / name).write_text("x = 1\n")
    (tmp_path / "with_files.py").write_text(f"{model}\ndef make(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = digest("with_files:make")
    (tmp_path / "unrelated.txt").write_text("new")
    assert digest("with_files:make") == before
    _touch(tmp_path / edited)
    assert digest("with_files:make") != before


@pytest.mark.parametrize("text", ["x" * 190, "é" * 150, "a\0b", "../../etc/passwd", "/etc/passwd"])
def test_constants_that_are_not_names_of_files_do_no_harm(tmp_path, monkeypatch, text):
    (tmp_path / "odd_texts.py").write_text(f"T = {text!r}\ndef make(): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(digest("odd_texts:make")) == 12


def test_the_modules_of_an_installed_package_are_not_followed():
    assert provenance._needed(Path(importlib.util.find_spec("torch.nn").origin)) == frozenset()
