"""What a study measures and what of it is done, fast enough for 200,000 measurements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import Case
from benchsuite.grid.study import Study
from benchsuite.records import INTERRUPTED, Key
from benchsuite.records.attempts import attempt_key
from benchsuite.records.line import RowBase
from benchsuite.records.outcomes import attempts
from benchsuite.records.record import key_of
from benchsuite.records.rows import rows_of_attempts

#: Key → case and measure, in asv's order: measures as the study has them, then its points.
Wanted = Mapping[Key, tuple[Case, str]]


class _Base(RowBase):
    """The columns that `attempts` and keys need."""

    uid: str
    status: str
    schema: int
    case: str = ""
    measure: str = ""
    version: str = ""
    machine: str = ""
    commit: str = ""
    tree: str = ""
    torch: str = ""
    source: str = ""
    min_run_time: float | None = None
    run: str = ""
    reason: str = ""
    started_at: float = 0.0
    timeout: float | None = None
    cpu: str = ""


class Outcome(_Base, gc=False):
    """A row without its numbers."""


class Numbers(_Base):
    """A row with what asv keeps of it."""

    value: float | None = None
    samples: list[float] = msgspec.field(default_factory=list)
    number: int = 1


def wanted(study: Study) -> dict[Key, tuple[Case, str]]:
    """Case and measure of every measurement of the study by the key of its record."""
    return {key: pair for name in study.measures for key, pair in _keys(study, name)}


def points(study: Study, measure: str) -> list[Key]:
    """Keys of one measure; the position is asv's index of the point."""
    return [key for key, _ in _keys(study, measure)]


def _keys(study: Study, name: str) -> Iterator[tuple[Key, tuple[Case, str]]]:
    spec = MEASURES.get(name)
    # Keys of one model and engine differ in the case alone.
    same: dict[tuple[str, str], Key] = {}
    for identity, case in _cases(study, name):
        runs = (case.model, case.engine)
        key = same.get(runs)
        if key is None:
            key = same[runs] = attempt_key(case, spec, study.budget)
        yield (identity, *key[1:]), (case, name)


def _cases(study: Study, name: str) -> Iterator[tuple[str, Case]]:
    """Id and case of `study.cases(name)`, with every value checked once and not once per case."""
    params = study.params_of(name)
    parsed = all(AXES[axis].parse(value) == value for axis in params for value in params[axis])
    special = MEASURES.get(name).of_machine or "input_size" in params
    if special or not parsed or "auto" in params["device"]:
        yield from ((case.id, case) for case in study.cases(name))
        return
    names = list(AXES)
    values = list(study.case([values[0] for values in params.values()]).as_dict().values())
    places = [names.index(axis) for axis in params]
    follows = not study.axes.get("input_size", (0,))[0]  # it is the hidden size then
    hidden, inputs = names.index("hidden_size"), names.index("input_size")
    points = itertools.product(*params.values())
    for (identity, _), point in zip(study.case_ids(name), points, strict=True):
        for place, value in zip(places, point, strict=True):
            values[place] = value
        if follows:
            values[inputs] = values[hidden]
        yield identity, _checked(values)


#: Functions that set each field of a frozen case.
_SETTERS = tuple(Case.__dict__[name].__set__ for name in AXES)


def _checked(values: Sequence[Any]) -> Case:
    """A case of values that are known to be allowed, in the order of `AXES`."""
    case = object.__new__(Case)
    for assign, value in zip(_SETTERS, values, strict=True):
        assign(case, value)
    return case


def outcomes(
    path: Path,
    keys: Wanted,
    row_type: Any = Outcome,
    *,
    processors: set[tuple[str, str]] | None = None,
) -> dict[Key, Any]:
    """The last attempt of each wanted measurement in a file; interrupted ones do not count.

    Args:
        path: A record file; it may be missing.
        keys: What is looked for.
        row_type: `Outcome`, or `Numbers` for values and samples, which take more memory.
        processors: A set that gets machine and processor of every attempt, wanted or not.
    """
    found: dict[Key, tuple[int, Any]] = {}
    own = {key: key for key in keys}
    rows = rows_of_attempts(row_type, path) if path.exists() else ()
    for index, row in attempts(rows, attrgetter("uid", "status")):
        if processors is not None:
            processors.add((row.machine, row.cpu))
        key = own.get(_key(row))
        if key is None or row.reason == INTERRUPTED:
            continue
        if key not in found or found[key][0] <= index:
            found[key] = index, row
    return {key: row for key, (_, row) in found.items()}


def _key(row: Any) -> Key:
    return key_of(
        case=row.case,
        measure=row.measure,
        version=row.version,
        machine=row.machine,
        commit=row.commit,
        tree=row.tree,
        torch=row.torch,
        source=row.source,
        min_run_time=row.min_run_time,
    )
