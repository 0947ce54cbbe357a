"""What a repository needs to measure its own models: asv's files, a study, a workflow.

Versions are pinned as they are installed here. Templates are Jinja's, with `[[ ]]` and `[% %]`,
which neither JSON nor GitHub's expressions use.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2

import benchsuite
from benchsuite import host
from benchsuite.catalog.models import MODELS
from benchsuite.errors import UsageError
from benchsuite.grid.case import Value
from benchsuite.grid.study import Budget, Study
from benchsuite.sweep import suite

#: What a user's models are held against.
_BESIDE = ("lstm", "tcn")
_AXES: dict[str, tuple[Value, ...]] = {
    "seq_len": (64, 256),
    "batch_size": (1, 16),
    "hidden_size": (64,),
    "mode": ("infer", "train"),
}
_MEASURES = ("latency", "peak_memory", "parameters", "flops", "receptive_field")
_BUDGET = Budget(min_run_time=0.2, max_run_time=1.0, timeout=60.0)
#: Of a package that does not say by what it is built (PEP 518).
_BUILT_BY = ("setuptools", "wheel")
#: Results, and asv's environments with whole Python trees, are no part of the tree under test.
_IGNORE = "*\n!.gitignore\n"


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The files of a repository's benchmarks.

    Attributes:
        root: The repository.
        study: What is measured.
        files: Text by path, relative to the root.
        notes: What is left to the user.
    """

    root: Path
    study: Study
    files: Mapping[str, str]
    notes: tuple[str, ...]

    def existing(self) -> list[str]:
        """Files that are there with another text."""
        return [name for name in self.files if self._differs(name) and (self.root / name).exists()]

    def write(self) -> list[str]:
        """Write all files that are not there as they should be, and name them.

        Raises:
            UsageError: if one cannot be written.
        """
        written = [name for name in self.files if self._differs(name)]
        for name in written:
            path = self.root / name
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.files[name], encoding="utf-8")
            except OSError as error:
                raise UsageError(f"cannot write {path}: {error.strerror}") from error
        return written

    def _differs(self, name: str) -> bool:
        path = self.root / name
        try:
            return path.read_text(encoding="utf-8") != self.files[name]
        except (OSError, UnicodeDecodeError):
            return True


def scaffold(
    root: Path, models: Sequence[str], axes: Mapping[str, Sequence[Value]] | None = None
) -> Scaffold:
    """Work out the files; nothing is written.

    Args:
        root: The top of a git repository: with a package (pyproject.toml or setup.py), which asv
            installs for every commit, or without, and asv takes the environment it is run from.
        models: The repository's own models, as `package.module:factory` or by entry point.
        axes: Values of axes that are not to be those of the template.

    Raises:
        UsageError: if it is not the top of a repository, or for a model or value that is not
            allowed.
    """
    root = root.absolute()
    _require_top(root)
    package, notes = _package(root), []
    project = package.get("project", {}).get("name") or root.resolve().name
    study = _study(project, models, axes or {})
    requirements: dict[str, str] = {}
    if package or (root / "setup.py").exists():
        requirements = _pins(package)
        unknown = [name for name, found in requirements.items() if not found]
        if unknown:
            notes.append(
                f"{', '.join(unknown)}: not installed here, so asv.conf.json pins no version"
            )
        if "dependencies" not in package.get("project", {}):
            notes.append(
                "pyproject.toml has no project.dependencies: add what the package needs to"
                " matrix.req in asv.conf.json, as asv builds without dependencies"
            )
    if (source := _directory_of_benchsuite()) is not None:
        notes.append(
            f"benchsuite is installed from {source} here; asv's environments and CI ask pip for"
            f" benchsuite=={_version('benchsuite')}, which has to find it: put a wheel where"
            " PIP_FIND_LINKS says (see docs/own-repository.md)"
        )
    return Scaffold(root, study, _files(project, study, requirements), tuple(notes))


def _require_top(root: Path) -> None:
    top = host.git(root, "rev-parse", "--show-toplevel") if root.is_dir() else ""
    if not root.is_dir():
        raise UsageError(f"{str(root)!r} is no directory")
    if not top:
        raise UsageError(f"{str(root)!r} is in no git repository; `git init` makes one")
    if Path(top).resolve() != root.resolve():
        raise UsageError(f"{str(root)!r} is not the top of its git repository; that is {top!r}")


def _package(root: Path) -> dict[str, Any]:
    """pyproject.toml, if it is one of a package."""
    path = root / "pyproject.toml"
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return found if "project" in found or "build-system" in found else {}


def _study(project: str, models: Sequence[str], axes: Mapping[str, Sequence[Value]]) -> Study:
    names = [MODELS.get(model).name for model in models]
    given = {name: tuple(values) for name, values in axes.items()}
    return Study(
        name=re.sub(r"[^A-Za-z0-9_.+=,-]", "-", project).lstrip("_.+=,-") or "own",
        axes={"model": tuple(dict.fromkeys([*names, *_BESIDE])), **_AXES, **given},
        measures=_MEASURES,
        budget=_BUDGET,
        description=f"The models of {project} beside torch's LSTM and a TCN",
    )


def _pins(package: Mapping[str, Any]) -> dict[str, str]:
    """Everything asv's environment needs, by name, at the version installed here.

    asv installs one after another: torch comes first, so that nothing else fetches another one.
    """
    build = package.get("build-system", {}).get("requires", _BUILT_BY)
    needed = package.get("project", {}).get("dependencies", ())
    names = dict.fromkeys(["torch", "numpy", "benchsuite", *_names(needed), *_names(build)])
    return {name: _version(name) for name in names}


def _names(requirements: Iterable[object]) -> list[str]:
    """Names out of requirements (PEP 508); one with a marker counts only if it is installed."""
    found = []
    for text in map(str, requirements):
        match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", text)
        if match and (";" not in text or _version(match[1])):
            found.append(match[1].lower())
    return found


def _version(distribution: str) -> str:
    """The version installed here, without its local part, which no index has; or nothing."""
    if distribution == "benchsuite":  # it may run from a source tree, with an older one installed
        return benchsuite.__version__
    try:
        return version(distribution).partition("+")[0]
    except PackageNotFoundError:
        return ""


def _directory_of_benchsuite() -> str | None:
    """Where pip found benchsuite, if that was a directory (PEP 610)."""
    try:
        told = Distribution.from_name("benchsuite").read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return "its source tree"
    return "a directory" if '"dir_info"' in told else None


def _files(project: str, study: Study, requirements: Mapping[str, str]) -> dict[str, str]:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("benchsuite.scaffold"),
        undefined=jinja2.StrictUndefined,
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    templates.filters["json"] = functools.partial(json.dumps, ensure_ascii=False)
    values = {
        "project": project,
        "study": study,
        "requirements": requirements,
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "install": " ".join(
            f"{name}=={_version(name)}" for name in ("benchsuite", "torch", "numpy")
        ),
    }
    rendered = {
        path: templates.get_template(f"{Path(path).name}.j2").render(values)
        for path in (
            "asv.conf.json",
            "benchmarks/study.toml",
            ".github/workflows/benchmark.yml",
        )
    }
    return {
        "asv.conf.json": rendered["asv.conf.json"],
        "benchmarks/measures.py": suite.BENCHMARK_MODULE,
        **rendered,
        "benchmarks/__init__.py": '"""The benchmarks that asv runs."""\n',
        ".asv/.gitignore": _IGNORE,
        ".benchsuite/.gitignore": _IGNORE,
    }
