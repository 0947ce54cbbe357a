"""The comparison of families, shape by shape: which is faster, by how much, and how certainly."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.model_facts import executed, families_of, field_of, parameters_of
from benchsuite.analysis.noise import Noise, critical, floor, noise_columns, spread_and_degrees
from benchsuite.analysis.select import (
    HELD,
    SHAPE,
    axes_to_name,
    axis_words,
    measured,
    only,
    sequences,
    where,
    without_repeats,
)
from benchsuite.catalog.families import FAMILIES, compared
from benchsuite.catalog.models import MACHINE
from benchsuite.records.frame import group_numbers

#: Parameters that differ by less than this factor count as equal in a sentence.
_AS_MANY = 1.1
#: Models of one family that a sentence on several families names.
_FEW = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer over a grid.

    Attributes:
        cells: A row per shape and pair of families that were both measured there: the columns of
            `SHAPE`, then `a`, `b` (the pair, in the order of the catalog), a column per family with
            its fastest model ("" for families outside the pair), `ratio` (time of b's model over
            that of a's), `low`, `high` (95 %), `winner`: a family, or "" where the interval holds
            one, and `parameters`: those of b's model over those of a's, NaN where they were not
            measured.
        noise: The noise floor that the intervals include.
        blind: Model → its largest measured field, for models that were left out because their
            field is shorter than the sequence.
        ranked: A row per shape with two families or more: the columns of `SHAPE`, `family` and
            `model` (the fastest), `next` (the fastest model of the next family), `ratio` (its time
            over that of the fastest), `low`, `high` (95 %), `winner`: the family, or "" where the
            interval holds one, and `parameters`: those of `next` over those of `model`.
        unknown: Models whose field was not measured; they are taken to see the whole sequence.
        unjudged: Shapes tried at which fewer than two families have a value that counts.
        outside: Models whose family is not known.
        streams: Shapes of one timestep, which are left out (see `select.sequences`).
    """

    cells: pd.DataFrame
    noise: Noise
    blind: dict[str, int]
    ranked: pd.DataFrame
    unknown: tuple[str, ...] = ()
    unjudged: int = 0
    outside: tuple[str, ...] = ()
    streams: int = 0

    def fastest_of(self, family: str) -> set[str]:
        """The models that are the fastest of a family at some shape."""
        return {*self.cells[family]} - {""}

    @property
    def several(self) -> bool:
        """Whether more than two families were compared."""
        return len(self.cells[["a", "b"]].drop_duplicates()) > 1

    def sentences(self, *, most: int = 60) -> list[str]:
        """A sentence per mode and match (and device, dtype … where they vary).

        With more than two families it names the fastest one, else it compares the two.

        Args:
            most: Sentences at most; one more states how many are left out.
        """
        if not self.several:
            return self._of_pairs(self.cells, most)
        named = _named(self.ranked)
        groups = self.ranked.groupby([*named, "match"], sort=False)
        sentences = [
            _fastest(_condition(cells, named, key, _sizes(1 / cells["parameters"])), cells)
            for key, cells in itertools.islice(groups, most)
        ]
        return [*sentences, *_left_out(groups.ngroups - most, named, self.ranked)]

    def pair_sentences(self, families: Collection[str] = (), *, most: int = 60) -> list[str]:
        """Sentences on each pair of families, where there are more than two.

        Args:
            families: Only pairs with one of these; all if empty.
            most: As of `sentences`.
        """
        cells = self.cells
        if families:
            cells = cells[cells["a"].isin(families) | cells["b"].isin(families)]
        return self._of_pairs(cells, most) if self.several else []

    def _of_pairs(self, cells: pd.DataFrame, most: int) -> list[str]:
        if not len(cells):
            return []
        named = _named(cells)
        sentences = []
        groups = cells.groupby(["a", "b", *named, "match"], sort=False)
        for (a, b, *key), own in itertools.islice(groups, most):
            sizes = _sizes(own["parameters"], f"the {_noun(str(b))}")
            where = _condition(own, named, key, sizes)
            pair = f"{_noun(str(a))} and {_noun(str(b))}, " if self.several else ""
            sentences.append(_sentence(pair + where, own))
        return [*sentences, *_left_out(groups.ngroups - most, named, cells)]

    def limits(self) -> list[str]:
        """Sentences on what the verdict leaves out, and how certain it is."""
        limits = []
        if self.blind:
            models = " and ".join(
                f"{model} ({steps:,} steps)" for model, steps in self.blind.items()
            )
            limits.append(f"Left out where the field is shorter than the sequence: {models}.")
        if self.unknown:
            models = ", ".join(self.unknown)
            limits.append(f"Field not measured, taken to cover the whole sequence: {models}.")
        if self.unjudged:
            limits.append(
                f"Not judged: {self.unjudged} shapes at which fewer than two families have a value."
            )
        if self.outside:
            limits.append(
                f"Not judged, as the family is not known: {', '.join(self.outside)}. Measure its"
                " receptive field (--measure receptive_field), or name its family under [families]"
                " in the study's file."
            )
        if self.streams:
            limits.append(
                f"Not judged: {self.streams} shapes of one timestep. A model whose depth follows T"
                " has almost no field there, and no state is carried from call to call, so such a"
                " time does not stand for one step of a stream."
            )
        if not len(self.cells):
            return limits
        if self.cells["parameters"].isna().all():
            limits.append(
                "Parameters were not measured (--measure parameters); models that are equal in"
                " another way may differ in them several times over."
            )
        if self.noise.source == "none":
            limits.append(
                "The noise between processes could not be estimated (that needs repeats, or three"
                " lengths): the differences hold for one process each."
            )
        else:
            halves = self.cells["high"] / self.cells["ratio"] - 1
            low, high = (f"{100 * half:.0f} %" for half in halves.quantile([0.1, 0.9]))
            least = low if low == high else f"{low} to {high} (depending on the models)"
            limits.append(
                f"Another run would change a value by about {self.noise.size}; differences below"
                f" {least} count as noise. Each family is judged by its fastest model, so the one"
                " with more models has a small advantage."
            )
        return limits


