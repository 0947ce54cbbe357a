"""Measures of a model's receptive field, and of its effective field before training.

Computed on the CPU in float64 with the case's weights, for any device, dtype and batch of the case.
"""

from __future__ import annotations

import copy
import functools

from benchsuite.errors import Unsupported
from benchsuite.field.effective import EffectiveField
from benchsuite.field.policy import FoundField, find_field
from benchsuite.field.summary import effective_field_of
from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.runtime.assemble import seeded
from benchsuite.runtime.build import SequenceModel, Sizes
from benchsuite.runtime.workload import Workload


def receptive_field(workload: Workload, _: Budget) -> Reading:
    """Steps that one output may depend on; see `field.policy`.

    Raises:
        Unsupported: if it is unbounded, or cannot be found.
    """
    case = workload.case
    known = _known(case.model, workload.sizes, case.seed)
    notes = "; ".join(known.notes)
    if known.field is None:
        raise Unsupported(notes)
    if not isinstance(known.size, int):
        whole = "past" if known.causal else "sequence"
        raise Unsupported(f"unbounded: an output depends on the whole {whole}", unbounded=True)
    probed = "probed: " if known.found_by == "probe" else ""
    return Reading(value=known.size, warning=probed + notes if notes else "")


def erf50(workload: Workload, _: Budget) -> Reading:
    """Steps that hold half of the gradient norm; see `field.effective`."""
    return _quantile(workload, 0.5)


def erf95(workload: Workload, _: Budget) -> Reading:
    """Steps that hold 95 % of the gradient norm; see `field.effective`."""
    return _quantile(workload, 0.95)


def _quantile(workload: Workload, share: float) -> Reading:
    field, causal = _effective(workload.case.model, workload.sizes, workload.case.seed)
    words = []
    if field.saturated:
        words.append(f"saturated: 95 % reach the horizon of {field.horizon} steps")
    if not causal:
        words.append("not known to be causal: distances to both sides count")
    return Reading(value=field.quantile(share), warning="; ".join(words))


@functools.lru_cache(maxsize=4)
def _effective(model: str, sizes: Sizes, seed: int) -> tuple[EffectiveField, bool]:
    """The field, and whether the model is causal; kept, as both measures read it."""
    known = _known(model, sizes, seed)
    field = effective_field_of(
        seeded(model, sizes, seed),
        known.field,
        input_size=sizes.input_size,
        seq_len=sizes.seq_len,
        seed=seed,
    )
    return field, bool(known.causal)


def bounded_field(module: SequenceModel, input_size: int, seq_len: int) -> int | None:
    """Timesteps that an output of a causal module depends on; None if unbounded or not known.

    The module is on its device and of its dtype; a copy of it is examined, as by the measures.
    """
    known = find_field(copy.deepcopy(module).cpu().double(), input_size, seq_len)
    return known.size if known.causal and isinstance(known.size, int) else None


def _known(model: str, sizes: Sizes, seed: int) -> FoundField:
    return find_field(seeded(model, sizes, seed), sizes.input_size, sizes.seq_len)
