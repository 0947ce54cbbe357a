"""Plans the files that a repository needs to measure its own models: asv, a study, a workflow.

Versions are pinned to those installed in the current environment. The templates are Jinja's, with
`[[ ]]` and `[% %]` as delimiters, because JSON and GitHub's expressions use the usual ones.
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
from benchsuite.grid.axes import Value
from benchsuite.grid.study import Budget, Study
from benchsuite.sweep import suite

#: Models that a user's models are compared with.
_REFERENCE_MODELS = ("lstm", "tcn")
_AXES: dict[str, tuple[Value, ...]] = {
    "seq_len": (64, 256),
    "batch_size": (1, 16),
    "hidden_size": (64,),
    "mode": ("infer", "train"),
}
_MEASURES = ("latency", "peak_memory", "parameters", "flops", "receptive_field")
_BUDGET = Budget(min_run_time=0.2, max_run_time=1.0, timeout=60.0)
#: Build requirements of a package that declares none (PEP 518).
_DEFAULT_BUILD_REQUIRES = ("setuptools", "wheel")
#: Content of .gitignore: results and asv's environments are not part of the tree under test.
_IGNORE = "*\n!.gitignore\n"


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The planned files of a repository's benchmarks.

    Attributes:
        root: The repository.
        study: The study to measure.
        files: Content by path relative to the root.
        notes: Sentences about what the user has to do.
    """

    root: Path
    study: Study
    files: Mapping[str, str]
    notes: tuple[str, ...]

    def existing(self) -> list[str]:
        """Existing files whose content differs."""
        return [name for name in self.files if self._differs(name) and (self.root / name).exists()]

    def write(self) -> list[str]:
        """Write all files that are missing or differ, and return their names.

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
    """Plan the files without writing any.

    Args:
        root: The top directory of a git repository. If it holds a package (pyproject.toml or
            setup.py), asv installs that for every commit; otherwise asv uses the environment that
            it runs in.
        models: The repository's models, as `package.module:factory` or by entry point.
        axes: Values that replace the template's, by axis.

    Raises:
        UsageError: if `root` is not the top directory of a repository, or a model or value is not
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
        unknown = [name for name, pin in requirements.items() if not pin]
        if unknown:
            notes.append(
                f"asv.conf.json pins no version of {', '.join(unknown)} (not installed here):"
                " add the version there"
            )
        if "dependencies" not in package.get("project", {}):
            notes.append(
                "pyproject.toml has no project.dependencies: add the package's dependencies to"
                " matrix.req in asv.conf.json, because asv installs the package without them"
            )
    if (source := _directory_of_benchsuite()) is not None:
        notes.append(
            f"benchsuite is installed from {source} here, but asv's environments and CI install"
            f" benchsuite=={_version('benchsuite')} with pip: put a wheel of it into a directory"
            " that PIP_FIND_LINKS names (see docs/own-repository.md)"
        )
    return Scaffold(root, study, _files(project, study, requirements), tuple(notes))


def _require_top(root: Path) -> None:
    top = host.git(root, "rev-parse", "--show-toplevel") if root.is_dir() else ""
    if not root.is_dir():
        raise UsageError(f"{str(root)!r} is not a directory; name the top of a git repository")
    if not top:
        raise UsageError(f"{str(root)!r} is not in a git repository; create one with `git init`")
    if Path(top).resolve() != root.resolve():
        raise UsageError(f"{str(root)!r} is not the top of its git repository; use {top!r}")


def _package(root: Path) -> dict[str, Any]:
    """The content of pyproject.toml if it describes a package, else an empty dict."""
    path = root / "pyproject.toml"
    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return content if "project" in content or "build-system" in content else {}


def _study(project: str, models: Sequence[str], axes: Mapping[str, Sequence[Value]]) -> Study:
    names = [MODELS.get(model).name for model in models]
    given = {name: tuple(values) for name, values in axes.items()}
    return Study(
        name=re.sub(r"[^A-Za-z0-9_.+=,-]", "-", project).lstrip("_.+=,-") or "own",
        axes={"model": tuple(dict.fromkeys([*names, *_REFERENCE_MODELS])), **_AXES, **given},
        measures=_MEASURES,
        budget=_BUDGET,
        description=f"The models of {project}, compared with torch's LSTM and a TCN",
    )


def _pins(package: Mapping[str, Any]) -> dict[str, str]:
    """Versions of all packages that asv's environment needs, as installed here, by name.

    asv installs them one by one. torch comes first, so that no other package chooses its version.
    """
    build = package.get("build-system", {}).get("requires", _DEFAULT_BUILD_REQUIRES)
    needed = package.get("project", {}).get("dependencies", ())
    names = dict.fromkeys(["torch", "numpy", "benchsuite", *_names(needed), *_names(build)])
    return {name: _version(name) for name in names}


def _names(requirements: Iterable[object]) -> list[str]:
    """Names in requirements (PEP 508); one with a marker counts only if it is installed."""
    names = []
    for text in map(str, requirements):
        match = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)", text)
        if match and (";" not in text or _version(match[1])):
            names.append(match[1].lower())
    return names


def _version(distribution: str) -> str:
    """The installed version, or an empty string; without its local part, which indexes lack."""
    if distribution == "benchsuite":  # a source tree may run while an older one is installed
        return benchsuite.__version__
    try:
        return version(distribution).partition("+")[0]
    except PackageNotFoundError:
        return ""


def _directory_of_benchsuite() -> str | None:
    """The kind of directory that benchsuite was installed from, if any (PEP 610)."""
    try:
        origin = Distribution.from_name("benchsuite").read_text("direct_url.json") or ""
    except PackageNotFoundError:
        return "its source tree"
    return "a directory" if '"dir_info"' in origin else None


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
