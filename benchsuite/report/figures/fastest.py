"""The crossover map: the fastest model of each shape, and where families cross."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from benchsuite import analysis
from benchsuite.records.frame import group_numbers
from benchsuite.report.figures.figure import Figure, look
from benchsuite.report.figures.slices import evenly, left_out, slices
from benchsuite.report.figures.tiles import Mark, Panel, Tile, draw_tiles, fitted

_SHOWN = ("seq_len", "batch_size", "hidden_size")
_MOST_LENGTHS, _MOST_BATCHES, _MOST_WIDTHS = 8, 6, 4
_MARGIN = 40.0
_MOST_STRIPS = 4


def crossover_maps(
    chosen: pd.DataFrame, measure: str = "latency", *, noise: analysis.Noise | None = None
) -> Iterator[Figure]:
    """A map of the models that see the whole sequence, and one of all models if there are others.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame.

    Yields:
        A figure per mode, device and other axes that vary; its table has the crossings of the best
        models of each two families.
    """
    tried = analysis.sequences(analysis.where(chosen, chosen["measure"] == measure))
    if tried["model"].nunique() < 2:
        return
    noise, family = noise or analysis.floor(chosen, measure), analysis.families_of(chosen)
    field = analysis.field_of(chosen, tried)
    blind = field < tried["seq_len"].astype(float)
    seeing, note = tried[~blind], ""
    short = ", ".join(tried.loc[blind, "model"].unique())
    if blind.any() and seeing["model"].nunique() > 1:
        note = f" Left out where the field is shorter than the sequence: {short}."
        unknown = tried.loc[field.isna(), "model"].unique()
        if len(unknown):
            note += f" Field not measured, taken to cover the sequence: {', '.join(unknown)}."
        yield from _maps(seeing, measure, noise, family, note, seeing=True)
        note = (
            " Not an answer to problems that need the whole sequence: models with shorter fields"
            f" are included ({short})."
        )
    yield from _maps(tried, measure, noise, family, note)


def _maps(
    tried: pd.DataFrame,
    measure: str,
    noise: analysis.Noise,
    family: Mapping[str, str],
    note: str,
    *,
    seeing: bool = False,
) -> Iterator[Figure]:
    what = "Fastest" if measure == "latency" else f"Lowest {measure.replace('_', ' ')}"
    models = "model that sees the whole sequence" if seeing else "model"
    if note and not seeing:
        models += ", including models that do not see the whole sequence"
    names = [*analysis.LINE, "seq_len"]
    shapes = tried[names].iloc[np.unique(group_numbers(tried, names), return_index=True)[1]]
    for part in slices(shapes.sort_values(names, kind="stable"), _SHOWN):
        rows = part.of(tried)  # most shapes are in no figure
        cells = analysis.fastest(rows, measure, noise=noise)
        crossed = analysis.family_crossovers(rows, measure, noise=noise, family=family)
        title = f"{what} {models}: {part.words}"
        name = f"fastest-{'seeing-all-' if seeing else ''}{measure.replace('_', '-')}-{part.slug}"
        yield _figure(cells, crossed, title, name, noise, note + part.note)


def _figure(
    cells: pd.DataFrame,
    crossed: pd.DataFrame,
    title: str,
    name: str,
    noise: analysis.Noise,
    note: str,
) -> Figure:
    widths, batches, lengths = (
        evenly(cells[axis], most)
        for axis, most in (
            ("hidden_size", _MOST_WIDTHS),
            ("batch_size", _MOST_BATCHES),
            ("seq_len", _MOST_LENGTHS),
        )
    )
    panels = [
        Panel(
            title=f"H={width}",
            columns=[str(length) for length in lengths],
            rows=[str(batch) for batch in batches],
            tiles=_tiles(cells[cells["hidden_size"] == width], lengths, batches),
            marks=_marks(crossed[crossed["hidden_size"] == width], lengths, batches),
        )
        for width in widths
    ]
    svg = draw_tiles(
        panels, title, name, xlabel="sequence length T", ylabel="batch size B", margin=_MARGIN
    )
    caption = (
        "Each tile names the model with the lowest value and the factor by which the next one is"
        " higher. ≈ and coloured strips: models whose difference from the lowest is within noise"
        f" (95 % interval of a pair, {noise.words}). n = {len(cells)} shapes. Models without a"
        " value are named, or counted, with their status; grey: no model has one. Hatched: not in"
        " the study."
    )
    if any(panel.marks for panel in panels):
        pairs = [f"the best {a} and the best {b}" for a, b in _pairs(crossed)]
        caption += (
            f" Black marks: the length T* at which {', or '.join(pairs)} cross, with its 95 %"
            " interval."
        )
    unnamed = [m for m in cells["model"].unique() if m and analysis.executed(str(m)) != m]
    if unnamed:
        caption += f" Executions: {', '.join(analysis.executed(str(m)) for m in unnamed)}."
    drawn = left_out(
        T=(len(lengths), cells["seq_len"].nunique()),
        B=(len(batches), cells["batch_size"].nunique()),
        H=(len(widths), cells["hidden_size"].nunique()),
    )
    return Figure(
        name=name,
        title=title,
        caption=f"{caption}{drawn}{note}",
        alt=" ".join(map_words(cells, crossed)),
        svg=svg,
        data=cells,
        table=surface_table(crossed),
    )


def _tiles(
    cells: pd.DataFrame, lengths: list[int], batches: list[int]
) -> dict[tuple[int, int], Tile]:
    return {
        (batches.index(row["batch_size"]), lengths.index(row["seq_len"])): _tile(row, len(lengths))
        for row in cells.to_dict("records")
        if row["batch_size"] in batches and row["seq_len"] in lengths
    }


def _tile(row: dict[str, object] | dict[object, object], columns: int) -> Tile:
    failed = _failed(str(row["without"]), columns)
    if not row["model"]:
        return Tile(tuple(failed))
    ties = str(row["ties"]).split(", ") if row["ties"] else []
    lines = fitted(str(row["model"]), columns, _MARGIN)
    if len(ties) == 1:
        lines += fitted(ties[0], columns, _MARGIN, "≈ ")
    elif ties:
        lines.append(f"≈ {len(ties)} others")
    elif row["runner_up"]:
        lines.append(_factor(float(row["ratio"])))  # type: ignore[arg-type]
    strips = tuple(look(model)[0] for model in ties[:_MOST_STRIPS])
    return Tile((*lines, *failed), look(str(row["model"]))[0], strips)


def _failed(without: str, columns: int) -> list[str]:
    """Lines on models without a value: a single one by name, several by their statuses' counts."""
    entries = [entry.rpartition(" ") for entry in without.split(", ") if entry]
    if len(entries) == 1:
        return [*fitted(entries[0][0], columns, _MARGIN), entries[0][2]]
    return [f"{count} {status}" for status, count in Counter(e[2] for e in entries).items()]


