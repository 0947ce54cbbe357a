"""Study files: the studies that come with the package, and TOML files of users."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from benchsuite import units
from benchsuite.errors import UsageError, quoted, unknown
from benchsuite.files import read_bytes
from benchsuite.grid.axes import AXES, Value, axis_named, parse_values
from benchsuite.grid.study import BUDGET_KEYS, Budget, Study

#: Most bytes of a study file.
MAX_BYTES = 1 << 20


def shipped() -> list[str]:
    """Names of the studies that come with the package."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files("benchsuite.grid.studies").iterdir()
        if entry.name.endswith(".toml")
    )


def load_study(name_or_path: str) -> Study:
    """A shipped study by name, or one from a TOML file.

    Raises:
        UsageError: for an unknown name, an unreadable file, or anything in it that is not allowed.
    """
    if name_or_path in shipped():
        text = (resources.files("benchsuite.grid.studies") / f"{name_or_path}.toml").read_text(
            "utf-8"
        )
        return parse_study(text, name_or_path)
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            text = read_bytes(path, "study file", MAX_BYTES).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"cannot read the study file {name_or_path!r}: it is not UTF-8 text"
            ) from error
        return parse_study(text, path.stem)
    raise unknown("study", name_or_path, shipped(), "or the path of a .toml file")


def parse_study(text: str, default_name: str) -> Study:
    """Parse the text of a study file.

    Raises:
        UsageError: with the offending key or value.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"study {default_name!r} is not valid TOML: {error}") from error
    except RecursionError as error:
        raise UsageError(f"study {default_name!r} is not valid: it is nested too deeply") from error
    except ValueError as error:  # a whole number of thousands of digits, a day that does not exist
        raise UsageError(
            f"study {default_name!r} is not valid: {str(error).partition(';')[0]}"
        ) from error
    if _has_long_number(data):
        raise UsageError(f"study {default_name!r} is not valid: a number does not fit into 64 bits")
    known = ("name", "description", "measures", "axes", "only", "families", *BUDGET_KEYS)
    for key in data:
        if key not in known:
            raise unknown(f"key of study {default_name!r}", key, known)
    axes = _parse_axes(data.get("axes", {}), f"study {default_name!r}: [axes]")
    only = data.get("only", {})
    if not isinstance(only, dict):
        raise UsageError(f"study {default_name!r}: [only] must be a table of measure = axes")
    families = data.get("families", {})
    if not isinstance(families, dict):
        raise UsageError(f"study {default_name!r}: [families] must be a table of model = family")
    measures = data.get("measures", ["latency", "peak_memory"])
    if not isinstance(measures, list) or not all(isinstance(m, str) for m in measures):
        raise UsageError(
            f"study {default_name!r}: measures = {quoted(measures)} must be a list of names"
        )
    return Study(
        name=str(data.get("name", default_name)),
        axes={name: axes[name] for name in AXES if name in axes},
        measures=tuple(dict.fromkeys(measures)),
        budget=Budget(**{key: _seconds(key, data[key]) for key in BUDGET_KEYS if key in data}),
        description=str(data.get("description", "")),
        only={
            measure: _parse_axes(raw, f"study {default_name!r}: [only] {measure[:60]}")
            for measure, raw in only.items()
        },
        families=families,
    )


def _has_long_number(value: object) -> bool:
    """Whether there is a whole number in a TOML value that TOML does not allow."""
    if isinstance(value, dict):
        return any(map(_has_long_number, value.values()))
    if isinstance(value, list):
        return any(map(_has_long_number, value))
    return isinstance(value, int) and not -(1 << 63) <= value < 1 << 63


def _seconds(key: str, raw: Any) -> Any:
    """A duration that is given as text, such as "500 ms", in seconds; `Budget` checks the rest."""
    if not isinstance(raw, str):
        return raw
    try:
        return units.parse(raw, "s")
    except ValueError as error:
        raise UsageError(f"{key} = {quoted(raw)} is not allowed; {error}") from None


def _parse_axes(raw: object, where: str) -> dict[str, tuple[Value, ...]]:
    if not isinstance(raw, dict):
        raise UsageError(f"{where} must be a table of axis = values")
    axes: dict[str, tuple[Value, ...]] = {}
    for key, values in raw.items():
        axis = axis_named(key)
        if axis.name in axes:
            raise UsageError(f"{where}: {axis.name} and {axis.alias} are one axis; set it once")
        axes[axis.name] = tuple(parse_values(axis, values))
    return axes
