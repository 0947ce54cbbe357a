"""`measure`: one record of one measure of one case, for asv, command line and notebooks alike."""

from __future__ import annotations

import math
import os
import re
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from benchsuite import host
from benchsuite.catalog.measures import MEASURES, MeasureSpec
from benchsuite.errors import Unsupported, described
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.faults import fault_time, page_faults
from benchsuite.measures.field import bounded_field
from benchsuite.measures.interference import Interference, is_timed
from benchsuite.measures.reading import Reading
from benchsuite.measures.watchdog import Watchdog
from benchsuite.records import INTERRUPTED, Record, RecordFile
from benchsuite.records.attempts import new_attempt
from benchsuite.records.schema import SUSPENDED
from benchsuite.runtime import device
from benchsuite.runtime.device import OutOfMemory
from benchsuite.runtime.workload import Workload, prepare

_NO_MEMORY = re.compile(r"can't allocate memory|out of memory|bad_alloc|Cannot allocate memory")


def measure(
    case: Case,
    name: str,
    *,
    budget: Budget | None = None,
    study: str = "",
    family: str = "",
    run: str = "",
    file: RecordFile | None = None,
    watch: bool = False,
) -> Record:
    """Take one measure of one case.

    A case that cannot be measured yields a record with the reason. Exceptions are raised only for
    an unknown measure, a file that cannot be written, and Ctrl-C.

    Args:
        case: The case to run.
        name: Name of a measure in the registry.
        budget: Time limits.
        study: Name of the study, for the record.
        family: Of a model from outside, as its study names it; for the record.
        run: Identity of the run, for the record.
        file: File to append the record to, its start first.
        watch: End the whole process once the budget's timeout has passed; for child processes.

    Raises:
        UsageError: for an unknown measure.
        BenchsuiteError: if the record cannot be written.
    """
    spec, budget = MEASURES.get(name), budget or Budget()
    record = new_attempt(case, spec, budget, study=study, family=family, run=run)
    if file is not None:
        file.append(record)
    watchdog = Watchdog(budget.timeout, lambda: _give_up(record, file)) if watch else None
    try:
        if watchdog:
            watchdog.start()
        outcome = _attempt(record, spec, budget)
    except KeyboardInterrupt:
        if file is not None:
            file.append(record.replace(status="failed", reason=INTERRUPTED))
        raise
    finally:
        stopped = watchdog.stop() if watchdog else 0.0
    if stopped:
        outcome = outcome.replace(
            status="failed",
            value=None,
            samples=(),
            reason=f"{SUSPENDED} for {stopped:.0f} s by the system; a run measures it again",
        )
    if file is not None:
        file.append(outcome)
    return outcome


def _attempt(record: Record, spec: MeasureSpec, budget: Budget) -> Record:
    """Build and measure, and return the record of the outcome, whichever it is."""
    workload: Workload | None = None
    began = time.perf_counter()
    built = None
    facts: Mapping[str, Any] = {}
    try:
        _require_mode(record.case, spec)
        watch = Interference() if is_timed(spec) else None
        workload = prepare(record.case, bounded_field)
        if spec.runs:
            workload.build()
        built = time.perf_counter()
        if watch is not None:
            watch.start()
        reading: Reading = spec.function()(workload, budget)
        around = watch.columns() if watch is not None else {}
        facts = {**around, **_faults(workload, spec), **reading.provenance}
        if not math.isfinite(reading.value):
            raise ArithmeticError(f"the value is {reading.value}, which is not a finite number")
        outcome = record.replace(
            status="ok",
            value=float(reading.value),
            samples=reading.samples,
            number=reading.number,
            warning=reading.warning,
        )
    except Unsupported as reason:
        facts = reason.facts
        outcome = record.replace(status="skipped", reason=str(reason))
    except (OutOfMemory, MemoryError) as error:
        outcome = record.replace(status="oom", reason=described(error))
    except Exception as error:
        status = "oom" if _NO_MEMORY.search(str(error)) else "failed"
        outcome = record.replace(status=status, reason=described(error))
    ended = time.perf_counter()
    surroundings = device.surroundings(workload.device) if workload is not None else {}
    of_workload = workload.provenance() if workload is not None else {}
    return outcome.replace(
        setup_duration=(built or ended) - began,
        duration=ended - built if built is not None else 0.0,
        provenance={**record.provenance, **surroundings, **of_workload, **facts},
    )


def _require_mode(case: Case, spec: MeasureSpec) -> None:
    """Raise `Unsupported` where a measure does not apply to the case's mode."""
    if case.mode in spec.modes:
        return
    instead = ""
    if spec.name == "latency":
        instead = "; step_latency times the calls of a stream"
    raise Unsupported(
        f"{spec.name} is not measured in mode {case.mode}, only in {' and '.join(spec.modes)}"
        f"{instead}"
    )


def _faults(workload: Workload, spec: MeasureSpec) -> dict[str, float]:
    """Page faults of a step, and the time of one, if the step runs on the CPU."""
    if not spec.runs or workload.device.type != "cpu":
        return {}
    return {"page_faults": page_faults(workload.step), "fault_time": fault_time()}


def _give_up(record: Record, file: RecordFile | None) -> None:
    """End the process with a `timeout` record.

    A thread calls this, because asv kills a process at its limit without a word.
    """
    late = record.replace(
        status="timeout",
        reason=f"gave up after {record.timeout:g} s",
        duration=record.timeout,
        setup_duration=0.0,
    )
    if file is not None:
        file.append(late)
    for pid in host.descendants(
        os.getpid()
    ):  # such as a compiler, which would go on beside the next
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os.write(2, f"benchsuite: {record.case.id}: {late.reason}\n".encode())
    os._exit(1)