def _factor(ratio: float) -> str:
    return f"{ratio:.1f}×" if ratio < 9.95 else f"{ratio:.0f}×"


def _marks(crossed: pd.DataFrame, lengths: list[int], batches: list[int]) -> list[Mark]:
    """Marks at T*, with positions between columns interpolated in log T."""
    places, logs = np.arange(len(lengths)), np.log(np.array(lengths, float))
    rows = crossed[(crossed["verdict"] == "crosses") & crossed["batch_size"].isin(batches)]
    return [
        Mark(batches.index(batch), *np.interp(np.log([at, low, high]), logs, places).tolist())
        for batch, at, low, high in zip(
            *(rows[n] for n in ("batch_size", "seq_len", "low", "high")), strict=True
        )
    ]


def map_words(cells: pd.DataFrame, crossed: pd.DataFrame) -> list[str]:
    """The contents of a map in sentences.

    Args:
        cells: From `analysis.fastest`.
        crossed: From `analysis.family_crossovers`, the same lines.
    """
    won = cells[cells["model"] != ""]
    words = []
    if len(won):
        counts = won["model"].value_counts()
        wins = ", ".join(
            f"{analysis.executed(str(model))} in {n} of {len(cells)}" for model, n in counts.items()
        )
        words.append(f"Lowest: {wins} shapes.")
        if 1 < won["batch_size"].nunique() <= _MOST_BATCHES:
            tops = []
            for batch, own in won.groupby("batch_size"):
                top = own["model"].value_counts()
                tops.append(f"{top.index[0]} in {top.iloc[0]} of {len(own)} at B={batch}")
            words.append(f"Most often: {', '.join(tops)}.")
        ties = int((~won["separable"]).sum())
        if ties:
            words.append(f"In {ties} of them another model is within noise of the lowest.")
    empty = len(cells) - len(won)
    if empty:
        words.append(f"No model has a value in {empty} of {len(cells)} shapes.")
    failed = int((cells["without"] != "").sum())
    if failed:
        words.append(f"In {failed} shapes a model has no value.")
    for a, b in _pairs(crossed):
        verdicts = crossed.loc[(crossed["a"] == a) & (crossed["b"] == b), "verdict"]
        parts = [
            f"{result} in {count}"
            for result, count in (
                (f"{a} is lower at every length", (verdicts == "a always").sum()),
                (f"{b} is lower at every length", (verdicts == "b always").sum()),
                ("they cross", verdicts.str.startswith("crosses").sum()),
                ("neither is consistently lower", (verdicts == "not separable").sum()),
            )
            if count
        ]
        words.append(f"Best {a} and best {b}, {len(verdicts)} lines over T: {', '.join(parts)}.")
    return words


def _pairs(crossed: pd.DataFrame) -> list[tuple[str, str]]:
    """The pairs of families (nouns) that lines were compared of."""
    pairs = crossed[["a", "b"]].drop_duplicates()
    return list(pairs.itertuples(index=False, name=None))


def surface_table(crossed: pd.DataFrame) -> pd.DataFrame | None:
    """Crossings of the families in readable rows, or None for fewer than two families."""
    if not len(crossed):
        return None
    rows = crossed.sort_values(["hidden_size", "batch_size"], kind="stable")
    pairs = [f"best {a} against best {b}" for a, b in _pairs(crossed)]
    return pd.DataFrame(
        {
            "hidden_size": rows["hidden_size"],
            "batch_size": rows["batch_size"],
            "T*": rows["seq_len"].round(),
            "low": rows["low"].round(),
            "high": rows["high"].round(),
            "; ".join(pairs): [analysis.crossover_sentence(row) for row in rows.to_dict("records")],
        }
    ).reset_index(drop=True)
