"""Where a number comes from: commit, working tree, versions, and the code that measured it."""

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
#: What every measurement goes through, besides its measure and its model.
_COMMON = "benchsuite.runtime.workload"
#: Modules that name, describe or store measurements: a change to them changes no number.
_BOOKKEEPING = {"catalog", "grid", "records", "errors", "units", "host", "__init__"}


@functools.cache
def checkout() -> dict[str, Any]:
    """Commit under test and state of the working tree.

    asv says which commit it has installed (`ASV_COMMIT`); else it is that of the checkout around
    `BENCHSUITE_CHECKOUT` or the working directory. Outside a repository there is none.
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
    """Names and times of Python files that git does not track: a model may live in one."""
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

    That is the model's module, the measure's, the task's where there is one, the workload's, and
    all modules of this package that they import; of a model from outside its own file alone.
    Changes to the command line, to pages or to other models leave it as it is, so that they
    measure nothing again.
    """
    targets = [_COMMON, measure.target.partition(":")[0]]
    if measure.task:
        targets.append(TASKS.get(measure.task).target.partition(":")[0])
    if model != MACHINE:
        targets.append(MODELS.get(model).target.partition(":")[0])
    files = {file for target in targets if (file := _file_of(target))}
    waiting = list(files)
    while waiting:
        found = _imported(waiting.pop()) - files
        files |= found
        waiting += found
    return _digest(b"".join(file.read_bytes() for file in sorted(files)))


def _file_of(module: str) -> Path | None:
    """The file of a module; None where it cannot be found, which the attempt itself reports."""
    try:
        spec = find_spec(module)
    except Exception:  # a package around it may fail in any way
        return None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin)


@functools.cache
def _imported(file: Path) -> frozenset[Path]:
    """Files of this package that a file of this package imports, lazily or not."""
    if not file.is_relative_to(_PACKAGE):
        return frozenset()
    tree = ast.parse(file.read_bytes())
    found = (_PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in _names_imported(tree))
    return frozenset(
        path
        for path in found
        if path.is_file()
        and path.relative_to(_PACKAGE).with_suffix("").parts[0] not in _BOOKKEEPING
    )


def _names_imported(tree: ast.Module) -> Iterator[str]:
    """`a.b` and `a.b.c` of `from a.b import c`: which of them is a module the disk decides."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
