"""Recurrence or convolution, cell by cell: who is faster, by how much, and whether that is sure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchsuite.analysis.fastest import SHAPE, families_of, field_of, parameters_of
from benchsuite.analysis.noise import Noise, critical, floor, spread_and_degrees
from benchsuite.analysis.select import HELD, measured, sequences, told_axes, told_axis
from benchsuite.catalog.models import MACHINE

FAMILIES = ("recurrent", "convolutional")
#: Parameters that differ by less than this factor count as equal in a sentence.
_AS_MANY = 1.1


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer over a grid.

    Attributes:
        cells: A row per shape that both families were measured at: the columns of `LINE`,
            `seq_len`, then `recurrent`, `convolutional` (each family's fastest model), `ratio`
            (time of the convolutional one over the recurrent one's), `low`, `high` (95 %),
            `winner`: a family, or "" where the interval holds one, and `parameters`: those of the
            convolutional model over the recurrent one's, NaN where they were not measured.
        noise: The floor that the intervals contain.
        blind: Model → the largest field of it that was measured, for models that were left out
            because they see less than the sequence.
        unknown: Convolutional models whose field was not measured; they are taken to see all.
        unjudged: Shapes tried that have no value of one family, or none that sees enough.
        outside: Models whose family is not known, as their field was not measured.
        streams: Shapes of one timestep, which are left out (see `select.sequences`).
    """

    cells: pd.DataFrame
    noise: Noise
    blind: dict[str, int]
    unknown: tuple[str, ...] = ()
    unjudged: int = 0
    outside: tuple[str, ...] = ()
    streams: int = 0

    def sentences(self) -> list[str]:
        """The verdict in words: a sentence for each mode and match (device, dtype …)."""
        if not len(self.cells):
            return []
        told = [name for name in told_axes(self.cells) if name != "match"]
        found = []
        for (*key, match), cells in self.cells.groupby([*told, "match"], sort=False):
            where = ", ".join(told_axis(n, v) for n, v in zip(told, key, strict=True))
            found.append(_sentence(f"{where}, at {HELD[match]}{_sizes(cells)}", cells))
        return found

    def limits(self) -> list[str]:
        """What the verdict does not hold for, and how sure it is."""
        found = []
        if self.blind:
            models = " and ".join(
                f"{model} ({steps:,} steps)" for model, steps in self.blind.items()
            )
            found.append(f"Left out where they see less than the sequence: {models}.")
        if self.unknown:
            models = ", ".join(self.unknown)
            found.append(f"Field not measured, taken to see the whole sequence: {models}.")
        if self.unjudged:
            found.append(
                f"Not judged: {self.unjudged} shapes at which one of the two families has no value."
            )
        if self.outside:
            found.append(
                f"Not judged, as a model's family follows from its receptive field, which was not"
                f" measured (--measure receptive_field): {', '.join(self.outside)}."
            )
        if self.streams:
            found.append(
                f"Not judged: {self.streams} shapes of one timestep. A model whose depth follows T"
                " sees next to nothing there, and no state is carried, so that such a time does not"
                " stand for one step of a stream."
            )
        if not len(self.cells):
            return found
        if self.cells["parameters"].isna().all():
            found.append(
                "Parameters were not measured (--measure parameters); models held equal in another"
                " way may differ in them several times over."
            )
        if self.noise.source == "none":
            found.append(
                "The noise between processes could not be estimated (it takes repeats, or three"
                " lengths): the differences hold for one process each."
            )
        else:
            halves = self.cells["high"] / self.cells["ratio"] - 1
            low, high = (f"{half:.0%}" for half in halves.quantile([0.1, 0.9]))
            least = low if low == high else f"{low} to {high}, by the models compared,"
            found.append(
                f"Another run would move a value by about {self.noise.size}; differences below"
                f" {least} are not called. Each family is judged by its fastest model, so the one"
                " with more models has a small advantage."
            )
        return found


