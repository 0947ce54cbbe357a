"""The clauses of the contract: functions that run a model and describe what they observe.

A clause returns its observation if the model keeps it, and raises `Broken` or `Noted` if not.
Models run in eval mode unless a clause names another.

Shape suffixes: B batch, T timesteps, F features.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor

from benchsuite.catalog.models import MODELS
from benchsuite.catalog.tasks import TASKS
from benchsuite.contract.specimen import (
    B,
    Specimen,
    T,
    fitting_form,
    retained,
    rows_apart,
    second_argument,
)
from benchsuite.errors import Unsupported, UsageError, described
from benchsuite.field.formula import NOTHING
from benchsuite.field.perturb import perturbed
from benchsuite.field.policy import find_field
from benchsuite.field.subject import Uncopyable, noise, run
from benchsuite.runtime import count
from benchsuite.runtime.build import SequenceModel, Sizes
from benchsuite.runtime.streams import Buffered, Recomputed, stream_of
from benchsuite.tasks.task import make_task

Clause = Callable[[Specimen], str]

#: Other sizes (batch, time) to try.
_SHAPES = ((1, 1), (1, 2), (2, T - 1), (5, 2 * T + 1), (1, 96))
#: Timesteps of the sequence in which the receptive field is looked for.
_FIELD_LENGTH = 64
#: Calls of a stream between two looks at the tensors alive, timesteps of a call, number of looks.
_GROWTH_CALLS, _GROWTH_STEPS, _GROWTH_LOOKS = 8, 8, 3
#: Timesteps at which operations are counted.
_LONG = 1024
#: How far parameters are moved before their gradient is computed: a gate that starts at zero lets
#: no gradient through, which is not a fault.
_NUDGE = 0.1


class Broken(Exception):  # noqa: N818 - a finding
    """A clause that is not kept: the observation, and the fix."""

    def __init__(self, observed: str, fix: str = "") -> None:
        super().__init__(observed, fix)


class Noted(Broken):
    """A property that is allowed but excludes something."""


def shape(specimen: Specimen) -> str:
    """(batch, time, features) → (batch, time, features'), finite and of real numbers."""
    x_BTF = specimen.input()
    taken = MODELS.get(specimen.name).accepts()
    try:
        y_BTF = run(specimen.module, x_BTF)
    except UsageError as error:
        fix = fitting_form(specimen) or second_argument(specimen.module.module)
        if not fix and "input_size" not in taken:
            fix = "its factory takes no input_size; set the one that it needs: -a input_size=N"
        raise Broken(
            str(error), fix or "return (batch, time, features); see benchsuite.adapt"
        ) from error
    if not y_BTF.is_floating_point():
        raise Broken(f"its output is of {y_BTF.dtype}", "return real numbers")
    if not y_BTF.isfinite().all():
        raise Broken("its output holds NaN or infinite numbers for a standard normal input")
    sizes = [name for name in Sizes.__dataclass_fields__ if name in taken]
    return (
        f"{tuple(x_BTF.shape)} → {tuple(y_BTF.shape)} as (batch, time, features); the factory takes"
        f" {', '.join(sizes) or 'none of the sizes'}"
    )


def dtype(specimen: Specimen) -> str:
    """float32 and float64 in, the same out."""
    for wanted in (torch.float32, torch.float64):
        before, specimen.dtype = specimen.dtype, wanted
        try:
            module = specimen.build()
            got = run(module, specimen.input()).dtype
            if got != wanted:
                raise UsageError(f"{wanted} in, {got} out")
        except UsageError as error:
            specimen.dtype = before
            raise Broken(
                f"{error}; fields are derived in float64, and the task sine is learnt in it",
                "make tensors like the input (x.new_zeros) or as buffers, which follow .double()",
            ) from error
        specimen.module = module
    return "float32 and float64 in, the same out"


def repetition(specimen: Specimen) -> str:
    """The same input gives the same output and is not changed; no tensors are kept of a call."""
    x_BTF = specimen.input()
    held_BTF = x_BTF.clone()
    y_BTF = run(specimen.module, x_BTF)
    if not torch.equal(x_BTF, held_BTF):
        raise Broken("it writes into its input", "copy the input before changing it in place")
    if not torch.equal(run(specimen.module, x_BTF), y_BTF):
        raise Broken(
            "a second call gives another output",
            "keep no state in the module between calls, and draw no numbers in eval mode",
        )
    kept = retained(specimen.build(), x_BTF)
    if kept:
        size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        raise Noted(
            f"it keeps {size:,} B of tensors from each call until the next, for an input of"
            f" {tuple(x_BTF.shape)}: {', '.join(kept)}; a step does not release what it allocates",
            "drop them at the end of forward, or return them as the state of (output, state)",
        )
    return "a second call gives the same output"


def rows(specimen: Specimen) -> str:
    """The output of one row does not depend on the others."""
    if not rows_apart(specimen, specimen.module):
        form = fitting_form(specimen)
        raise Broken(
            "a row's output is another one when it is run alone: rows of a batch mix",
            (f"{form}; else " if form else "") + "in eval mode, pass nothing from row to row",
        )
    return f"each of {B} rows gives the same alone"


def lengths(specimen: Specimen) -> str:
    """Any batch size and sequence length."""
    failed: dict[tuple[int, int], str] = {}
    for size in _SHAPES:
        try:
            run(specimen.module, specimen.input(*size))
        except UsageError as error:
            failed[size] = str(error)
    if failed:
        first = next(iter(failed.values()))
        raise Broken(
            f"fails at (batch, time) of {', '.join(map(str, failed))}: {first}",
            "take any length with one set of weights: operations are counted and fields are found"
            " in lengths other than seq_len",
        )
    return f"runs at (batch, time) of {', '.join(map(str, _SHAPES))} too"


def seed(specimen: Specimen) -> str:
    """The same seed gives the same weights."""
    x_BTF = specimen.input()
    if not torch.equal(run(specimen.build(), x_BTF), run(specimen.build(), x_BTF)):
        raise Broken(
            "built twice after torch.manual_seed(0), it gives two outputs",
            "draw its weights from torch's global generator",
        )
    return "built twice from one seed, it gives the same output"


def modes(specimen: Specimen) -> str:
    """Train mode runs, for one row too, and leads back to eval mode."""
    x_BTF = specimen.input()
    y_BTF = run(specimen.module, x_BTF)
    module = specimen.build().train()
    for batch_size in (1, B):
        torch.manual_seed(0)
        trained_BTF = run(module, specimen.input(batch_size))
    if trained_BTF.shape != y_BTF.shape:
        raise Broken(f"{tuple(y_BTF.shape)} in eval mode, {tuple(trained_BTF.shape)} in train mode")
    if specimen.same(y_BTF, trained_BTF):
        return "train and eval mode give the same"
    return "train mode gives another output than eval mode, as with dropout or batch statistics"


def gradient(specimen: Specimen) -> str:
    """The gradient of the output reaches every parameter, in train mode."""
    module = specimen.build().train()
    parameters = {n: p for n, p in module.module.named_parameters() if p.requires_grad}
    if not parameters:
        raise Noted(
            "it has no parameters that can be trained: mode=train and tasks do not apply to it"
        )
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(noise(*parameter.shape).to(parameter), alpha=_NUDGE)
    y_BTF = run(module, specimen.input())
    if not y_BTF.requires_grad:
        raise Broken("its output has no gradient", "remove detach, no_grad and .data from forward")
    y_BTF.square().sum().backward()
    without = [n for n, p in parameters.items() if p.grad is None or not p.grad.count_nonzero()]
    if without:
        raise Broken(
            f"no gradient reaches {', '.join(without[:5])}" + (" …" if without[5:] else ""),
            "use them in forward, or leave them out: they count as parameters",
        )
    return f"reaches all of {count.parameters(module):,} parameters in {len(parameters)} tensors"


def causality(specimen: Specimen) -> str:
    """An output depends on inputs up to its timestep; looking ahead is a note, not a failure."""
    lags = perturbed(specimen.module, specimen.sizes.input_size, T, specimen.dtype).probe.lags
    if not lags:
        raise Broken("no change of the input changes the output", "use the input in forward")
    ahead = max(0, -lags[0])
    if ahead:
        raise Noted(
            f"an output sees inputs up to {ahead} timesteps ahead (of {T}): allowed, but excludes"
            f" streaming, generation and the tasks {', '.join(_causal_tasks())}"
        )
    return "no output depends on a later input"


def receptive_field(specimen: Specimen) -> str:
    """The field can be derived from the module, and is as probed."""
    try:
        known = find_field(specimen.build(), specimen.sizes.input_size, _FIELD_LENGTH)
    except Uncopyable as error:
        raise Noted(f"{error}; measures of the field will fail") from error
    if known.field == NOTHING:
        raise Broken("no output depends on any input")
    if known.field is None:
        raise Noted(f"{known.notes[0]}; the measure receptive_field will skip it")
    size = known.size
    words = (
        f"{size} timesteps" if isinstance(size, int) else f"{size}, as of a recurrence or attention"
    )
    if known.found_by == "probe":
        raise Noted(f"{words}, as probed in sequences of {_FIELD_LENGTH}: {known.notes[0]}")
    return f"{words}, by formula" + (" and as probed" if not known.notes else f"; {known.notes[0]}")


def state(specimen: Specimen) -> str:
    """A state that is returned continues the sequence, and a stream keeps equally much forever."""
    x_BTF = specimen.input()
    if grown := _growth(specimen.module, x_BTF):
        raise Broken(
            f"each of {_GROWTH_LOOKS * _GROWTH_CALLS} calls of a stream leaves {grown:,} B more in"
            " memory: what it keeps grows with the stream",
            "return a state of one size, and keep no tensors of earlier calls in the module",
        )
    cut = T // 3
    output_BTF, held = specimen.module.continued(x_BTF[:, :cut])
    if held is None:
        try:
            stream = stream_of(specimen.module, x_BTF)
        except Unsupported as reason:
            return f"returns none, and cannot be streamed: {reason}"
        if isinstance(stream, Buffered):
            return "returns none; a stream keeps the last inputs of its causal convolutions"
        return "returns none; a stream keeps all of its input, and computes it again in every call"
    tensors = (held,) if isinstance(held, Tensor) else tuple(held)
    if not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise Broken(
            "the second value it returns is neither a tensor nor a tuple of tensors, so that its"
            " size cannot be counted",
            "return (output, state) with a flat state, or wrap it: benchsuite.adapt.first_output",
        )
    try:
        rest_BTF, _ = specimen.module.continued(x_BTF[:, cut:], held)
        whole_BTF = run(specimen.module, x_BTF)
        goes_on = specimen.same(torch.cat([output_BTF, rest_BTF], 1), whole_BTF)
    except (TypeError, RuntimeError, ValueError):
        goes_on = False
    if goes_on:
        return f"the state returned (tensors: {len(tensors)}) continues a sequence"
    if specimen.sizes.bidirectional:
        raise Noted("bidirectional: its state does not continue a sequence")
    raise Broken(
        "the second value it returns, given back as second argument, does not continue a sequence:"
        " it is not a state, but would be counted as one",
        "if it is something else, wrap the factory: benchsuite.adapt.first_output(factory)",
    )


@torch.no_grad()
def _growth(module: SequenceModel, x_BTF: Tensor) -> int:
    """Bytes of tensors by which every call of a stream, or of the module, raises what is alive."""
    try:
        stream = stream_of(module, x_BTF)
    except Unsupported:
        feed: Callable[[Tensor], Tensor] = module
    else:  # one that computes its whole input again keeps it outside the module
        feed = module if isinstance(stream, Recomputed) else stream.feed
    alive = []
    for _ in range(_GROWTH_LOOKS):
        for _ in range(_GROWTH_CALLS):
            feed(x_BTF[:, :_GROWTH_STEPS])
        alive.append(_tensor_bytes())
    growth = [after - before for before, after in itertools.pairwise(alive)]
    return min(growth) // _GROWTH_CALLS if min(growth) > 0 else 0


def _tensor_bytes() -> int:
    """Bytes of the storages of all tensors of this process."""
    gc.collect()
    storages: dict[int, int] = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), Tensor):
            with suppress(RuntimeError, NotImplementedError):  # sparse ones have none
                storage = thing.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def counts(specimen: Specimen) -> str:
    """It runs on the meta device, where operations and states are counted."""
    sizes = dataclasses.replace(specimen.sizes, seq_len=_LONG)
    try:
        counted = count.flops(specimen.name, sizes, batch_size=1, train=False)
    except Exception as error:
        raise Broken(
            f"fails on the meta device, which holds no values: {described(error)}",
            "make tensors on the input's device (x.new_zeros), and branch on no value of a tensor",
        ) from error
    if counted.short not in {None, counted.total}:
        raise Noted(
            f"{counted.total:,} floating-point operations at {_LONG:,} timesteps, where those of"
            f" up to {count.SHORT[-1]} timesteps predict {counted.short:,}, as of work in blocks:"
            " operations are counted at a case's own length if that takes at most"
            f" {count.AFFORDABLE:,} torch operations, else extrapolated and marked as such"
        )
    per_step = f"{counted.total / _LONG:,.10g} floating-point operations a timestep"
    if counted.short is None:
        per_step += f" at {_LONG:,} timesteps, not proportional to the length"
    return f"{per_step}, elementwise ones left out"


#: The contract, in the order of the report.
CLAUSES: tuple[Clause, ...] = (
    *(shape, dtype, repetition, rows, lengths, seed, modes, gradient, causality),
    *(receptive_field, state, counts),
)
#: All later clauses require these to pass; `NEEDS` are those that single clauses require.
NEEDED_BY_ALL: tuple[Clause, ...] = (shape, repetition, rows)
NEEDS: Mapping[Clause, tuple[Clause, ...]] = {
    receptive_field: (dtype, lengths),
    state: (lengths,),
    counts: (lengths,),
}


def _causal_tasks() -> list[str]:
    """Tasks whose targets lie in the inputs' future."""
    made = {
        spec.name: make_task(spec.name, seq_len=64, batch_size=1, seed=0, options={})
        for spec in TASKS
    }
    return [name for name, task in made.items() if task.closed_loop is not None]
