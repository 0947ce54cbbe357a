"""Choosing records: one row per case and measure, one machine, one line over sequence length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.stats import INTERVAL_SAMPLES, UNSTABLE_SPREAD, stacked

#: What a line over sequence length holds fixed, besides the model.
LINE = tuple(name for name in AXES if name not in {"model", "seq_len"})
#: Shown for a receptive field that is as long as the past or the sequence.
UNBOUNDED = "unbounded"
#: What a module's sizes, and so its parameters, depend on.
SIZES = (
    *("model", "seq_len", "hidden_size", "input_size", "num_layers", "bidirectional"),
    "match",
)
#: A match in words: what is equal between the models compared.
HELD = {"width": "equal width", "params": "equal parameters", "flops": "equal FLOPs"}
_IDENTITY = ("case", "measure")


def newest(frame: pd.DataFrame, *, machine: str | None = None) -> pd.DataFrame:
    """One row per case and measure, of one machine: the one measured last, of whichever commit.

    Rows of another version of a measure are left out: their numbers have another meaning.

    Args:
        frame: Records of any number of commits.
        machine: Which machine's, where there are several.

    Raises:
        UsageError: if the records are of several machines and none is chosen: numbers of different
            machines are never mixed.
    """
    machines = sorted(frame["machine"].unique())
    if machine is None and len(machines) > 1:
        raise UsageError(
            f"records of {len(machines)} machines: {', '.join(machines)}; choose one with --machine"
        )
    if machine is not None:
        if machine not in machines:
            raise UsageError(f"no records of machine {machine!r}; there are: {', '.join(machines)}")
        frame = frame[frame["machine"] == machine]
    current = frame["measure"].map({spec.name: spec.version for spec in MEASURES})
    frame = frame[current.isna() | (frame["version"] == current)]
    ordered = frame.sort_values("started_at", kind="stable")
    return ordered.drop_duplicates(list(_IDENTITY), keep="last").sort_index()


def problems(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that have no value, in the order they were measured."""
    return frame[frame["status"] != "ok"].sort_values("started_at", kind="stable")


def measured(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Rows of one measure that have a positive value: what a logarithm can be taken of."""
    return frame[(frame["measure"] == measure) & (frame["status"] == "ok") & (frame["value"] > 0)]


def is_unbounded(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows report an unbounded receptive field: skipped, and yet an answer."""
    return rows["unbounded"].fillna(value=False).astype(bool)


def is_unstable(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which timings have too few samples for a 95 % interval, or samples that spread widely."""
    timed = (rows["status"] == "ok") & rows["samples"].notna()
    few = rows["n_samples"] < INTERVAL_SAMPLES
    wide = (rows["q75"] - rows["q25"]) > UNSTABLE_SPREAD * rows["value"]
    return timed & (few | wide)


def sequences(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without cases of one timestep, which are not comparable as sequences.

    T = 1 looks like one call of a stream and is not: a model whose depth follows T is built for one
    timestep there and sees next to nothing, and no state is carried.
    """
    return frame[frame["seq_len"] > 1]


def by_line(
    rows: pd.DataFrame,
    keys: Sequence[str],
    fit: Callable[[np.ndarray], pd.DataFrame],
    columns: Sequence[str],
    *,
    least: int = 2,
) -> pd.DataFrame:
    """What is fitted to every line, in the order of their first rows.

    Args:
        rows: One row per line and sequence length.
        keys: Columns that tell one line from another.
        fit: Gets the row numbers of all lines of one number of lengths, (lines, lengths), in order
            of rows; gives a row per line.
        columns: Names of its columns.
        least: Lines of fewer lengths are left out.
    """
    lines: dict[Any, Any] = rows.groupby(list(keys), sort=False).indices
    names = list(lines)
    found = [
        fit(index).set_axis(places)
        for places, index in stacked(list(lines.values()))
        if index.shape[1] >= least
    ]
    fitted = pd.concat(found or [pd.DataFrame(columns=list(columns))]).sort_index()
    named = pd.DataFrame([names[place] for place in fitted.index], columns=list(keys))
    return pd.concat([named, fitted[list(columns)].reset_index(drop=True)], axis=1)


def told_axis(name: str, value: object) -> str:
    """An axis' value for people, where the axis is not plain from the value: "seed=3", "train"."""
    return str(value) if name in {"mode", "device", "dtype"} else f"{name}={value}"


def told_axes(rows: pd.DataFrame) -> list[str]:
    """Axes to name in words: the mode, and whatever else varies but for the shape."""
    shape = {"batch_size", "hidden_size", "input_size"}
    return [n for n in LINE if n not in shape and (n == "mode" or rows[n].nunique() > 1)]
