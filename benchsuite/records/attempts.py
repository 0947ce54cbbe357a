"""Attempts to measure: their keys, their first records, and which of them are finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from sys import intern
from typing import Any

from benchsuite import host
from benchsuite.catalog.measures import MEASURES, MeasureSpec
from benchsuite.catalog.models import MACHINE
from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget, Study
from benchsuite.records import provenance
from benchsuite.records.record import Key, Record, key_of
from benchsuite.records.rows import latest, outcomes_in, read_rows, settle, struct_of
from benchsuite.records.schema import FINAL, INTERRUPTED, Status

#: Columns of a key, besides `min_run_time`.
_NAMES = ("case", "measure", "version", "machine", "commit", "tree", "torch", "source")


def attempt_key(case: Case, spec: MeasureSpec, budget: Budget) -> Key:
    """The key of a record of this measurement in the current environment."""
    tree = provenance.checkout()
    return key_of(
        case=case.id,
        measure=spec.name,
        version=spec.version,
        machine=host.machine_name(),
        commit=tree.get("commit", ""),
        tree=tree.get("tree", ""),
        torch=provenance.software()["torch"],
        source=provenance.source(case.model, spec),
        min_run_time=budget.min_run_time,
    )


def new_attempt(
    case: Case,
    spec: MeasureSpec,
    budget: Budget,
    *,
    study: str = "",
    family: str = "",
    run: str = "",
) -> Record:
    """The record of an attempt that has not begun yet."""
    tree = provenance.checkout()
    return Record(
        case=case,
        measure=spec.name,
        unit=spec.unit,
        version=spec.version,
        study=study,
        run=run,
        machine=host.machine_name(),
        commit=tree.get("commit", ""),
        timeout=budget.timeout,
        min_run_time=budget.min_run_time,
        provenance={
            **host.hardware(),
            **provenance.software(),
            **{key: value for key, value in tree.items() if key != "commit"},
            "source": provenance.source(case.model, spec),
            "family": family,
        },
    )


def finished(path: Path) -> dict[Key, Record]:
    """Records in a file that a resumed run does not measure again, by key."""
    if not path.exists():
        return {}
    records = {}
    for row in latest(settle(read_rows(path))):
        with suppress(UsageError):  # its model is not available any more
            record = Record.from_row(row)
            if record.status in FINAL:
                records[record.key] = record
    return records


#: The columns that `finished_keys` reads of a row.
_KeyRow: Any = struct_of(
    *("uid", "status", "schema", "run", "started_at", "timeout", "reason"),
    *("case", "measure", "version", "machine", "commit", "tree", "torch", "source"),
    "min_run_time",
)


def finished_keys(path: Path) -> dict[Key, Status]:
    """Keys of the measurements in a file that a resumed run does not take again, with the status.

    The same keys as those of `finished`, but the file is streamed, and neither samples nor whole
    records are decoded.
    """
    if not path.exists():
        return {}
    outcomes: dict[Key, tuple[int, Status]] = {}
    for index, row in outcomes_in(path, _KeyRow, None):
        if row.reason == INTERRUPTED:
            continue
        key = key_of(
            **{name: intern(getattr(row, name)) for name in _NAMES}, min_run_time=row.min_run_time
        )
        if key not in outcomes or outcomes[key][0] <= index:
            outcomes[key] = index, row.status
    return {key: status for key, (_, status) in outcomes.items() if status in FINAL}


def study_keys(study: Study) -> Iterator[tuple[Key, str]]:
    """The key of every measurement of a study in the current environment, and its measure.

    As `attempt_key` of each case, without making the cases: a study may have 200,000.
    """
    tree = provenance.checkout()
    models = study.axes["model"]
    common = {
        "machine": host.machine_name(),
        "commit": tree.get("commit", ""),
        "tree": tree.get("tree", ""),
        "torch": provenance.software()["torch"],
    }
    for name in study.measures:
        spec = MEASURES.get(name)
        sources = {str(m): provenance.source(str(m), spec) for m in (*models, MACHINE)}
        for case, model in study.case_ids(name):
            key = key_of(
                case=case,
                measure=name,
                version=spec.version,
                source=sources[model],
                min_run_time=study.budget.min_run_time,
                **common,
            )
            yield key, name
