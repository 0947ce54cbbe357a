"""Imports go one way, and the light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import benchsuite

PACKAGE = Path(benchsuite.__file__).parent
#: Each module may import from its own layer and those before it.
LAYERS = [
    {"errors", "units", "stats", "registry", "allocator"},
    {"case", "study", "records", "asv_results", "home", "environment", "recipe"},
    {"device"},
    {"models", "tasks", "adapt"},
    {"building", "counting", "matching"},
    {"field"},
    {"workload", "predictor", "checkpoint", "contract"},
    {"generation", "training"},
    {"scoring"},
    {"measures"},
    {"measuring"},
    {"profiling"},
    {"sweep", "analysis", "report", "scaffold"},
    {"cli", "__main__"},
]
TORCH_FREE = [
    "benchsuite",
    "benchsuite.cli",
    "benchsuite.records",
    "benchsuite.history.results",
    "benchsuite.analysis",
    "benchsuite.report",
    "benchsuite.scaffold.plan",
    "benchsuite.grid.study",
    "benchsuite.tasks.recipe",
    "benchsuite.sweep.suite",
    "benchsuite.sweep.driver",
    "benchsuite.profiling.explain",
    "benchsuite.profiling.compare",
    "benchsuite.profiling.timeline",
    "benchsuite.profiling.written",
]


def imports(path):
    """(module, whether at the top) of every import of our own or of torch."""
    tree = ast.parse(path.read_text())
    lazy = {
        id(n)
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef | ast.If)
        for n in ast.walk(f)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        for name in names:
            yield name, id(node) not in lazy


def layer_of(module):
    return next((i for i, names in enumerate(LAYERS) if module in names), None)


def test_imports_go_one_way():
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).with_suffix("").parts[0]
        if own in {"__init__", "studies", "templates"}:
            continue
        assert layer_of(own) is not None, f"{own} is in no layer"
        for name, top in imports(path):
            parts = name.split(".")
            if parts[0] != "benchsuite" or len(parts) < 2 or not top:
                continue
            other = layer_of(parts[1])
            assert other is None or other <= layer_of(own), f"{own} imports {name}"


def test_models_know_nothing_but_torch_and_each_other():
    for path in (PACKAGE / "models").glob("*.py"):
        for name, _ in imports(path):
            assert not name.startswith("benchsuite.") or name.startswith("benchsuite.models."), name


def test_tasks_know_nothing_of_models_and_devices():
    allowed = (
        "benchsuite.tasks",
        "benchsuite.errors",
        "benchsuite.tasks.recipe",
        "benchsuite.catalog.registry",
    )
    for path in (PACKAGE / "tasks").glob("*.py"):
        for name, _ in imports(path):
            assert not name.startswith("benchsuite.") or name.startswith(allowed), name


def test_cuda_is_touched_in_one_place():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "device.py":
            assert "torch.cuda" not in path.read_text(), path


@pytest.mark.parametrize("module", TORCH_FREE)
def test_light_modules_do_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
