"""Traces beside a sweep: one for each model, mode and device, each recorded in a separate process.

The traced case is the one with the longest sequence and, at that length, the smallest batch and
width, where the cost of each timestep shows most plainly.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchsuite.errors import BenchsuiteError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Study
from benchsuite.profiling.written import EXPLANATION
from benchsuite.records.home import StudyHome
from benchsuite.sweep.launchers.isolated import FIRST_STEP, Children

#: A trace may take this much longer than a measurement of the same case.
_RECORDING_SECONDS = 120.0


def selected(study: Study) -> list[Case]:
    """The cases that are traced, in the study's order."""
    chosen: dict[tuple[str, str, str], Case] = {}
    for case in study.cases():
        key = (case.model, case.mode, case.device)
        if key not in chosen or _rank(case) > _rank(chosen[key]):
            chosen[key] = case
    return list(chosen.values())


def _rank(case: Case) -> tuple[int, int, int]:
    return case.seq_len, -case.batch_size, -case.hidden_size


def trace_study(
    study: Study,
    root: Path,
    *,
    fresh: bool = False,
    on_case: Callable[[Case, int, int], None] = lambda *_: None,
) -> list[str]:
    """Trace the selected cases into HOME/STUDY/traces; existing traces are kept.

    Args:
        study: With its device resolved.
        root: The root of all results.
        fresh: Replace existing traces too.
        on_case: Called before each case, with its number, from 1, and how many there are to trace.

    Returns:
        A note for each case that could not be traced.
    """
    directory = StudyHome.of(root, study.name).traces
    notes, limit = [], study.budget.timeout + _RECORDING_SECONDS
    cases = [
        case
        for case in selected(study)
        if fresh or not (directory / case.id.replace("/", "_") / EXPLANATION).exists()
    ]
    modules = ["benchsuite.profiling.trace_case", *[FIRST_STEP] * (len(cases) > 1)]
    with Children(*modules) as children:
        for number, case in enumerate(cases, 1):
            on_case(case, number, len(cases))
            try:
                children.call(_trace, case, directory, limit=limit)
            except BenchsuiteError as error:
                notes.append(f"no trace of {case.id}: {error}")
    return notes


def _trace(case: Case, directory: Path) -> None:
    """Body of the child process; the parent imports no torch."""
    from benchsuite.profiling.trace_case import trace_case

    sys.path.append("")  # models given as module:factory may live in the working directory
    trace_case(case, directory)
