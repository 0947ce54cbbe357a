"""Cases: one point of the grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES, Axis, Value

#: Always part of a case's id; the other axes appear there when they differ from the default.
_ID_ALWAYS = ("model", "seq_len", "batch_size", "hidden_size", "mode", "device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One point of the grid: plain values only, hashable, checked on construction.

    Raises:
        UsageError: on construction, for a value that its axis does not allow.
    """

    model: str
    seq_len: int = 256
    batch_size: int = 1
    hidden_size: int = 64
    input_size: int = 0  # 0 is replaced by hidden_size
    num_layers: int = 1
    bidirectional: bool = False
    mode: str = "infer"
    device: str = "cpu"
    dtype: str = "float32"
    num_threads: int = 1
    match: str = "width"
    engine: str = "eager"
    seed: int = 0
    allocator: str = "default"
    chunk: int = 1

    def __post_init__(self) -> None:
        if not self.input_size:
            object.__setattr__(self, "input_size", self.hidden_size)
        for name, axis in AXES.items():
            object.__setattr__(self, name, axis.parse(getattr(self, name)))
        if self.device == "auto":
            raise UsageError("axis 'device': resolve 'auto' before making a case; use cpu or cuda")

    @property
    def id(self) -> str:
        """Readable and stable, like "lstm-T64-B1-H64-infer-cpu"."""
        parts = []
        for name, axis in AXES.items():
            value = getattr(self, name)
            if name != "input_size":
                parts.append(id_part(axis, value))
            elif value != self.hidden_size:
                parts.append(f"{axis.short}{value}")
        return "-".join(filter(None, parts))

    def as_dict(self) -> dict[str, Value]:
        """Field by field, in the order of `AXES`."""
        return {name: getattr(self, name) for name in AXES}

    def replace(self, **changes: Value) -> Case:
        """A copy with some values changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Case:
        """Out of a row; other keys are ignored, an axis that is missing has its default."""
        return cls(**{name: row[name] for name in AXES if name in row})


def id_part(axis: Axis, value: Value) -> str:
    """The part of a case's id for one axis other than `input_size`; empty for most defaults."""
    if axis.name in _ID_ALWAYS or value != DEFAULTS[axis.name]:
        return f"{axis.short}{value}"
    return ""


#: The default of every axis that has one.
DEFAULTS: dict[str, Value | None] = {
    field.name: None if field.default is dataclasses.MISSING else field.default
    for field in dataclasses.fields(Case)
}
