"""Imports follow the table in ARCHITECTURE.md, and the modules that must stay light do."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import benchsuite

PACKAGE = Path(benchsuite.__file__).parent
ARCHITECTURE = PACKAGE.parent / "ARCHITECTURE.md"
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


def table():
    """Package or module → its line in ARCHITECTURE.md's table of layers."""
    section = ARCHITECTURE.read_text("utf-8").partition("## Layers")[2]
    block = section.split("```")[1].strip("\n")
    lines = [re.split(r" {2,}", line)[0].split() for line in block.splitlines()]
    return {name: number for number, names in enumerate(lines) for name in names}


def imports(path):
    """Names that a file imports, wherever it does so, but for the type checker alone."""
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def modules():
    """Dotted name → file of every module of the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def test_every_package_has_a_line_in_the_table():
    there = {name.split(".")[1] for name in modules() if "." in name}
    assert there == set(table())


def test_imports_point_upwards_in_the_table():
    line = table()
    for module, path in modules().items():
        own = module.split(".")[1:2]
        for name in imports(path):
            parts = name.split(".")
            if own and name.startswith("benchsuite.") and parts[1] in line:
                assert line[parts[1]] <= line[own[0]], f"{module} imports {name}"


def test_no_import_circle():
    known = modules()
    graph = {module: set() for module in known}
    for module, path in known.items():
        for name in imports(path):
            target = name if name in known else name.rpartition(".")[0]
            if target in known and target != module:
                graph[module].add(target)
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_models_know_nothing_but_torch_and_each_other():
    for path in (PACKAGE / "models").rglob("*.py"):
        for name in imports(path):
            assert not name.startswith("benchsuite.") or name.startswith("benchsuite.models."), name


def test_tasks_know_nothing_of_models_and_devices():
    allowed = (
        "benchsuite.tasks",
        "benchsuite.errors",
        "benchsuite.tasks.recipe",
        "benchsuite.catalog.",
    )
    for path in (PACKAGE / "tasks").glob("*.py"):
        for name in imports(path):
            assert not name.startswith("benchsuite.") or name.startswith(allowed), name


def test_cuda_is_touched_in_one_place():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "device.py":
            assert "torch.cuda" not in path.read_text(), path


def test_light_modules_do_not_import_torch():
    """One process imports them in turn and names the first that imports torch."""
    code = (
        "import importlib, sys\n"
        f"for name in {TORCH_FREE!r}:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
