"""Axes: the one table of what may vary, and how their values are written.

`AXES` knows the name, type, bounds and help of each axis. The `-a` option, studies, asv's
parameters and the columns of records derive from it; defaults are those of `grid.case.Case`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from benchsuite.catalog.engines import ENGINES
from benchsuite.catalog.models import MACHINE, MODELS
from benchsuite.errors import UsageError, quoted, unknown

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Axis:
    """One thing that may vary: its type, bounds or choices, and meaning (defaults: `Case`).

    `short` is its prefix in a case's id, `since` the version of the records' schema that has it,
    `synonyms` are words that are not allowed, each with the value that is meant by it.
    """

    name: str
    kind: type
    help: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    short: str = ""
    since: int = 1
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @property
    def alias(self) -> str:
        """Another name for the axis, such as T for seq_len; empty for most axes."""
        return self.short if self.short.isupper() else ""

    def parse(self, raw: object) -> Value:
        """Turn a raw value (text, or a value out of a TOML file) into this axis' own.

        Raises:
            UsageError: naming the bad value and the allowed ones.
        """
        if self.kind is bool:
            text = str(raw).lower()
            if text not in {"true", "false"}:
                raise UsageError(f"axis {self.name!r}: {quoted(raw)} is neither true nor false")
            return text == "true"
        if self.kind is int:
            return self._parse_int(raw)
        text = str(raw)
        if self.name == "model":
            return text if text == MACHINE else MODELS.get(text).name
        if text not in self.choices:
            raise unknown(self.name, text, self.choices, synonyms=self.synonyms)
        return text

    def _parse_int(self, raw: object) -> int:
        allowed = f"whole numbers from {self.low} to {self.high}"
        try:
            if isinstance(raw, bool | float):
                raise ValueError
            value = int(str(raw)) if str(raw).replace("-", "").isdecimal() else int("")
        except ValueError:
            raise UsageError(
                f"axis {self.name!r}: {quoted(raw)} is not allowed; {allowed}"
            ) from None
        if (self.low is not None and value < self.low) or (
            self.high is not None and value > self.high
        ):
            raise UsageError(f"axis {self.name!r}: {quoted(value)} is not allowed; {allowed}")
        return value


#: Values that one range may have.
MAX_VALUES = 10_000

_AXES = (
    Axis("model", str, "a name of `benchsuite list models`, or package.module:factory"),
    Axis("seq_len", int, "sequence length T, in timesteps", 1, 1 << 24, short="T"),
    Axis("batch_size", int, "batch size B, in sequences", 1, 1 << 20, short="B"),
    Axis("hidden_size", int, "hidden size H, in units or channels", 1, 1 << 16, short="H"),
    Axis("input_size", int, "input features (default: hidden_size)", 1, 1 << 16, short="I"),
    Axis("num_layers", int, "stacked recurrent layers", 1, 256, short="L"),
    Axis("bidirectional", bool, "both directions of time (recurrent models only)", short="bi="),
    Axis(
        "mode",
        str,
        "forward, forward and backward, or a call of a stream, for outputs that see seq_len inputs",
        choices=("infer", "train", "stream"),
        synonyms={
            **{"forward": "infer", "eval": "infer", "backward": "train"},
            **{"streaming": "stream", "online": "stream", "step": "stream"},
        },
    ),
    Axis(
        "device",
        str,
        "where the model runs; auto is cuda if torch can use it",
        choices=("auto", "cpu", "cuda"),
        synonyms={"gpu": "cuda", "nvidia": "cuda"},
    ),
    Axis(
        "dtype",
        str,
        "number format of parameters and input",
        choices=("float32", "float64", "bfloat16", "float16"),
        synonyms={
            **{"single": "float32", "float": "float32", "fp32": "float32"},
            **{"double": "float64", "fp64": "float64"},
            **{"half": "float16", "fp16": "float16", "bf16": "bfloat16"},
        },
    ),
    Axis("num_threads", int, "CPU threads of torch's operators", 1, 1024, short="t"),
    Axis(
        "match",
        str,
        "what is made equal to torch.nn.LSTM of that hidden_size: the width itself, the number of"
        " parameters or the operations of a step",
        choices=("width", "params", "flops"),
    ),
    Axis("engine", str, "what runs the model", choices=tuple(ENGINES.names()), since=2),
    Axis("seed", int, "seed of parameters and input", 0, (1 << 31) - 1, short="s"),
    Axis(
        "allocator",
        str,
        "malloc with its default settings, or set to hold freed memory",
        choices=("default", "held"),
        short="alloc=",
        since=2,
    ),
    Axis(
        "chunk",
        int,
        "timesteps that a call of a stream feeds (mode stream only)",
        1,
        1 << 24,
        short="chunk=",
        since=2,
    ),
)
AXES: dict[str, Axis] = {axis.name: axis for axis in _AXES}
_BY_ALIAS = {axis.alias: axis for axis in _AXES if axis.alias}


def axis_named(name: str) -> Axis:
    """The axis of that name or alias.

    Raises:
        UsageError: naming the allowed ones and the closest.
    """
    axis = AXES.get(name) or _BY_ALIAS.get(name)
    if axis is None:
        allowed = [f"{a.name} ({a.alias})" if a.alias else a.name for a in _AXES]
        words = {**{a.name: a.name for a in _AXES}, **{k.lower(): k for k in _BY_ALIAS}}
        raise unknown("axis", name, allowed, synonyms=words)
    return axis


def parse_assignment(text: str) -> tuple[str, list[Value]]:
    """Parse one `-a` option: `name=v1,v2`, `name=lo:hi:*k` or `name=lo:hi:+k`.

    Returns:
        The axis' name, also where its alias was given, and the values.

    Raises:
        UsageError: for a form, a name or a value that is not allowed.
    """
    name, equals, values = text.partition("=")
    if not equals:
        raise UsageError(
            f"axis setting {quoted(text)} has no '='; write NAME=V1,V2 or NAME=LO:HI:*2 or"
            " NAME=LO:HI:+32"
        )
    axis = axis_named(name)
    return axis.name, parse_values(axis, values)


def parse_assignments(texts: Iterable[str]) -> dict[str, list[Value]]:
    """Parse `-a` options; values of an axis that is named several times are joined.

    Args:
        texts: As for `parse_assignment`.

    Returns:
        Axis → its values, each once.

    Raises:
        UsageError: as `parse_assignment`.
    """
    given: dict[str, list[Value]] = {}
    for text in texts:
        name, values = parse_assignment(text)
        given[name] = list(dict.fromkeys([*given.get(name, []), *values]))
    return given


def parse_single(
    texts: Iterable[str],
    allowed: Iterable[str],
    kind: str,
    taker: str,
    *,
    refused: Mapping[str, str] | None = None,
) -> dict[str, Value]:
    """Parse `-a` options where each axis has one value.

    Args:
        texts: As for `parse_assignment`.
        allowed: Names of the axes that may be set.
        kind: What these are, such as "axis of a field".
        taker: Subject and verb of the error for several values, such as "a field has".
        refused: Axes that may not be set → why, or what to do instead.

    Raises:
        UsageError: as `parse_assignment`, for an axis not allowed, and for several values.
    """
    names, reasons = list(allowed), refused or {}
    given: dict[str, Value] = {}
    for text in texts:
        name, values = parse_assignment(text)
        if name in reasons:
            raise UsageError(f"axis {name!r} cannot be set here: {reasons[name]}")
        if name not in names:
            raise unknown(kind, name, names)
        values = list(dict.fromkeys([*([given[name]] if name in given else []), *values]))
        if len(values) > 1:
            raise UsageError(f"axis {name!r}: {len(values)} values; {taker} one of each axis")
        given[name] = values[0]
    return given


def parse_values(axis: Axis, raw: object) -> list[Value]:
    """The values of an axis from text, a single value or a list; duplicates are dropped.

    Raises:
        UsageError: for a bad value, or where nothing is left.
    """
    if isinstance(raw, str):
        items: Iterable[object] = itertools.chain.from_iterable(
            _expand(axis, part.strip()) for part in raw.split(",") if part.strip()
        )
    elif isinstance(raw, Sequence):
        items = raw
    else:
        items = [raw]
    values = list(dict.fromkeys(axis.parse(item) for item in items))
    if not values:
        raise UsageError(f"axis {axis.name!r}: {quoted(raw)} yields no value; give at least one")
    return values


def _expand(axis: Axis, part: str) -> list[object]:
    """`lo:hi:*k` and `lo:hi:+k` into their numbers; anything else stays one value."""
    if axis.kind is not int or ":" not in part:
        return [part]
    pieces = part.split(":")
    step = pieces[2] if len(pieces) == 3 else ""
    if len(pieces) != 3 or step[:1] not in {"*", "+"} or not re.fullmatch("[0-9]{1,12}", step[1:]):
        raise UsageError(
            f"axis {axis.name!r}: {quoted(part)} is not a range; write LO:HI:*FACTOR or LO:HI:+STEP"
        )
    low, high, stride = axis._parse_int(pieces[0]), axis._parse_int(pieces[1]), int(step[1:])
    where = f"axis {axis.name!r}: {quoted(part)}"
    if stride < (2 if step[0] == "*" else 1):
        raise UsageError(f"{where} never ends; use *2 or more, +1 or more")
    if low > high:
        raise UsageError(f"{where} yields no value; {low} is above {high}")
    if step[0] == "+" and (high - low) // stride >= MAX_VALUES:
        raise UsageError(f"{where} has more than {MAX_VALUES:,} values; take a wider step")
    values: list[object] = []
    value = low
    while value <= high:
        values.append(value)
        value = value * stride if step[0] == "*" else value + stride
    return values
