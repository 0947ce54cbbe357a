"""What a case's model can see and what it looks at, before training.

Found on the CPU in float64 with the case's weights, whatever its device, dtype and batch.
"""

from __future__ import annotations

import functools

import torch

from benchsuite.errors import Unsupported
from benchsuite.field.derive import traced_field
from benchsuite.field.effective import EffectiveField
from benchsuite.field.formula import Field
from benchsuite.field.probe import probe
from benchsuite.field.summary import effective_field_of
from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.runtime.build import SequenceModel, Sizes, build
from benchsuite.runtime.workload import Workload


def receptive_field(workload: Workload, _: Budget) -> Reading:
    """Steps that one output may depend on, by formula or, failing that, as probed.

    Raises:
        Unsupported: if it is unbounded, or neither can be found.
    """
    case = workload.case
    lags, reason = _lags(case.model, workload.sizes, case.seed)
    if lags is None:
        raise Unsupported(reason)
    if not isinstance(lags.size, int):
        whole = "past" if lags.causal else "sequence"
        raise Unsupported(f"unbounded: an output depends on the whole {whole}", unbounded=True)
    return Reading(value=lags.size, warning=f"probed: {reason}" if reason else "")


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
    lags, _ = _lags(model, sizes, seed)
    field = effective_field_of(
        _module(model, sizes, seed),
        lags,
        input_size=sizes.input_size,
        seq_len=sizes.seq_len,
        seed=seed,
    )
    return field, lags is not None and lags.causal


def _lags(model: str, sizes: Sizes, seed: int) -> tuple[Field | None, str]:
    """The field by formula, else as probed; and why it is not by formula."""
    module = _module(model, sizes, seed)
    try:
        return traced_field(module, sizes.input_size, sizes.seq_len), ""
    except Unsupported as reason:
        return _probed(module, sizes), str(reason)


def _probed(module: SequenceModel, sizes: Sizes) -> Field | None:
    try:
        probed = probe(module, sizes.input_size, sizes.seq_len)
    except Unsupported:
        return None
    return None if probed.whole else probed.hull


def _module(model: str, sizes: Sizes, seed: int) -> SequenceModel:
    torch.manual_seed(seed)  # as `Workload.build` does: the same weights
    return build(model, sizes)
