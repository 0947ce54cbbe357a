"""How many iterations a model takes that solves its equations by iterating (`models.newton`)."""

from __future__ import annotations

from benchsuite.errors import Unsupported
from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.runtime import count
from benchsuite.runtime.workload import Workload


def iterations(workload: Workload, _: Budget) -> Reading:
    """Iterations of a step, forward and in mode train backward, of the slowest layer and sequence.

    Raises:
        Unsupported: if the model does not iterate.
    """
    taken = iterations_of_step(workload)
    if not taken:
        raise Unsupported(f"{workload.case.model} does not iterate")
    return Reading(value=max(forward + backward for forward, backward in taken))


def iterations_of_step(workload: Workload) -> list[tuple[int, int]]:
    """Those of a step, forward and backward, of each layer and direction; empty for most models."""
    found = count.iterations_of(workload.module)
    if found:
        workload.step()
    train = workload.case.mode == "train"
    return [(own.forward, own.backward if train else 0) for own in found]
