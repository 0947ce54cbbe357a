"""Costs of an engine before its first result: compiling, exporting, loading."""

from __future__ import annotations

import time

from benchsuite.errors import Unsupported
from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.runtime import device
from benchsuite.runtime.engines import Prepared
from benchsuite.runtime.workload import Workload


def first_call(workload: Workload, _: Budget) -> Reading:
    """Seconds from a built module to its first result: compiling, exporting, loading, one step.

    The import of an engine's own packages is not part of it. A workload is built for it alone,
    whose module has not run before.
    """
    case = workload.case
    fresh = Workload(case, workload.field_of)
    fresh.start()
    prepared = fresh.prepared.preparation if fresh.prepared is not None else 0.0
    device.synchronize(fresh.device)
    began = time.perf_counter()
    fresh.step()
    device.synchronize(fresh.device)
    return Reading(value=prepared + time.perf_counter() - began, provenance=fresh.provenance())


def compile_time(workload: Workload, _: Budget) -> Reading:
    """Seconds that the engine took to compile the module, or to export it.

    Raises:
        Unsupported: if the engine does neither.
    """
    return Reading(value=_prepared(workload).compile_time)


def load_time(workload: Workload, _: Budget) -> Reading:
    """Seconds that the engine took to load the exported model.

    Raises:
        Unsupported: if the engine exports nothing.
    """
    return Reading(value=_exported(_prepared(workload).load_time, workload))


def artifact_size(workload: Workload, _: Budget) -> Reading:
    """Bytes of the exported model.

    Raises:
        Unsupported: if the engine exports nothing.
    """
    return Reading(value=_exported(_prepared(workload).artifact_size, workload))


def _prepared(workload: Workload) -> Prepared:
    if workload.prepared is None:
        raise Unsupported(f"engine {workload.case.engine} compiles nothing")
    return workload.prepared


def _exported(value: float | None, workload: Workload) -> float:
    if value is None:
        raise Unsupported(f"engine {workload.case.engine} exports nothing")
    return value
