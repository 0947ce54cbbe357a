"""Columns of rows: gathered batch by batch, so that a file is never held as objects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from benchsuite.allocator import collector_paused
from benchsuite.catalog.measures import MEASURES
from benchsuite.records.schema import SCHEMA
from benchsuite.stats import quantile_of, stacked, summarise_columns

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: Columns that follow from the samples of a row, or where there are none from its value.
SUMMARISED = ("ci_low", "ci_high", "q25", "q75")
#: Columns of calls → the share of them that takes no longer.
TAILS = {"p99": 0.99, "p999": 0.999, "worst": 1.0}
#: Measures whose samples are single calls, not means of several.
OF_CALLS = [spec.name for spec in MEASURES if spec.of_calls]
#: Number of rows held as objects at a time.
_BATCH = 2_000
#: A batch whose texts differ in more than this share of its rows is not stored as a dictionary.
_DISTINCT = 0.5


@dataclass(frozen=True, slots=True)
class Repeated:
    """A column with one value in all of its rows, which therefore takes no space."""

    value: Any
    count: int

    def array(self, name: str) -> pa.Array:
        """The column of that name, written out; a text is a dictionary."""
        import pyarrow as pa

        kind = arrow_type(name)
        if self.value is None:
            return pa.nulls(self.count, kind)
        if SCHEMA[name].kind != "str":
            return pa.repeat(pa.scalar(self.value, kind), self.count)
        zeros = pa.repeat(pa.scalar(0, pa.int32()), self.count)
        return pa.DictionaryArray.from_arrays(zeros, pa.array([self.value], kind))


#: A column: one value, or arrays, one after the other.
Gathered = Repeated | list[Any]


def arrow_type(name: str) -> pa.DataType:
    """The type of a column of `SCHEMA` in Arrow's tables."""
    import pyarrow as pa

    kinds = {
        **{"str": pa.large_string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()},
        "floats": pa.list_(pa.float64()),
    }
    return kinds[SCHEMA[name].kind]


