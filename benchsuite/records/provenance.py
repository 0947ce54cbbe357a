"""Provenance: commit, working tree, versions, and a digest of the code that measures."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import platform
import re
import secrets
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import benchsuite
from benchsuite import allocator
from benchsuite.catalog.engines import ENGINES
from benchsuite.catalog.measures import MeasureSpec
from benchsuite.catalog.models import MACHINE, MODELS
from benchsuite.catalog.tasks import TASKS
from benchsuite.records.worktree import WorkTree, inspect

#: Environment variable that names the checkout under test.
CHECKOUT = "BENCHSUITE_CHECKOUT"
#: Environment variable with what `checkout` has determined for a run, for the run's processes.
STATE = "BENCHSUITE_CHECKOUT_STATE"

_PACKAGE = Path(benchsuite.__file__).parent
#: Directories of installed packages, whose modules are not followed: they are not edited in place.
_INSTALLED = {"site-packages", "dist-packages"}
#: Module that every measurement uses, besides its measure and its model.
_COMMON = "benchsuite.runtime.workload"
#: The name of a C source, and a file that one includes.
_C_SOURCE = re.compile(r"\w+\.c")
_INCLUDED = re.compile(r'^#include "(.+?)"', re.MULTILINE)
#: Modules that name, describe or store measurements; changing them does not change a number.
_BOOKKEEPING = {"catalog", "grid", "records", "errors", "units", "host", "__init__"}


@functools.cache
def checkout() -> dict[str, Any]:
    """Commit under test and state of the working tree, as columns of `records.SCHEMA`.

    The commit is the one that asv installed (`ASV_COMMIT`) or, without asv, that of the checkout
    around `BENCHSUITE_CHECKOUT` or the working directory. Outside a repository the dict is empty.
    A state that git cannot determine is the `tree` "unknown-" with random digits, without `dirty`:
    it equals no other state, so that no earlier measurement is used again.
    """
    if os.environ.get("ASV_COMMIT"):
        return {"commit": os.environ["ASV_COMMIT"], "dirty": False}
    if os.environ.get(STATE):  # `benchsuite run` has determined it for its processes
        return dict(json.loads(os.environ[STATE]))
    tree = _work_tree()
    commit = {"commit": tree.commit} if tree.commit else {}
    if tree.problem:
        return {**commit, "tree": f"unknown-{secrets.token_hex(6)}"}
    if not tree.commit:
        return {}
    if not tree.changes:
        return {**commit, "dirty": False}
    return {**commit, "dirty": True, "tree": tree.changes}


def checkout_problem() -> str:
    """Why the state of the working tree is unknown; empty if it is known."""
    return "" if os.environ.get("ASV_COMMIT") else _work_tree().problem


@functools.cache
def _work_tree() -> WorkTree:
    return inspect(Path(os.environ.get(CHECKOUT) or "."))


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
def source(model: str, measure: MeasureSpec, engine: str = "eager") -> str:
    """Digest of the code that one measurement of a model runs.

    It covers the modules of the model, the measure, the engine, the task (if any) and the workload,
    all modules of this package that they import, and the version of the engine's package. The
    digest does not depend on the command line, pages or other models, so changes to those do not
    cause measurements to be repeated. For a model from outside this package, it covers the module
    of its factory, the modules that this one imports
    from the same directory or package, and the data files that these modules name: a text constant
    that is the name of a file in the module's directory, or in a subdirectory that another constant
    names. Of a package that pip has installed, only the module of the factory is covered.
    """
    runner = ENGINES.get(engine)
    targets = [_COMMON, *(spec.target.partition(":")[0] for spec in (measure, runner))]
    if measure.task:
        targets.append(TASKS.get(measure.task).target.partition(":")[0])
    if model != MACHINE:
        targets.append(MODELS.get(model).target.partition(":")[0])
    files = {file for target in targets if (file := _file_of(target))}
    waiting = list(files)
    while waiting:
        new = _needed(waiting.pop()) - files
        files |= new
        waiting += new
    digest = hashlib.sha256()
    for file in sorted(files):
        _add(digest, file)
    if runner.package:
        digest.update(_version(runner.package).encode())
    return digest.hexdigest()[:12]


def _add(digest: hashlib._Hash, file: Path) -> None:
    """Add a file's content, of any size."""
    try:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:  # a data file that cannot be read here cannot be read by the model either
        digest.update(b"unreadable")


def _needed(file: Path) -> frozenset[Path]:
    """Files that a file needs: of this package, or of an outside model."""
    if file.is_relative_to(_PACKAGE):
        return _imported(file)
    if file.suffix != ".py" or _INSTALLED.intersection(file.parts):
        return frozenset()
    return _beside(file)


def _beside(file: Path) -> frozenset[Path]:
    """Modules that an outside model's module imports from its surroundings, and its data files."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # importing it will fail, with this reason
        return frozenset()
    top = file.parent  # the directory that the module's absolute name begins in
    while (top / "__init__.py").is_file():
        top = top.parent
    found = {
        path
        for directory, name in _modules_imported(tree, file, top)
        for path in (directory / f"{name}.py", directory / name / "__init__.py")
        if _is_file(path)
    }
    constants = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_name(node.value)
    }
    directories = [file.parent, *(d for c in constants if _is_directory(d := file.parent / c))]
    found |= {path for d in directories for c in constants if _is_file(path := d / c)}
    return frozenset(found)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - a name that is too long is not an error


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - a name that is too long is not an error


def _modules_imported(tree: ast.Module, file: Path, top: Path) -> Iterator[tuple[Path, str]]:
    """Imported modules as a directory and a path in it; packages of a module are imported too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = file.parents[node.level - 1]
            names = [".".join(filter(None, (node.module, alias.name))) for alias in node.names]
        elif isinstance(node, ast.ImportFrom | ast.Import):
            base = top
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from ((base, "/".join(parts[:end])) for end in range(1, len(parts) + 1))


def _is_name(text: str) -> bool:
    """Whether a text may be the relative path of a file: short, printable and without `..`."""
    return 0 < len(text) <= 200 and text.isprintable() and ".." not in text and text[0] != "/"


def _file_of(module: str) -> Path | None:
    """The file of a module; None if it is not found, which the attempt will report."""
    try:
        spec = find_spec(module)
    except (Exception, SystemExit):  # importing a parent package may fail in any way
        return None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin)


@functools.cache
def _imported(file: Path) -> frozenset[Path]:
    """Files of this package that a file of this package needs.

    Those are the modules that it imports, including lazy imports, the C sources that it names, and
    the files that these include.
    """
    if not file.is_relative_to(_PACKAGE):
        return frozenset()
    if file.suffix == ".py":
        tree = ast.parse(file.read_bytes())
        names = _names_imported(tree)
        paths = [_PACKAGE.parent / f"{name.replace('.', '/')}.py" for name in names]
        texts = {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        paths += [file.with_name(text) for text in texts if _C_SOURCE.fullmatch(text)]
    else:
        paths = [file.with_name(name) for name in _INCLUDED.findall(file.read_text("utf-8"))]
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
