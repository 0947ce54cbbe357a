"""All that is known of one module's field: formula, probe and effective field together."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, nn

from benchsuite.errors import Unsupported, UsageError
from benchsuite.field.derive import UNBOUNDED_FROM, traced_field
from benchsuite.field.effective import EffectiveField, effective_field
from benchsuite.field.formula import NOTHING, Field, Steps
from benchsuite.field.probe import Probe, probe
from benchsuite.field.subject import noise
from benchsuite.runtime.build import SequenceModel

T = TypeVar("T")

#: Timesteps of the first attempt at the formula.
TRACED_LENGTH = 96
#: Inputs that the effective field averages over.
SAMPLES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelField:
    """The field of one module; what could not be found is None, and `notes` says why.

    Attributes:
        theory: By formula, derived from the module.
        probe: Lags that structurally reach an output.
        effective: Gradient against lag.
        notes: One sentence for each thing that is not known.
    """

    theory: Field | None
    probe: Probe | None
    effective: EffectiveField | None
    notes: tuple[str, ...] = ()

    @property
    def receptive_field(self) -> Steps | None:
        """Steps by formula, or unbounded."""
        return self.theory.size if self.theory is not None else None

    @property
    def causal(self) -> bool | None:
        """Whether no output depends on a later input."""
        known = self.probe or self.theory
        return known.causal if known is not None else None

    def as_dict(self) -> dict[str, int | float | bool | str | None]:
        """Plain values; lags and distances in steps."""
        size, seen = self.receptive_field, self.effective
        return {
            "receptive_field": size if isinstance(size, int | None) else str(size),
            "probed_field": self.probe.size if self.probe is not None else None,
            "causal": self.causal,
            "erf50": seen.quantile(0.5) if seen else None,
            "erf95": seen.quantile(0.95) if seen else None,
            "erf50_sq": seen.quantile(0.5, squared=True) if seen else None,
            "erf95_sq": seen.quantile(0.95, squared=True) if seen else None,
            "centre_of_mass": seen.centre_of_mass if seen else None,
            "half_life": seen.half_life() if seen else None,
            "support": seen.support if seen else None,
            "horizon": seen.horizon if seen else None,
            "saturated": seen.saturated if seen else None,
        }


#: Of a module whose field could not be looked for.
NOT_FOUND = ModelField(theory=None, probe=None, effective=None)


def field_of(
    module: nn.Module,
    *,
    input_size: int,
    seq_len: int,
    seed: int = 0,
    probes: int | None = None,
    draw: Callable[[int, int], Tensor] | None = None,
    causal: bool = False,
) -> ModelField:
    """Everything about the field of a module over (batch, time, features), trained or not.

    Args:
        module: The module, as it is; it is not changed.
        input_size: Features of the input.
        seq_len: Timesteps of the sequences it is for, and the horizon of the effective field.
        seed: Of inputs and probes.
        probes: As in `effective_field`.
        draw: Makes `(samples, timesteps)` inputs of (batch, time, features); standard normal ones
            if left out.
        causal: Ask for a causal module.

    Raises:
        UsageError: if the module cannot be run, its weights are not finite, or it is not causal
            though asked for.
    """
    notes: list[str] = []
    theory, seen = structure(module, input_size, seq_len, notes)
    if causal:
        _require_causal(module, seen or theory, notes)
    lags = theory
    if theory is None and seen is not None and not seen.whole:
        lags = seen.hull
    effective = _attempt(
        notes,
        lambda: effective_field_of(
            module,
            lags,
            input_size=input_size,
            seq_len=seq_len,
            seed=seed,
            probes=probes,
            draw=draw,
        ),
    )
    return ModelField(theory=theory, probe=seen, effective=effective, notes=tuple(notes))


def effective_field_of(
    module: nn.Module,
    lags: Field | None,
    *,
    input_size: int,
    seq_len: int,
    seed: int = 0,
    probes: int | None = None,
    draw: Callable[[int, int], Tensor] | None = None,
) -> EffectiveField:
    """The effective field at an output that sees no padding; other arguments as in `field_of`.

    Where the field `lags` is finite, the input is long enough for it. Where the past alone is
    unbounded, the last of `seq_len` outputs is taken. Where the future is unbounded or the field is
    not known (None), it is the middle one, and the horizon is half of `seq_len`.
    """
    if lags is None or not isinstance(lags.nearest, int):
        at, length = seq_len // 2, seq_len
        horizon = min(at + 1, length - at)
    else:
        at = max(seq_len - 1, lags.farthest if isinstance(lags.farthest, int) else 0)
        length, horizon = at + 1 + max(0, -lags.nearest), seq_len
    x_BTF = draw(SAMPLES, length) if draw else noise(SAMPLES, length, input_size, seed=seed)
    return effective_field(module, x_BTF, at=at, horizon=horizon, probes=probes, seed=seed)


def _attempt(notes: list[str], find: Callable[[], T]) -> T | None:
    """What was found, or a note on why it cannot be."""
    try:
        return find()
    except Unsupported as reason:
        notes.append(str(reason))
        return None


def structure(
    module: nn.Module, input_size: int, seq_len: int, notes: list[str]
) -> tuple[Field | None, Probe | None]:
    """By formula and as probed; the formula on a short sequence unless the probe contradicts it.

    What could not be found is None, and a sentence on why is added to `notes`; other arguments and
    errors as in `field_of`.
    """
    told: list[str] = []
    for length in sorted({min(seq_len, TRACED_LENGTH), seq_len}):
        told.clear()
        try:
            theory = _attempt(told, functools.partial(traced_field, module, input_size, length))
        except UsageError:
            if length == seq_len:
                raise
            continue  # it may take no other length
        probed = _probed_length(theory, seq_len)
        seen = _attempt(told, functools.partial(probe, module, input_size, probed))
        if theory is None or seen is None or _agree(theory, seen):
            break
    else:
        assert theory is not None
        assert seen is not None
        told.append(
            f"the field cannot be derived: {_words(theory)} by formula, but"
            f" {_words(seen.hull)} as probed"
        )
        theory = None
    notes += told
    return theory, seen


def _probed_length(theory: Field | None, seq_len: int) -> int:
    """Long enough for a finite field to be seen ending."""
    ends = (theory.farthest, theory.nearest) if theory is not None else ()
    return max([seq_len, *(abs(end) + 2 for end in ends if isinstance(end, int))])


def _agree(theory: Field, seen: Probe) -> bool:
    """Whether both have the same ends; an unbounded one was probed to (nearly) the whole length."""
    far = UNBOUNDED_FROM * seen.length
    first, last = (seen.lags[0], seen.lags[-1]) if seen.lags else (0, -1)
    return all(
        end == lag if isinstance(end, int) else abs(lag) >= far
        for end, lag in ((theory.nearest, first), (theory.farthest, last))
    )


def _words(field: Field) -> str:
    return "no lag" if field == NOTHING else f"lags {field.nearest} to {field.farthest}"


def _require_causal(module: nn.Module, known: Field | Probe | None, notes: list[str]) -> None:
    name = type(module.module if isinstance(module, SequenceModel) else module).__name__
    if known is None:
        raise UsageError(f"whether {name} is causal cannot be told: {notes[-1]}")
    if not known.causal:
        raise UsageError(f"{name} is not causal: its outputs depend on later inputs")