def verdict(
    frame: pd.DataFrame, measure: str = "latency", *, noise: Noise | None = None
) -> Verdict:
    """Compare the best models of every two families at every shape and match.

    A model whose receptive field was measured (`receptive_field`) and is shorter than the sequence
    does not compete there: it answers another question.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).
    """
    noise = noise or floor(frame, measure)
    names = (*SHAPE, "model", "measure", "status", "value", *noise_columns(frame))
    rows = measured(sequences(only(frame, names)), measure)
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
    competing = rows["family"].isin([spec.name for spec in compared()])
    best = where(rows, ~short & competing)
    best = best.loc[best["log"].groupby(group_numbers(best, [*SHAPE, "family"])).idxmin()]
    cells = _cells(frame, best)
    tried = only(frame, SHAPE)
    tried = where(tried, (frame["measure"] == measure) & (frame["model"] != MACHINE))
    shapes = len(without_repeats(tried, SHAPE))
    judged = len(without_repeats(sequences(tried), SHAPE))
    return Verdict(
        cells,
        noise,
        blind,
        _ranked(frame, best),
        tuple(rows.loc[field.isna() & competing, "model"].unique()),
        unjudged=judged - len(without_repeats(cells, SHAPE)),
        outside=tuple(rows.loc[~competing, "model"].unique()),
        streams=shapes - judged,
    )


