"""Provenance: commit, working tree, versions, and a digest of the code that measures."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchsuite
from benchsuite import allocator
from benchsuite.catalog.measures import MeasureSpec
from benchsuite.catalog.models import MACHINE, MODELS
from benchsuite.catalog.tasks import TASKS
from benchsuite.host import git

#: Environment variable that names the checkout under test.
CHECKOUT = "BENCHSUITE_CHECKOUT"

_PACKAGE = Path(benchsuite.__file__).parent
#: Module that every measurement uses, besides its measure and its model.
_COMMON = "benchsuite.runtime.workload"
#: Modules that name, describe or store measurements; changing them does not change a number.
_BOOKKEEPING = {"catalog", "grid", "records", "errors", "units", "host", "__init__"}


@functools.cache
def checkout() -> dict[str, Any]:
    """Commit under test and state of the working tree, as columns of `records.SCHEMA`.

    The commit is the one that asv installed (`ASV_COMMIT`) or, without asv, that of the checkout
    around `BENCHSUITE_CHECKOUT` or the working directory. Outside a repository the dict is empty.
    """
    if os.environ.get("ASV_COMMIT"):
        return {"commit": os.environ["ASV_COMMIT"], "dirty": False}
    root = Path(git(Path(os.environ.get(CHECKOUT) or "."), "rev-parse", "--show-toplevel") or ".")
    commit = git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = git(root, "diff", "HEAD") + _untracked_code(root)
    if not changes:
        return {"commit": commit, "dirty": False}
    return {"commit": commit, "dirty": True, "tree": _digest(changes.encode(errors="replace"))}


def _untracked_code(root: Path) -> str:
    """Names and times of untracked Python files, because one may contain the model."""
    names = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", "*.py").split("\0")
    return "".join(
        f"{name}:{(root / name).stat().st_mtime_ns};"
        for name in names
        if name and (root / name).is_file()
    )


@functools.cache
def software() -> dict[str, Any]:
    """Operating system, malloc and versions, as columns of `records.SCHEMA`."""
    return {
        "malloc": allocator.description(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "numpy": _version("numpy"),
        "benchsuite": benchsuite.__version__,
        "asv_runner": _version("asv_runner"),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


@functools.cache
def source(model: str, measure: MeasureSpec) -> str:
    """Digest of the code that one measurement of a model runs.

    It covers the modules of the model, the measure, the task (if any) and the workload, and all
    modules of this package that they import. For a model from outside this package, only the file
    of its factory is included. The digest does not depend on the command line, pages or other
    models, so changes to those do not cause measurements to be repeated.
    """
    targets = [_COMMON, measure.target.partition(":")[0]]
    if measure.task:
        targets.append(TASKS.get(measure.task).target.partition(":")[0])
    if model != MACHINE:
        targets.append(MODELS.get(model).target.partition(":")[0])
    files = {file for target in targets if (file := _file_of(target))}
    waiting = list(files)
    while waiting:
        new = _imported(waiting.pop()) - files
        files |= new
        waiting += new
    return _digest(b"".join(file.read_bytes() for file in sorted(files)))


def _file_of(module: str) -> Path | None:
    """The file of a module; None if it is not found, which the attempt will report."""
    try:
        spec = find_spec(module)
    except Exception:  # importing a parent package may fail in any way
        return None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin)


@functools.cache
def _imported(file: Path) -> frozenset[Path]:
    """Files of this package that a file of this package imports, including lazy imports."""
    if not file.is_relative_to(_PACKAGE):
        return frozenset()
    tree = ast.parse(file.read_bytes())
    paths = (_PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in _names_imported(tree))
    return frozenset(
        path
        for path in paths
        if path.is_file()
        and path.relative_to(_PACKAGE).with_suffix("").parts[0] not in _BOOKKEEPING
    )


def _names_imported(tree: ast.Module) -> Iterator[str]:
    """Imported names: both `a.b` and `a.b.c` for `from a.b import c`, either may be a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
