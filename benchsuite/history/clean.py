"""A copy of asv's results that its pages can show; the originals are never written to.

`asv publish` takes what it finds on trust: an infinite value makes it run for ever, a value that is
no number ends it, and text goes into pages as it is. The smallest update of a kernel or of a build
tool starts a new line in every graph, for each of these is part of a graph's name.
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
#: Names that would be markup in a page become harmless signs that look alike.
_MARKUP = str.maketrans("<>", "‹›")
#: What changes with an update of the system while the machine stays the same.
_SYSTEM = ("os", "ram")
#: What only builds the package, and runs in no measurement.
_BUILDING = ("setuptools", "wheel", "tomli_w")
#: What makes it another machine.
_HARDWARE = ("cpu", "arch", "num_cpu")
_SHOWN = {"result", "params", "version", "started_at", "duration"}


@dataclass(slots=True)
class Cleaned:
    """What was copied.

    Attributes:
        commits: Commits that have results.
        axes: Name of each of asv's benchmarks → names of its parameters.
        notes: What was left out, in sentences.
    """

    commits: set[str] = field(default_factory=set)
    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def clean_copy(source: Path, target: Path) -> Cleaned:
    """Copy a results directory of asv, without what its publishing cannot take.

    Args:
        source: asv's `results_dir`.
        target: A directory that is made.

    Raises:
        UsageError: if it is no results directory, or nothing is left of it.
    """
    index = _read(source / INDEX)
    if index is None:
        raise UsageError(
            f"{str(source)!r} is no results directory of asv: it has no readable {INDEX}; measure"
            " first with `asv run` or `benchsuite run`"
        )
    cleaned = Cleaned()
    benchmarks = {name: about for name, about in index.items() if _is_benchmark(name, about)}
    _told_odd(cleaned, [n for n in index if n not in benchmarks and n != "version"], "benchmark")
    files: dict[Path, dict[str, Any]] = {}
    for directory in sorted(path.parent for path in source.glob(f"*/{_MACHINE}")):
        files |= _of_machine(directory, cleaned)
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


def _told_odd(cleaned: Cleaned, names: list[str], kind: str) -> None:
    if names:
        shown = ", ".join(repr(name)[:60] for name in names[:3])
        cleaned.notes.append(f"left out {len(names)} malformed {kind}s: {shown}")


def _of_machine(directory: Path, cleaned: Cleaned) -> dict[Path, dict[str, Any]]:
    """The files of one machine, by their path below the results directory."""
    machine = _read(directory / _MACHINE)
    if machine is None or machine.get("machine") != directory.name:
        cleaned.notes.append(f"left out {directory}: its {_MACHINE} does not describe it")
        return {}
    files = {Path(directory.name, _MACHINE): machine}
    hardware: dict[str, None] = {}
    for file in sorted(directory.glob("*.json")):
        if file.name == _MACHINE:
            continue
        found = _read(file)
        bad: Counter[str] = Counter()
        copy = _clean(found, bad) if found is not None else None
        if copy is None or copy["params"].get("machine") != directory.name:
            cleaned.notes.append(f"left out {file}: no result file of this machine")
            continue
        for name, count in bad.items():
            what = f"{count} value{'s' * (count > 1)}"
            cleaned.notes.append(
                f"left out {what} of {name} in {file}: not finite numbers, or not on a grid"
            )
        own = copy["params"]
        hardware[", ".join(str(own.get(key, "")) for key in _HARDWARE)] = None
        own.update({key: machine[key] for key in _SYSTEM if key in machine and key in own})
        files[Path(directory.name, file.name)] = copy
    if len(hardware) > 1:
        cleaned.notes.append(
            f"machine {directory.name!r} is not one machine ({'; '.join(hardware)}): its graphs are"
            " kept apart; give each a name with BENCHSUITE_MACHINE or `asv run --machine`"
        )
    return files


def _clean(data: Mapping[str, Any], bad: Counter[str]) -> dict[str, Any] | None:
    """A result file with numbers only, without raw samples; None where it is none."""
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
    surroundings = {key: value for key, value in params.items() if key not in _BUILDING}
    return {**data, "params": surroundings, "results": rows}


def _is_grid(params: object) -> bool:
    """Whether it has a list of texts for each parameter, as asv writes values."""
    return isinstance(params, list) and all(
        isinstance(values, list) and all(isinstance(value, str) for value in values)
        for values in params
    )


def _on_grid(columns: list[str], row: list[Any]) -> bool:
    params = dict(zip(columns, row, strict=False)).get("params")
    return params is None or _is_grid(params)


def _numbers(values: object, name: str, bad: Counter[str], *, unbounded: bool = False) -> Any:
    """A list of numbers and None; anything else in it is None, and counted.

    Args:
        values: What a file has there.
        name: The benchmark, for counting.
        bad: Counts by name.
        unbounded: Whether infinities mean something: an interval from few samples has no bound.
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
        except OverflowError:  # a whole number beyond floats
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
