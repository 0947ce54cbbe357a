"""Division of rows into figures: one per combination of the axes that a figure does not show."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis import HELD, axis_words
from benchsuite.grid.axes import AXES
from benchsuite.records.frame import group_numbers

#: Figures of one kind and match at most; the last caption states how many are left out.
MOST = 2
_SHORT = {"seq_len": "T", "batch_size": "B", "hidden_size": "H"}


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that agree in all axes that a figure does not show.

    Attributes:
        words: The values that they share, such as "infer, cpu, float32; match=width".
        slug: The same as part of a file name.
        note: A sentence for the end of the caption, where slices were left out.
        rows: The rows.
        same: The axes in which they agree, with their values.
    """

    words: str
    slug: str
    note: str
    rows: pd.DataFrame
    same: Mapping[str, Any]

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of another frame that agree with these."""
        chosen = np.ones(len(frame), bool)
        for name, value in self.same.items():
            chosen &= (frame[name] == value).to_numpy(bool)
        return frame[chosen]


def slices(
    rows: pd.DataFrame,
    shown: Collection[str],
    *,
    named: Collection[str] = (),
    most: int | None = None,
) -> list[Slice]:
    """Divide rows by the axes that a figure does not show.

    Args:
        rows: With all axes.
        shown: Axes that the figure shows, besides the model; input_size counts as shown where it
            equals hidden_size.
        named: Axes that are named in words even if they do not vary.
        most: Slices at most, in the order of the rows; by default `MOST` of each match.
    """
    if not len(rows):
        return []
    same = bool((rows["input_size"] == rows["hidden_size"]).all())
    hidden = {*shown, "input_size"} if same and "hidden_size" in shown else {*shown}
    fixed = [name for name in AXES if name not in hidden and name != "model"]
    always = {"device", "dtype", *named}
    worded = [
        name
        for name in fixed
        if name not in {"mode", "match"} and (name in always or rows[name].nunique() > 1)
    ]
    group = group_numbers(rows, fixed)
    first = rows[fixed].iloc[np.unique(group, return_index=True)[1]]
    groups = dict(enumerate(first.itertuples(index=False, name=None)))
    match = fixed.index("match")
    drawn: Counter[Any] = Counter()
    found = []
    held = list(HELD)
    for number, key in sorted(groups.items(), key=lambda item: held.index(item[1][match])):
        drawn[key[match]] += 1
        if (drawn[key[match]] > MOST) if most is None else (drawn.total() > most):
            continue
        value = dict(zip(fixed, key, strict=True))
        parts = [str(value["mode"])] if "mode" in value else []
        parts += [axis_words(_SHORT.get(n, n), value[n]) for n in worded]
        words = f"{', '.join(parts)}; match={value['match']}"
        slug = re.sub(r"[^a-z0-9]+", "-", words.lower().replace("match=", "")).strip("-")
        found.append(Slice(words, slug, "", rows[group == number], value))
    left = len(groups) - len(found)
    if left:
        last = found[-1]
        note = f" {left} more such figures (for other {', '.join(_varying(rows, fixed))}) are left"
        note += " out; records.csv has all rows."
        found[-1] = dataclasses.replace(last, note=note)
    return found


def _varying(rows: pd.DataFrame, names: list[str]) -> list[str]:
    return [name for name in names if rows[name].nunique() > 1]


def evenly(values: pd.Series[Any], most: int) -> list[Any]:
    """Distinct values, ascending: all, or `most` of them spread evenly with both ends."""
    distinct = sorted(values.unique())
    if len(distinct) <= most:
        return distinct
    chosen = np.unique(np.linspace(0, len(distinct) - 1, most).round().astype(int))
    return [distinct[number] for number in chosen]


def left_out(**counts: tuple[int, int]) -> str:
    """A sentence on values that are not drawn, such as for `left_out(T=(8, 12))`, or ""."""
    parts = [f"{drawn} of {all_} {name}" for name, (drawn, all_) in counts.items() if drawn < all_]
    return f" Drawn: {', '.join(parts)}; the data file has all." if parts else ""
