"""`measure`: one case, one measure, one record; the same for asv, command line and notebook."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from benchsuite.catalog.measures import MEASURES, MeasureSpec
from benchsuite.errors import BenchsuiteError, Unsupported
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.faults import fault_time, page_faults
from benchsuite.measures.interference import Interference, is_timed
from benchsuite.measures.reading import Reading
from benchsuite.records import INTERRUPTED, Record, RecordFile
from benchsuite.records.attempts import new_attempt
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
    run: str = "",
    file: RecordFile | None = None,
    watch: bool = False,
) -> Record:
    """Measure one thing of one case.

    A case that cannot be measured gives a record that says why; only a programming error, a file
    that cannot be written and Ctrl-C come out as exceptions.

    Args:
        case: What to run.
        name: A measure of the registry.
        budget: Seconds it may take.
        study: Name of the study, for the record.
        run: Identity of the run, for the record.
        file: Where to write the record, its start first.
        watch: End the whole process once the budget's timeout has passed; for child processes.

    Raises:
        UsageError: for an unknown measure.
        BenchsuiteError: if the record cannot be written.
    """
    spec, budget = MEASURES.get(name), budget or Budget()
    record = new_attempt(case, spec, budget, study=study, run=run)
    if file is not None:
        file.append(record)
    try:
        with _watchdog(record, file) if watch else _nothing():
            record = _attempt(record, spec, budget)
    except KeyboardInterrupt:
        if file is not None:
            file.append(record.replace(status="failed", reason=INTERRUPTED))
        raise
    if file is not None:
        file.append(record)
    return record


def _attempt(record: Record, spec: MeasureSpec, budget: Budget) -> Record:
    """Build, measure, and turn whatever happens into the record of it."""
    workload: Workload | None = None
    began = time.perf_counter()
    built = None
    told: Mapping[str, Any] = {}
    try:
        workload = prepare(record.case)
        if spec.runs:
            workload.build()
        built = time.perf_counter()
        watch = Interference() if is_timed(spec) else None
        reading: Reading = spec.function()(workload, budget)
        around = watch.columns() if watch is not None else {}
        told = {**around, **_faults(workload, spec), **reading.provenance}
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
        told = reason.facts
        outcome = record.replace(status="skipped", reason=str(reason))
    except (OutOfMemory, MemoryError) as error:
        outcome = record.replace(status="oom", reason=_one_line(error))
    except Exception as error:
        status = "oom" if _NO_MEMORY.search(str(error)) else "failed"
        outcome = record.replace(status=status, reason=_one_line(error))
    ended = time.perf_counter()
    known = device.surroundings(workload.device) if workload is not None else {}
    own = workload.provenance() if workload is not None else {}
    return outcome.replace(
        setup_duration=(built or ended) - began,
        duration=ended - built if built is not None else 0.0,
        provenance={**record.provenance, **known, **own, **told},
    )


def _faults(workload: Workload, spec: MeasureSpec) -> dict[str, float]:
    """Page faults of a step and the cost of one, of the host, where the step runs there."""
    if not spec.runs or workload.device.type != "cpu":
        return {}
    return {"page_faults": page_faults(workload.step), "fault_time": fault_time()}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    shown = text if len(text) <= 300 else text[:299] + "…"
    return (
        shown
        if isinstance(error, BenchsuiteError | MemoryError)
        else f"{type(error).__name__}: {shown}"
    )


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _watchdog(record: Record, file: RecordFile | None) -> Iterator[None]:
    """End the process with a `timeout` record when the limit has passed.

    A thread, and not asv's own limit, which kills without leaving a word. It sleeps on a lock until
    then and so takes no time from the measurement.
    """
    assert record.timeout is not None
    limit = record.timeout

    def give_up() -> None:
        late = record.replace(
            status="timeout",
            reason=f"gave up after {limit:g} s",
            duration=limit,
            setup_duration=0.0,
        )
        if file is not None:
            file.append(late)
        os.write(2, f"benchsuite: {record.case.id}: {late.reason}\n".encode())
        os._exit(1)

    timer = threading.Timer(limit, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