def verdict(frame: pd.DataFrame, measure: str = "latency") -> Verdict:
    """Compare the best recurrent with the best convolutional model at every shape and match.

    A model whose receptive field was measured (`receptive_field`) and is shorter than the sequence
    does not compete there: it answers another question.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
    """
    noise = floor(frame, measure)
    rows = measured(sequences(frame), measure)
    family = families_of(frame)
    sigma, degrees = spread_and_degrees(rows, noise)
    rows = rows.assign(
        family=rows["model"].map(family), log=np.log(rows["value"]), sigma=sigma, degrees=degrees
    )
    field = field_of(frame, rows)
    short = field < rows["seq_len"].astype(float)
    blind = {
        str(model): int(steps.max())
        for model, steps in field[short].groupby(rows["model"], sort=False)
    }
    unknown = rows.loc[field.isna() & (rows["family"] == "convolutional"), "model"]
    outside = rows.loc[~rows["family"].isin(FAMILIES), "model"]
    rows = rows[~short & rows["family"].isin(FAMILIES)]
    best = rows.loc[rows.groupby([*SHAPE, "family"], sort=False)["log"].idxmin()]
    pair = [best[best["family"] == family] for family in FAMILIES]
    both = pair[0].merge(pair[1], on=SHAPE, suffixes=("_r", "_c"))
    log = both["log_c"] - both["log_r"]
    sides = [(both[f"sigma_{end}"], both[f"degrees_{end}"]) for end in "cr"]
    half = critical(*sides) * np.hypot(both["sigma_c"], both["sigma_r"])
    cells = both[SHAPE].assign(
        recurrent=both["model_r"],
        convolutional=both["model_c"],
        ratio=np.exp(log),
        low=np.exp(log - half),
        high=np.exp(log + half),
        winner=np.select([log > half, log < -half], FAMILIES, ""),
        parameters=parameters_of(frame, both, model="model_c")
        / parameters_of(frame, both, model="model_r"),
    )
    tried = frame[(frame["measure"] == measure) & (frame["model"] != MACHINE)]
    shapes = len(tried.drop_duplicates(SHAPE))
    judged = len(sequences(tried).drop_duplicates(SHAPE))
    return Verdict(
        cells,
        noise,
        blind,
        tuple(dict.fromkeys(unknown)),
        unjudged=judged - len(cells),
        outside=tuple(dict.fromkeys(outside)),
        streams=shapes - judged,
    )


def unrolled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without recurrent models that ran in a library's own kernel.

    What does not depend on the kernel stays: parameters, and fields, which the family of a model
    that is not built in follows from.
    """
    recurrent = [model for model, name in families_of(frame).items() if name == "recurrent"]
    looped = frame["looped"].fillna(value=False).astype(bool)
    fixed = frame["measure"].isin(["receptive_field", "parameters"])
    return frame[looped | fixed | ~frame["model"].isin(recurrent)]


def _sizes(cells: pd.DataFrame) -> str:
    """How many parameters the two families' models have at that match, where that is known."""
    ratio = cells["parameters"].dropna()
    if not len(ratio):
        return ""
    apart = float(np.exp(np.abs(np.log(ratio)).max()))
    if apart < _AS_MANY:
        return f", where parameters are equal within {apart - 1:.0%}"
    low, middle, high = (f"{value:.2g}" for value in ratio.quantile([0, 0.5, 1]))
    span = "" if low == high else f" ({low} to {high})"
    return f", where the convolution has {middle} times the parameters{span}"


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
        by = f"{_times(factor.median())} as fast"
        far = "" if len(won) == 1 else f" in the median, {_times(factor.max())} at most"
        noun = {"recurrent": "recurrence", "convolutional": "convolution"}[family]
        shapes = f"{len(won)} of {total} shapes" if not parts else str(len(won))
        parts.append(f"{noun} ({models}) is faster in {shapes}: {by}{far}{_where(won, cells)}")
    rest = int((cells["winner"] == "").sum())
    if rest:
        parts.append(f"in {rest} of {total} the difference is within noise")
    return f"{where}: {'; '.join(parts)}."


def _times(factor: float) -> str:
    return f"{factor:.2f} times" if factor < 2 else f"{factor:.1f} times"


def _where(won: pd.DataFrame, cells: pd.DataFrame) -> str:
    """What the shapes that were won have in common, where that tells them from all others."""
    inside = np.ones(len(cells), bool)
    parts = []
    for name, letter in (("seq_len", "T"), ("batch_size", "B"), ("hidden_size", "H")):
        mine, every = sorted(won[name].unique()), sorted(cells[name].unique())
        if len(mine) == len(every):
            continue
        inside &= cells[name].isin(mine).to_numpy()
        first = every.index(mine[0])
        whole = mine == every[first : first + len(mine)] and len(mine) > 2
        told = f"{mine[0]} to {mine[-1]}" if whole else " and ".join(map(str, mine))
        parts.append(f"{letter} = {told}")
    return f" (at {', '.join(parts)})" if parts and inside.sum() == len(won) else ""