def _cells(frame: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """`Verdict.cells` from the fastest row of each shape and family."""
    present = [spec.name for spec in compared() if (best["family"] == spec.name).any()]
    pairs = list(itertools.combinations(present, 2))
    if not pairs:  # columns without rows
        pairs = list(itertools.combinations([spec.name for spec in compared()], 2))[:1]
    return pd.concat([_pair(frame, best, a, b) for a, b in pairs], ignore_index=True)


def _pair(frame: pd.DataFrame, best: pd.DataFrame, a: str, b: str) -> pd.DataFrame:
    of_a, of_b = (best[best["family"] == family] for family in (a, b))
    both = of_a.merge(of_b, on=SHAPE, suffixes=("_a", "_b"))
    ratios, side = _ratios(frame, both)
    models = {spec.name: "" for spec in compared()}
    return (
        both[SHAPE]
        .assign(a=a, b=b, **models)
        .assign(**{a: both["model_a"], b: both["model_b"]}, **ratios)
        .assign(winner=np.select([side > 0, side < 0], [a, b], ""))
    )


def _ranked(frame: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """`Verdict.ranked` from the fastest row of each shape and family."""
    best = best.sort_values("log", kind="stable")
    place = best.groupby(group_numbers(best, SHAPE)).cumcount()
    both = best[place == 0].merge(best[place == 1], on=SHAPE, suffixes=("_a", "_b"))
    ratios, side = _ratios(frame, both)
    names = {"family": both["family_a"], "model": both["model_a"], "next": both["model_b"]}
    winner = both["family_a"].where(side > 0, "")
    return both[SHAPE].assign(**names, **ratios, winner=winner)


def _ratios(frame: pd.DataFrame, both: pd.DataFrame) -> tuple[dict[str, Any], pd.Series[float]]:
    """Columns that compare rows _b with rows _a, and the sign of clear differences.

    Returns:
        `ratio` of b to a with `low` and `high` (95 %), and `parameters` of b over those of a; and
        for each row 1 where b is clearly greater, -1 where a is, 0 where the interval holds one.
    """
    log = both["log_b"] - both["log_a"]
    sides = [(both[f"sigma_{end}"], both[f"degrees_{end}"]) for end in "ba"]
    half = critical(*sides) * np.hypot(both["sigma_b"], both["sigma_a"])
    columns = {
        "ratio": np.exp(log),
        "low": np.exp(log - half),
        "high": np.exp(log + half),
        "parameters": parameters_of(frame, both, model="model_b")
        / parameters_of(frame, both, model="model_a"),
    }
    side = np.where(log.abs() > half, np.sign(log), 0.0)
    return columns, pd.Series(side, index=both.index, dtype=float)


def unrolled(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without models that a library's kernel unrolled (see `FamilySpec.unrolls`).

    Rows that do not depend on the kernel stay: parameters, and fields, from which the family of a
    model from outside follows.
    """
    models = [model for model, name in families_of(frame).items() if FAMILIES.get(name).unrolls]
    looped = frame["looped"].fillna(value=False).astype(bool)
    fixed = frame["measure"].isin(["receptive_field", "parameters"])
    return where(frame, looped | fixed | ~frame["model"].isin(models))


def unrolled_sentences(frame: pd.DataFrame, whole: Verdict) -> list[str]:
    """The verdict for models without a library's kernel, where some models have one.

    Args:
        frame: As for `verdict`.
        whole: The verdict on all models.
    """
    loops = verdict(unrolled(frame))
    families = [spec for spec in compared() if spec.unrolls and loops.fastest_of(spec.name)]
    if all(loops.fastest_of(spec.name) == whole.fastest_of(spec.name) for spec in families):
        return []
    nouns = " and ".join(spec.noun for spec in families).capitalize()
    pairs = loops.pair_sentences([spec.name for spec in families])
    return [
        f"{nouns} unrolled in Python, without a library's kernel; {sentence}"
        for sentence in pairs or loops.sentences()
    ]


def _noun(family: str) -> str:
    return FAMILIES.get(family).noun


def _named(cells: pd.DataFrame) -> list[str]:
    return [name for name in axes_to_name(cells) if name != "match"]


def _left_out(count: int, named: Sequence[str], cells: pd.DataFrame) -> list[str]:
    """A sentence on kinds of cases without a sentence, if there are any."""
    if count <= 0:
        return []
    axes = ", ".join(name for name in named if cells[name].nunique() > 1)
    return [f"{count:,} more kinds of cases (of other {axes}) are in the table only."]


def _condition(cells: pd.DataFrame, named: Sequence[str], key: Sequence[object], sizes: str) -> str:
    """Mode, match and other axes that a sentence holds for, and how sizes compare there."""
    where = [axis_words(name, value) for name, value in zip(named, key, strict=False)]
    return ", ".join([*where, f"at {HELD[str(cells['match'].iloc[0])]}{sizes}"])


def _sizes(ratio: pd.Series[float], who: str = "") -> str:
    """A comparison of parameters at that match, if known.

    Args:
        ratio: Parameters of one model over those of another, by shape.
        who: What has the first one; by default the fastest, compared with the next.
    """
    ratio = ratio.dropna()
    if not len(ratio):
        return ""
    apart = float(np.exp(np.abs(np.log(ratio)).max()))
    if apart < _AS_MANY:
        return f", where parameters are equal within {apart - 1:.0%}"
    low, middle, high = (f"{value:.2g}" for value in ratio.quantile([0, 0.5, 1]))
    span = "" if low == high else f" ({low} to {high})"
    than = "" if who else " of the next"
    return f", where {who or 'the fastest'} has {middle} times the parameters{than}{span}"


def _sentence(where: str, cells: pd.DataFrame) -> str:
    """One sentence on the cells of one pair of families."""
    total = len(cells)
    a, b = cells["a"].iloc[0], cells["b"].iloc[0]
    parts: list[str] = []
    for family in sorted((a, b), key=lambda family: -int((cells["winner"] == family).sum())):
        won = cells[cells["winner"] == family]
        if not len(won):
            continue
        factor = won["ratio"] if family == a else 1 / won["ratio"]
        models = " or ".join(won[family].value_counts().index)
        by = f"{_times(factor.median())} as fast"
        most = "" if len(won) == 1 else f" in the median, {_times(factor.max())} at most"
        shapes = f"{len(won)} of {total} shapes" if not parts else str(len(won))
        parts.append(
            f"{_noun(family)} ({models}) is faster in {shapes}: {by}{most}{_where(won, cells)}"
        )
    rest = int((cells["winner"] == "").sum())
    if rest:
        parts.append(f"in {rest} of {total} the difference is within noise")
    return f"{where}: {'; '.join(parts)}."


def _fastest(where: str, cells: pd.DataFrame) -> str:
    """One sentence on the fastest of more than two families.

    Args:
        where: What it holds for.
        cells: Rows of `Verdict.ranked`.
    """
    total = len(cells)
    parts: list[str] = []
    for family, count in cells.loc[cells["winner"] != "", "winner"].value_counts().items():
        won = cells[cells["winner"] == family]
        after = won["next"].value_counts()
        baseline = executed(str(after.index[0]))
        often = "" if len(after) == 1 else f" in {after.iloc[0]} of {count}"
        middle, most = _times(won["ratio"].median()), _times(won["ratio"].max())
        by = middle if count == 1 else f"in the median {middle}"
        by += f" ({most} at most)" if most != middle else ""
        by += f" as fast as the next family's best, {baseline}{often}"
        models = _listed(executed(str(model)) for model in won["model"].value_counts().index)
        verb, shapes = ("is fastest ", f"{count} of {total} shapes") if not parts else ("", count)
        parts.append(
            f"{_noun(str(family))}, run as {models}, {verb}in {shapes}{_where(won, cells)}: {by}"
        )
    rest = int((cells["winner"] == "").sum())
    if rest:
        parts.append(f"in {rest} of {total} the two fastest families cannot be distinguished")
    return f"{where}: {'; '.join(parts)}."


def _listed(names: Iterable[str]) -> str:
    """Names joined by "or", the first three of them."""
    names = list(names)
    more = [f"{len(names) - _FEW} others"] if len(names) > _FEW else []
    return " or ".join([*names[:_FEW], *more])


def _times(factor: float) -> str:
    return f"{factor:.2f} times" if factor < 2 else f"{factor:.1f} times"


def _where(won: pd.DataFrame, cells: pd.DataFrame) -> str:
    """The sizes at which one family wins, where they distinguish these shapes from all others."""
    inside = np.ones(len(cells), bool)
    parts = []
    for name, letter in (("seq_len", "T"), ("batch_size", "B"), ("hidden_size", "H")):
        sizes, every = sorted(won[name].unique()), sorted(cells[name].unique())
        if len(sizes) == len(every):
            continue
        inside &= cells[name].isin(sizes).to_numpy()
        first = every.index(sizes[0])
        whole = sizes == every[first : first + len(sizes)] and len(sizes) > 2
        words = f"{sizes[0]} to {sizes[-1]}" if whole else " and ".join(map(str, sizes))
        parts.append(f"{letter} = {words}")
    return f" (at {', '.join(parts)})" if parts and inside.sum() == len(won) else ""
