"""The one decision on what a module sees: `find_field` combines formula, NaN and perturbation.

1. What the formula derives and the structural probe (a NaN) confirms, holds.
2. What is not proved like that is perturbed too, with finite differences. NaN and perturbation both
   miss lags in some modules, so where they differ the larger field holds, with a note.
3. A NaN that meets the zeros of a mask or a Fourier transform shows too many lags, and so does the
   formula: perturbation decides. The rounding noise that a transform leaves at all timesteps, the
   past included, is far below the least change that counts (see `perturb`), so a convolution by FFT
   that is padded is causal, and a circular one is not.

Commands, measures and `benchsuite check` take their field from here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from torch import nn

from benchsuite.errors import Unsupported, UsageError
from benchsuite.field.derive import UNBOUNDED_FROM, traced_field
from benchsuite.field.formula import NOTHING, UNBOUNDED, Field, Steps
from benchsuite.field.perturb import Perturbation, perturb
from benchsuite.field.probe import Masked, MixesRows, Probe, Transformed, probe

T = TypeVar("T")

#: Timesteps of the first attempt at the formula.
TRACED_LENGTH = 96
#: A field as long as the sequence is looked for again in one of twice the length, up to this, or,
#: by perturbation of a module with transforms, whose cost rises little faster than the length, at
#: any length.
_DOUBLED = 512
#: Lengths that models accept which do not accept all: multiples of this, and powers of two.
_MULTIPLE = 64


@dataclass(frozen=True, slots=True)
class FoundField:
    """The receptive field of a module, as far as it is known.

    Attributes:
        field: Lags that an output may depend on; None if not known.
        found_by: "formula" if derived, "probe" if seen by running the module, "" if not known.
        theory: By formula, where that is not withdrawn.
        probe: Lags seen by running, where they could be.
        notes: Why it is not by formula, or what disagrees; a sentence each.
    """

    field: Field | None
    found_by: Literal["formula", "probe", ""]
    theory: Field | None
    probe: Probe | None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> Steps | None:
        """Steps, unbounded, or None if not known."""
        return self.field.size if self.field is not None else None

    @property
    def causal(self) -> bool | None:
        """Whether no output depends on a later input; None if not known."""
        return self.field.causal if self.field is not None else None


def find_field(module: nn.Module, input_size: int, seq_len: int) -> FoundField:
    """Find the receptive field of a module over (batch, time, features).

    Args:
        module: The module; it is not changed.
        input_size: Features of the input.
        seq_len: Timesteps of the sequences it is for. It is probed at this length, or, to see a
            longer field end, at the next one that the module accepts.

    Returns:
        The field: an end of it is a number of steps, or unbounded where it grows with the sequence.

    Raises:
        UsageError: if the module cannot be run at `seq_len`, or its weights are not finite.
    """
    theory: Field | None = None
    seen: Probe | None = None
    reasons: list[Unsupported] = []
    for length in sorted({min(seq_len, TRACED_LENGTH), seq_len}):
        reasons.clear()
        try:
            theory = _attempt(reasons, functools.partial(traced_field, module, input_size, length))
        except UsageError:
            if length == seq_len:
                raise
            continue  # it may accept no other length
        try:
            seen = _attempt(reasons, functools.partial(_probe, module, input_size, theory, seq_len))
        except MixesRows:
            if theory is None or theory.causal or theory.farthest is not UNBOUNDED:
                raise
            note = "not probed: a NaN in one sequence of a batch comes out in another"
            return FoundField(theory, "formula", theory, None, (note,))
        if theory is None or seen is None:
            break
        if _agree(theory, seen):
            return FoundField(theory, "formula", theory, seen)
    notes = [str(reason) for reason in reasons]
    if theory is not None and seen is not None:
        notes.append(
            f"the field cannot be derived: {_words(theory)} by formula, but"
            f" {_words(seen.hull)} as probed"
        )
        theory = None
    moved = _attempt(reasons, functools.partial(_perturb, module, input_size, theory, seq_len))
    if moved is None:
        notes.append(str(reasons[-1]))
    elif moved.probe.whole and (
        moved.probe.length <= _DOUBLED // 2
        or any(isinstance(reason, Transformed) for reason in reasons)
    ):
        moved = _doubled(moved, functools.partial(perturb, module, input_size))
    masked = any(isinstance(reason, Masked) for reason in reasons)
    return _settle(theory, seen, moved, masked=masked, notes=notes)


def _settle(
    theory: Field | None,
    seen: Probe | None,
    moved: Perturbation | None,
    *,
    masked: bool,
    notes: list[str],
) -> FoundField:
    """Decide between what is known where the formula is not confirmed; `theory` may be None."""
    by_nan = _ends(seen) if seen is not None else None
    by_change = _ends(moved.probe) if moved is not None else None
    if moved is not None and ((masked and moved.probe.lags) or (theory is None and seen is None)):
        field = _ends(moved.probe, moved.fades)
        notes.append(f"perturbation decides: {_words(field)}")
        if any(moved.fades):
            notes.append("its changes fade to rounding, and the field is taken for unbounded there")
        return FoundField(field, "probe", None, moved.probe, tuple(notes))
    known = theory or by_nan
    if known is None:
        return FoundField(None, "", None, None, tuple(notes))
    field = _union(known, by_change) if by_change is not None else known
    if field != known:
        how = "by formula" if theory is not None else "as a NaN shows"
        notes.append(
            f"{_words(known)} {how}, but {_words(by_change)} by perturbation: the larger holds"
        )
    elif theory is not None:
        return FoundField(theory, "formula", theory, seen, tuple(notes))
    found = [probe for probe in (seen, moved.probe if moved is not None else None) if probe]
    lags = {lag for probe in found for lag in probe.lags}
    probed = Probe(found[0].length, tuple(sorted(lags)))
    return FoundField(field, "probe", None, probed, tuple(notes))


def at_accepted_length(find: Callable[[int], T], least: int, seq_len: int) -> T:
    """`find(length)` at the first length that does not raise a UsageError.

    The lengths tried are `least`, the next multiple of 64, the next power of two and `seq_len`.

    Raises:
        UsageError: that of the first length, if none is accepted.
    """
    first: UsageError | None = None
    multiple = -(-least // _MULTIPLE) * _MULTIPLE
    for length in dict.fromkeys((least, multiple, 1 << (least - 1).bit_length(), seq_len)):
        try:
            return find(length)
        except MixesRows:
            raise
        except UsageError as error:
            first = first or error
    assert first is not None
    raise first


def _attempt(reasons: list[Unsupported], find: Callable[[], T]) -> T | None:
    """The result, or None with the reason added to the notes."""
    try:
        return find()
    except Unsupported as reason:
        reasons.append(reason)
        return None


def _probe(module: nn.Module, input_size: int, theory: Field | None, seq_len: int) -> Probe:
    """By NaN at a length that shows the end of a finite field."""

    def find(length: int) -> Probe:
        return probe(module, input_size, length)

    seen = at_accepted_length(find, _probed_length(theory, seq_len), seq_len)
    if theory is None and seen.whole and seen.length <= _DOUBLED // 2:
        return _doubled(seen, find)
    return seen


def _perturb(
    module: nn.Module, input_size: int, theory: Field | None, seq_len: int
) -> Perturbation:
    length = _probed_length(theory, seq_len)
    return at_accepted_length(functools.partial(perturb, module, input_size), length, seq_len)


P = TypeVar("P", Probe, Perturbation)


def _doubled(found: P, find: Callable[[int], P]) -> P:
    """The field in a sequence of twice the length, if that shows the field's end.

    It has to see the future too where the shorter one does: what a circular convolution brings
    back from the end may fade in a longer sequence.
    """
    shorter = found if isinstance(found, Probe) else found.probe
    try:
        again = find(2 * shorter.length)
    except (Unsupported, UsageError):
        return found
    longer = again if isinstance(again, Probe) else again.probe
    return found if longer.whole or longer.causal != shorter.causal else again


def _probed_length(theory: Field | None, seq_len: int) -> int:
    """Long enough for a finite field to be seen ending."""
    ends = (theory.farthest, theory.nearest) if theory is not None else ()
    return max([seq_len, *(abs(end) + 2 for end in ends if isinstance(end, int))])


def _agree(theory: Field, seen: Probe) -> bool:
    """Whether both have the same ends; an unbounded one was probed to (nearly) the whole length."""
    far = min(UNBOUNDED_FROM * seen.length, seen.length - 1)
    first, last = (seen.lags[0], seen.lags[-1]) if seen.lags else (0, -1)
    return all(
        end == lag if isinstance(end, int) else abs(lag) >= far
        for end, lag in ((theory.nearest, first), (theory.farthest, last))
    )


def _ends(seen: Probe, fades: tuple[bool, bool] = (False, False)) -> Field:
    """From the least lag to the greatest, unbounded where it is cut by the sequence or fades."""
    if not seen.lags:
        return NOTHING
    first, last = seen.lags[0], seen.lags[-1]
    return Field(
        UNBOUNDED if -first >= seen.length - 1 > 0 or fades[0] else first,
        UNBOUNDED if last >= seen.length - 1 > 0 or fades[1] else last,
    )


def _union(first: Field, second: Field) -> Field:
    """The least field that holds both."""
    if NOTHING in {first, second}:
        return second if first == NOTHING else first
    nearest = (first.nearest, second.nearest)
    farthest = (first.farthest, second.farthest)
    return Field(
        UNBOUNDED if UNBOUNDED in nearest else min(n for n in nearest if isinstance(n, int)),
        UNBOUNDED if UNBOUNDED in farthest else max(f for f in farthest if isinstance(f, int)),
    )


def _words(field: Field | None) -> str:
    if field is None or field == NOTHING:
        return "no lag"
    nearest = "unbounded" if field.nearest is UNBOUNDED else field.nearest
    return f"lags {nearest} to {field.farthest}"
