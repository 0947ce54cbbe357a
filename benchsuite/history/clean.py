"""A copy of asv's results that is safe to publish; the original files are never changed.

`asv publish` does not validate results: an infinite value makes it run forever, a value that is not
a number stops it, and text is inserted into pages without escaping. The versions of the kernel and
of build tools are part of a graph's name, so every update of one starts a new line in every graph.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchsuite.errors import UsageError
from benchsuite.history.arrange import arrange
from benchsuite.history.results import INDEX

_MACHINE = "machine.json"
_NAME = re.compile(r"\w+(\.\w+)*")
#: Characters of markup are replaced by harmless ones that look similar.
_MARKUP = str.maketrans("<>", "‹›")
#: Parameters that a system update changes although the machine stays the same.
_SYSTEM = ("os", "ram")
#: Packages that only build the package under test and take no part in a measurement.
_BUILD_TOOLS = ("setuptools", "wheel", "tomli_w")
#: Parameters that identify a machine.
_HARDWARE = ("cpu", "arch", "num_cpu")
#: Columns of a result file that the pages need.
_SHOWN = {"result", "params", "version", "started_at", "duration"}


@dataclass(slots=True)
class Cleaned:
    """The outcome of a copy.

    Attributes:
        commits: Commits that have results.
        axes: Name of each of asv's benchmarks → names of its parameters.
        notes: Sentences about what was left out.
    """

    commits: set[str] = field(default_factory=set)
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def clean_copy(source: Path, target: Path) -> Cleaned:
    """Copy a results directory of asv, leaving out what `asv publish` cannot handle.

    Args:
        source: asv's `results_dir`.
        target: The directory to create.

    Raises:
        UsageError: if `source` is not a results directory, or has no readable result.
    """
    index = _read(source / INDEX)
    if index is None:
        raise UsageError(
            f"{str(source)!r} is not a results directory of asv: it has no readable {INDEX};"
            " measure first with `asv run` or `benchsuite run`"
        )
    cleaned = Cleaned()
    benchmarks = {name: about for name, about in index.items() if _is_benchmark(name, about)}
    _note_malformed(cleaned, [n for n in index if n not in benchmarks and n != "version"])
    files: dict[Path, dict[str, Any]] = {}
    for directory in sorted(path.parent for path in source.glob(f"*/{_MACHINE}")):
        files |= _machine_files(directory, cleaned)
    results = {path: data for path, data in files.items() if path.name != _MACHINE}
    if not results:
        first = f": {cleaned.notes[0]}" if cleaned.notes else ""
        raise UsageError(f"no readable result in {str(source)!r}{first}")
    measured = {name for data in results.values() for name in data["results"]}
    benchmarks = {name: about for name, about in benchmarks.items() if name in measured}
    arrange(benchmarks, list(results.values()))
    cleaned.commits = {data["commit_hash"] for data in results.values()}
    cleaned.axes = {name: tuple(about["param_names"]) for name, about in benchmarks.items()}
    _write(target / INDEX, {**benchmarks, "version": index.get("version")})
    for path, data in files.items():
        _write(target / path, data)
    return cleaned


def _is_benchmark(name: str, about: object) -> bool:
    return (
        _NAME.fullmatch(name) is not None
        and isinstance(about, dict)
        and about.get("name") == name
        and isinstance(about.get("param_names"), list)
        and _is_grid(about.get("params"))
        and all(_NAME.fullmatch(str(param)) for param in about["param_names"])
        and len(about["params"]) == len(about["param_names"])
    )


def _note_malformed(cleaned: Cleaned, names: list[str]) -> None:
    if names:
        shown = ", ".join(repr(name)[:60] for name in names[:3])
        plural = "s" * (len(names) > 1)
        cleaned.notes.append(f"left out {len(names)} malformed benchmark{plural}: {shown}")


def _machine_files(directory: Path, cleaned: Cleaned) -> dict[Path, dict[str, Any]]:
    """The files of one machine, by path relative to the results directory."""
    machine = _read(directory / _MACHINE)
    if machine is None or machine.get("machine") != directory.name:
        cleaned.notes.append(f"left out {directory}: its {_MACHINE} does not describe this machine")
        return {}
    files = {Path(directory.name, _MACHINE): machine}
    hardware: dict[str, None] = {}
    for file in sorted(directory.glob("*.json")):
        if file.name == _MACHINE:
            continue
        data = _read(file)
        bad: Counter[str] = Counter()
        copy = _clean(data, bad) if data is not None else None
        if copy is None or copy["params"].get("machine") != directory.name:
            cleaned.notes.append(f"left out {file}: not a result file of this machine")
            continue
        for name, count in bad.items():
            values = f"{count} value{'s' * (count > 1)}"
            cleaned.notes.append(
                f"left out {values} of {name} in {file}: not finite numbers, or not on a grid"
            )
        params = copy["params"]
        hardware[", ".join(str(params.get(key, "")) for key in _HARDWARE)] = None
        params.update({key: machine[key] for key in _SYSTEM if key in machine and key in params})
        files[Path(directory.name, file.name)] = copy
    if len(hardware) > 1:
        cleaned.notes.append(
            f"machine {directory.name!r} has results of several machines ({'; '.join(hardware)}),"
            " which get separate graphs; name each machine with BENCHSUITE_MACHINE or"
            " `asv run --machine`"
        )
    return files


def _clean(data: Mapping[str, Any], bad: Counter[str]) -> dict[str, Any] | None:
    """A result file with numbers only and without raw samples; None if it is not a result file."""
    columns, results, params = (data.get(key) for key in ("result_columns", "results", "params"))
    commit = data.get("commit_hash")
    if not (isinstance(columns, list) and isinstance(results, dict) and isinstance(params, dict)):
        return None
    if not all(isinstance(column, str) for column in columns):
        return None
    if not (isinstance(commit, str) and re.fullmatch("[0-9a-f]{40}", commit)):
        return None
    rows = {}
    for name, row in results.items():
        if not isinstance(row, list) or not _NAME.fullmatch(name) or not _on_grid(columns, row):
            bad[name] += 1
            continue
        kept: list[Any] = []
        for column, value in zip(columns, row, strict=False):
            if column == "result":
                kept.append(_numbers(value, name, bad))
            elif column.startswith("stats_"):
                kept.append(_numbers(value, name, Counter(), unbounded=True))
            else:
                kept.append(value if column in _SHOWN else None)
        rows[name] = kept
    surroundings = {key: value for key, value in params.items() if key not in _BUILD_TOOLS}
    return {**data, "params": surroundings, "results": rows}


def _is_grid(params: object) -> bool:
    """Whether each parameter has a list of strings, as asv writes values."""
    return isinstance(params, list) and all(
        isinstance(values, list) and all(isinstance(value, str) for value in values)
        for values in params
    )


def _on_grid(columns: list[str], row: list[Any]) -> bool:
    params = dict(zip(columns, row, strict=False)).get("params")
    return params is None or _is_grid(params)


def _numbers(values: object, name: str, bad: Counter[str], *, unbounded: bool = False) -> Any:
    """The list with every item that is not a number replaced by None, and counted.

    Args:
        values: The field's content in the file.
        name: The benchmark's name, under which replaced items are counted.
        bad: Counts by name.
        unbounded: Whether infinities are allowed: an interval from few samples has no bound.
    """
    if values is None:
        return None
    if not isinstance(values, list):
        bad[name] += 1
        return None
    kept: list[float | None] = []
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            fits = number and (math.isnan(value) or math.isfinite(value) or unbounded)
        except OverflowError:  # an integer too large for a float
            fits = False
        if not fits and value is not None:
            bad[name] += 1
        kept.append(value if fits else None)
    return kept


def _read(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_harmless)
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _harmless(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.translate(_MARKUP): _plain(value) for key, value in pairs}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.translate(_MARKUP)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _write(file: Path, data: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")
