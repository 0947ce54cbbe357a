"""All that is known of one module's field: what it can see and the effective field together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from benchsuite.errors import Unsupported, UsageError
from benchsuite.field.effective import EffectiveField, effective_field
from benchsuite.field.formula import Field, Steps
from benchsuite.field.policy import FoundField, at_accepted_length, find_field
from benchsuite.field.probe import Probe
from benchsuite.field.subject import noise
from benchsuite.runtime.build import SequenceModel

#: Inputs that the effective field averages over.
SAMPLES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelField:
    """The field of one module; parts that could not be found are None, with a reason in `notes`.

    Attributes:
        known: What it can see, and how that is known.
        effective: Gradient against lag.
        notes: One sentence for each thing that is not known or disagrees.
    """

    known: FoundField
    effective: EffectiveField | None
    notes: tuple[str, ...] = ()

    @property
    def receptive_field(self) -> Steps | None:
        """Steps, or unbounded."""
        return self.known.size

    @property
    def theory(self) -> Field | None:
        """By formula, derived from the module."""
        return self.known.theory

    @property
    def probe(self) -> Probe | None:
        """Lags seen by running the module."""
        return self.known.probe

    @property
    def causal(self) -> bool | None:
        """Whether no output depends on a later input."""
        return self.known.causal

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
NOT_FOUND = ModelField(known=FoundField(None, "", None, None), effective=None)


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
    known = find_field(module, input_size, seq_len)
    if causal:
        _require_causal(module, known)
    notes, effective = known.notes, None
    try:
        effective = effective_field_of(
            module,
            known.field,
            input_size=input_size,
            seq_len=seq_len,
            seed=seed,
            probes=probes,
            draw=draw,
        )
    except Unsupported as reason:
        notes = (*notes, str(reason))
    return ModelField(known=known, effective=effective, notes=notes)


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

    def find(length: int) -> EffectiveField:
        x_BTF = draw(SAMPLES, length) if draw else noise(SAMPLES, length, input_size, seed=seed)
        return effective_field(
            module, x_BTF, at=at, horizon=horizon, probes=probes, seed=seed, within=lags
        )

    return at_accepted_length(find, length, length)


def _require_causal(module: nn.Module, known: FoundField) -> None:
    name = type(module.module if isinstance(module, SequenceModel) else module).__name__
    if known.causal is None:
        raise UsageError(f"whether {name} is causal is not known: {known.notes[-1]}")
    if not known.causal:
        raise UsageError(f"{name} is not causal: its outputs depend on later inputs")
