"""Traces beside a sweep: one per model and mode, each in a process of its own.

Of each model, mode and device the case at the largest sequence length is traced, there with the
smallest batch and width, where the cost of each timestep shows most plainly.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchsuite.grid.axes import AXES
from benchsuite.grid.case import Case
from benchsuite.grid.study import Study
from benchsuite.profiling.written import EXPLANATION
from benchsuite.records.home import StudyHome

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
    """Trace the selected cases into HOME/STUDY/traces; those that are there are kept.

    Args:
        study: With its device resolved.
        root: The root of all results.
        fresh: Trace again what is there too.
        on_case: Called before each, with its number, from 1, and how many there are to trace.

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
    for number, case in enumerate(cases, 1):
        on_case(case, number, len(cases))
        settings = [
            word
            for name in AXES
            if name != "model"
            for word in ("-a", f"{name}={str(getattr(case, name)).lower()}")
        ]
        # In the directory this process is in, where models as module:factory are found.
        command = [sys.executable, "-m", "benchsuite", "trace", case.model, *settings]
        try:
            done = subprocess.run(
                [*command, "-o", str(directory), "--json"],
                capture_output=True,
                text=True,
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            notes.append(f"no trace of {case.id}: given up after {limit:g} s")
            continue
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["no output"]
            notes.append(f"no trace of {case.id}: {words[-1].removeprefix('error: ')}")
    return notes