class Columns:
    """The columns of any number of rows.

    Args:
        names: Columns of `SCHEMA`, derived ones too.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(names))
        self._stored = [name for name in self.names if SCHEMA[name].stored]
        self._derived = [name for name in self.names if not SCHEMA[name].stored]
        self._gathered: dict[str, Gathered] = {name: [] for name in self.names}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that rows must have: the stored ones, and what others are derived from."""
        sources = ("value", "status", "samples", "measure") if self._derived else ()
        return tuple(dict.fromkeys([*self._stored, *sources]))

    def extend(self, rows: Iterable[Any]) -> None:
        """Append rows, structs of one type with the columns of `read`."""
        left = iter(rows)
        with (
            collector_paused()
        ):  # rows hold no cycles: looking for some takes a quarter of the time
            while batch := list(itertools.islice(left, _BATCH)):
                self._append(batch)

    def _append(self, batch: list[Any]) -> None:
        import numpy as np

        fields = zip(*map(msgspec.structs.astuple, batch), strict=True)
        values: dict[str, Any] = dict(zip(batch[0].__struct_fields__, fields, strict=True))
        if "samples" in values:
            values["samples"] = _array("samples", values["samples"])
        for name in self._stored:
            column = values[name]
            if name == "samples":
                self._add(name, column)
            elif column.count(column[0]) == len(column):
                self._add(name, Repeated(column[0], len(column)))
            else:
                self._add(name, _array(name, column))
        if self._derived:
            ok = np.array([status == "ok" for status in values["status"]])
            calls = np.array([name in OF_CALLS for name in values["measure"]])
            self._derive(np.array(values["value"], float), ok, calls, values["samples"])
        self._count += len(batch)

    def extend_by(self, table: pa.Table) -> None:
        """Append the rows of a table that has the columns of `read`; texts may be dictionaries."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not len(table):
            return
        for name in self._stored:
            for chunk in table[name].chunks:
                self._add(name, chunk)
        if self._derived:
            ok = pc.equal(table["status"].cast(pa.large_string()), "ok").fill_null(False)
            names = table["measure"].cast(pa.large_string())
            calls = pc.is_in(names, pa.array(OF_CALLS, pa.large_string())).to_numpy()
            self._derive(table["value"].to_numpy(), ok.to_numpy(), calls, table["samples"])
        self._count += len(table)

    def _derive(self, value: np.ndarray, ok: np.ndarray, calls: np.ndarray, samples: Any) -> None:
        statistics = derived(value, ok, calls, samples)
        for name in self._derived:
            self._add(name, _array(name, statistics[name]))

    def _add(self, name: str, part: Repeated | pa.Array) -> None:
        gathered = self._gathered[name]
        if isinstance(part, Repeated):
            if not gathered:
                self._gathered[name] = part
                return
            if isinstance(gathered, Repeated) and gathered.value == part.value:
                self._gathered[name] = Repeated(part.value, gathered.count + part.count)
                return
            part = part.array(name)
        if isinstance(gathered, Repeated):
            gathered = self._gathered[name] = [gathered.array(name)]
        gathered.append(part)

    def absorb(self, parts: Mapping[str, Gathered], count: int) -> None:
        """Append the columns of `count` other rows."""
        if not count:
            return
        for name in self.names:
            part = parts[name]
            for own in [part] if isinstance(part, Repeated) else part:
                self._add(name, own)
        self._count += count

    def pop(self, name: str) -> Repeated | pa.ChunkedArray:
        """A column, which is not kept; texts may be a dictionary."""
        import pyarrow as pa

        gathered = self._gathered.pop(name)
        if isinstance(gathered, Repeated):
            return gathered
        plain = arrow_type(name)
        if gathered and all(pa.types.is_dictionary(array.type) for array in gathered):
            return pa.chunked_array(gathered).unify_dictionaries()
        return pa.chunked_array(
            [a.cast(plain) if pa.types.is_dictionary(a.type) else a for a in gathered], plain
        )


def _array(name: str, values: Any) -> pa.Array:
    """Values as an array; texts that are often the same as a dictionary."""
    import pyarrow as pa

    array = pa.array(values, arrow_type(name))
    if SCHEMA[name].kind != "str" or name == "uid":
        return array
    encoded = array.dictionary_encode()
    return encoded if len(encoded.dictionary) <= _DISTINCT * len(array) else array


def derived(
    value: np.ndarray, ok: np.ndarray, calls: np.ndarray, samples: pa.Array
) -> dict[str, Any]:
    """The columns of `DERIVED`: interval, quartiles and number of samples of each row.

    The interval of an exact value is the value itself; a single sample has no interval. Rows with
    equally many samples are computed together.

    Args:
        value: The values, NaN where there is none, floats of shape (rows).
        ok: Whether each row's status is ok, bools of shape (rows).
        calls: Whether its samples are single calls, which have quantiles, bools of shape (rows).
        samples: A list of floats for each row, or null.
    """
    import numpy as np
    import pyarrow.compute as pc

    ok = ok & ~np.isnan(value)
    count = np.where(ok, pc.list_value_length(samples).fill_null(0).to_numpy(False), 0)
    exact = np.where(ok & (count == 0), value, np.nan)
    columns = {name: exact.copy() for name in SUMMARISED}
    tails = {name: np.full(len(value), np.nan) for name in TAILS}
    for rows, sets in stacked(samples):
        tailed = ok[rows] & calls[rows]
        if tailed.any():
            for name, column in tails.items():
                column[rows[tailed]] = quantile_of(sets[tailed], TAILS[name])
        usable = ok[rows]
        if sets.shape[1] > 1 and usable.any():
            summary = summarise_columns(sets[usable].T)
            for name, column in columns.items():
                column[rows[usable]] = getattr(summary, name)
    return {**columns, **tails, "n_samples": np.where(ok, np.maximum(count, 1), 0)}
