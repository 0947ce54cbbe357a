"""Recurrence or convolution, cell by cell: who is faster, by how much, and whether that is sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchsuite.analysis.fastest import family_of, field_of
from benchsuite.analysis.noise import Noise, floor, spread
from benchsuite.analysis.select import LINE, measured, told_axis
from benchsuite.registry import MODELS

FAMILIES = ("recurrent", "convolutional")
#: Two-sided 5 %.
_Z = 1.960


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer over a grid.

    Attributes:
        cells: A row per shape that both families were measured at: the columns of `LINE`,
            `seq_len`, then `recurrent`, `convolutional` (each family's fastest model), `ratio`
            (time of the convolutional one over the recurrent one's), `low`, `high` (95 %) and
            `winner`: a family, or "" where the interval holds one.
        noise: The floor that the intervals contain.
        blind: Model → the largest field of it that was measured, for models that were left out
            because they see less than the sequence.
    """

    cells: pd.DataFrame
    noise: Noise
    blind: dict[str, int]

    def sentences(self) -> list[str]:
        """The verdict in words: a sentence for each mode (device, dtype …)."""
        if not len(self.cells):
            return []
        names = [n for n in LINE if n not in {"batch_size", "hidden_size", "input_size"}]
        told = [n for n in names if self.cells[n].nunique() > 1 or n == "mode"]
        return [
            _sentence(", ".join(told_axis(n, v) for n, v in zip(told, key, strict=True)), cells)
            for key, cells in self.cells.groupby(told, sort=False)
        ]

    def limits(self) -> list[str]:
        """What the verdict does not hold for, and how sure it is."""
        found = []
        if self.blind:
            models = " and ".join(
                f"{model} ({steps:,} steps)" for model, steps in self.blind.items()
            )
            found.append(f"Left out where it sees less than the sequence: {models}.")
        if len(self.cells) and self.noise.source != "none":
            least = np.expm1(_Z * np.sqrt(2) * self.noise.between)
            found.append(
                f"Another run would move a value by about {self.noise.between:.1%}; differences"
                f" below some {least:.0%} are not called."
            )
        return found


def verdict(frame: pd.DataFrame, measure: str = "latency") -> Verdict:
    """Compare the best recurrent with the best convolutional model at every shape.

    A model whose receptive field was measured (`receptive_field`) and is shorter than the sequence
    does not compete there: it answers another question.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
    """
    rows = measured(frame, measure)
    noise = floor(frame, measure)
    family = {model: family_of(model) for model in dict.fromkeys(rows["model"])}
    rows = rows.assign(
        family=rows["model"].map(family), log=np.log(rows["value"]), sigma=spread(rows, noise)
    )
    field = field_of(frame, rows)
    short = field < rows["seq_len"].astype(float)
    blind = {
        str(model): int(steps.max())
        for model, steps in field[short].groupby(rows["model"], sort=False)
    }
    rows = rows[~short & rows["family"].isin(FAMILIES)]
    shape = [*LINE, "seq_len"]
    best = rows.loc[rows.groupby([*shape, "family"], sort=False)["log"].idxmin()]
    pair = [best[best["family"] == family] for family in FAMILIES]
    both = pair[0].merge(pair[1], on=shape, suffixes=("_r", "_c"))
    log = both["log_c"] - both["log_r"]
    half = _Z * np.hypot(both["sigma_c"], both["sigma_r"])
    cells = both[shape].assign(
        recurrent=both["model_r"],
        convolutional=both["model_c"],
        ratio=np.exp(log),
        low=np.exp(log - half),
        high=np.exp(log + half),
        winner=np.select([log > half, log < -half], FAMILIES, ""),
    )
    return Verdict(cells, noise, blind)


def unrolled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without recurrent models that ran in a library's own kernel."""
    recurrent = [spec.name for spec in MODELS if spec.family == "recurrent"]
    looped = frame["kernel"].str.startswith("Python loop")
    return frame[looped | ~frame["model"].isin(recurrent)]


def _sentence(where: str, cells: pd.DataFrame) -> str:
    total = len(cells)
    parts: list[str] = []
    order = sorted(FAMILIES, key=lambda family: -int((cells["winner"] == family).sum()))
    for family in order:
        won = cells[cells["winner"] == family]
        if not len(won):
            continue
        factor = won["ratio"] if family == "recurrent" else 1 / won["ratio"]
        models = " or ".join(won[family].value_counts().index)
        by = f"{factor.median():.1f}×" if len(won) == 1 else f"{factor.median():.1f}× in the median"
        far = "" if len(won) == 1 else f", {factor.max():.1f}× at most"
        noun = {"recurrent": "recurrence", "convolutional": "convolution"}[family]
        shapes = f"{len(won)} of {total} shapes" if not parts else str(len(won))
        parts.append(f"{noun} ({models}) is faster in {shapes}, by {by}{far}{_where(won, cells)}")
    rest = int((cells["winner"] == "").sum())
    if rest:
        parts.append(f"{rest} of {total} cannot be told apart")
    return f"{where}: {'; '.join(parts)}."


def _where(won: pd.DataFrame, cells: pd.DataFrame) -> str:
    """What the shapes that were won have in common, if it is a part of the grid only."""
    if len(won) == len(cells):
        return ""
    short = {"seq_len": "T", "batch_size": "B", "hidden_size": "H"}
    parts = []
    for name, letter in short.items():
        mine, all_of_it = sorted(won[name].unique()), sorted(cells[name].unique())
        if len(mine) < len(all_of_it):
            parts.append(
                f"{letter} = {mine[0]}" if len(mine) == 1 else f"{letter} = {mine[0]} to {mine[-1]}"
            )
    return f" (at {', '.join(parts)})" if parts else ""
