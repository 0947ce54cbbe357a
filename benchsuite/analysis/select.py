"""Choosing rows: one per case and measure, of one machine, in lines over sequence length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.records.frame import group_numbers
from benchsuite.records.schema import SMALLEST
from benchsuite.stats import INTERVAL_SAMPLES, UNSTABLE_SPREAD

#: What a line over sequence length holds fixed, besides the model.
LINE = tuple(name for name in AXES if name not in {"model", "seq_len"})
#: What two models compared have in common: all axes but the model.
SHAPE = [*LINE, "seq_len"]
#: Shown for a receptive field that grows with the sequence.
UNBOUNDED = "unbounded"
#: Axes that a module's sizes, and so its parameters, depend on.
SIZES = (
    *("model", "seq_len", "hidden_size", "input_size", "num_layers", "bidirectional"),
    "match",
)
#: Match → what is equal between the models compared.
HELD = {"width": "equal width", "params": "equal parameters", "flops": "equal FLOPs"}
_IDENTITY = ("case", "measure")
#: A column that holds `is_unstable`, where the raw samples are not kept.
UNSTABLE = "unstable"


def newest(frame: pd.DataFrame, *, machine: str | None = None) -> pd.DataFrame:
    """The newest row of each case and measure, of one machine and any commit.

    Rows of another version of a measure are left out: their numbers have another meaning.

    Args:
        frame: Records of any number of commits.
        machine: The machine, where the records are of several.

    Raises:
        UsageError: if the records are of several machines and none is chosen: numbers of different
            machines are never mixed.
    """
    return frame.iloc[newest_rows(frame, machine=machine)].sort_index()


def newest_rows(frame: pd.DataFrame, *, machine: str | None = None) -> np.ndarray:
    """Positions of the rows of `newest`, for who needs a few of the columns.

    Raises:
        UsageError: as `newest`.
    """
    machines = sorted(frame["machine"].unique())
    if machine is None and len(machines) > 1:
        raise UsageError(
            f"records of {len(machines)} machines: {', '.join(machines)}; choose one with --machine"
        )
    if machine is not None and machine not in machines:
        raise UsageError(f"no records of machine {machine!r}; there are: {', '.join(machines)}")
    current = frame["measure"].map({spec.name: spec.version for spec in MEASURES})
    comparable = (current.isna() | (frame["version"] == current)).to_numpy(bool)
    if len(machines) > 1:
        comparable = comparable & (frame["machine"] == machine).to_numpy(bool)
    places = np.flatnonzero(comparable)
    in_time = places[np.argsort(frame["started_at"].to_numpy(float)[places], kind="stable")]
    group = group_numbers(frame, _IDENTITY)
    last = np.full(int(group.max(initial=-1)) + 1, -1)
    last[group[in_time]] = in_time  # of equal groups the last assignment remains
    return np.sort(last[last >= 0])


def where(rows: pd.DataFrame, mask: pd.Series[bool] | np.ndarray) -> pd.DataFrame:
    """The rows that a mask chooses; no copy is made if these are all."""
    chosen = np.asarray(mask, bool)
    return rows if chosen.all() else rows[chosen]


def without_repeats(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The last row of each group, in order: `drop_duplicates(names, keep="last")` in less time."""
    group = group_numbers(rows, names)
    last = np.empty(int(group.max(initial=-1)) + 1, int)
    last[group] = np.arange(len(rows))  # of equal groups the last assignment remains
    return rows if len(last) == len(rows) else rows.iloc[np.sort(last)]


def only(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """These columns, each once: choosing rows of others as well would take time."""
    return frame[list(dict.fromkeys(names))]


def problems(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows without a value, in the order of measurement."""
    return frame[frame["status"] != "ok"].sort_values("started_at", kind="stable")


def measured(frame: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Rows of one measure with a positive value, as logarithms need.

    Values below `SMALLEST`, which only a damaged file has, count as zero.
    """
    known = (frame["measure"] == measure) & (frame["status"] == "ok")
    return where(frame, known & (frame["value"] >= SMALLEST))


def is_unbounded(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether each row reports an unbounded receptive field: skipped, and yet an answer."""
    return rows["unbounded"].fillna(value=False).astype(bool)


def unbounded_models(frame: pd.DataFrame) -> list[str]:
    """Models whose receptive field was found to be unbounded."""
    return list(frame.loc[is_unbounded(frame), "model"].unique())


def is_unstable(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether each row is a timing with few samples, or with samples that spread widely.

    Few: less than a 95 % interval of the median needs (`stats.INTERVAL_SAMPLES`).
    """
    if UNSTABLE in rows:
        return rows[UNSTABLE]
    timed = (rows["status"] == "ok") & rows["samples"].notna()
    few = rows["n_samples"] < INTERVAL_SAMPLES
    wide = (rows["q75"] - rows["q25"]) > UNSTABLE_SPREAD * rows["value"]
    return timed & (few | wide)


def sequences(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without cases of one timestep, which are not comparable as sequences.

    T = 1 looks like one call of a stream and is not: a model whose depth follows T is built for one
    timestep there and sees next to nothing, and no state is carried.
    """
    return where(frame, frame["seq_len"] > 1)


def by_line(
    rows: pd.DataFrame,
    keys: Sequence[str],
    fit: Callable[[np.ndarray], pd.DataFrame],
    columns: Sequence[str],
    *,
    least: int = 2,
) -> pd.DataFrame:
    """A fit of every line, in the order of the lines' first rows.

    Args:
        rows: One row per line and sequence length.
        keys: Columns that identify a line.
        fit: Function of the row numbers of all lines with equally many lengths, (lines, lengths),
            in the order of the rows; it returns a row per line.
        columns: Names of the columns that it returns.
        least: Lines with fewer lengths are left out.
    """
    line = group_numbers(rows, keys)
    order, counts = np.argsort(line, kind="stable"), np.bincount(line)
    first = np.cumsum(counts) - counts
    found = []
    for count in np.unique(counts[counts >= least]):
        places = np.flatnonzero(counts == count)
        index = order[first[places, None] + np.arange(count)]
        found.append(fit(index).set_axis(places))
    fitted = pd.concat(found or [pd.DataFrame(columns=list(columns))]).sort_index()
    return beside(
        rows[list(keys)].iloc[order[first[fitted.index.to_numpy(int)]]], fitted[[*columns]]
    )


def beside(named: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Axes of rows, in types without missing values, and as many rows of a table beside them."""
    plain = {name: kind.numpy_dtype for name, kind in named.dtypes.items() if _masked(kind)}
    parts = [named.astype(plain).reset_index(drop=True), table.reset_index(drop=True)]
    joined: pd.DataFrame = pd.concat(parts, axis=1)
    return joined


def _masked(kind: object) -> bool:
    """Whether a column's type is one of pandas' with missing values, which axes do not have."""
    return isinstance(kind, pd.Int64Dtype | pd.BooleanDtype)


def match_words(rows: pd.DataFrame) -> str:
    """The match of these rows' models in words: "at equal width and at equal parameters"."""
    return " and ".join(f"at {HELD[match]}" for match in sorted(rows["match"].unique()))


def axis_words(name: str, value: object) -> str:
    """An axis' value in words: "train", or "seed=3" where the value does not show the axis."""
    return str(value) if name in {"mode", "device", "dtype"} else f"{name}={value}"


def axes_to_name(rows: pd.DataFrame) -> list[str]:
    """Axes to name in words: the mode, and axes besides the sizes that vary."""
    shape = {"batch_size", "hidden_size", "input_size"}
    return [n for n in LINE if n not in shape and (n == "mode" or rows[n].nunique() > 1)]
