"""Attempts to measure: their keys and their first records."""

from __future__ import annotations

from benchsuite import host
from benchsuite.catalog.measures import MeasureSpec
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.records import provenance
from benchsuite.records.record import Key, Record, key_of


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
        source=provenance.source(case.model, spec, case.engine),
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
            "source": provenance.source(case.model, spec, case.engine),
            "family": family,
        },
    )
