"""Speed-up heat maps: the speed of each model relative to a reference, shape by shape."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from benchsuite import analysis
from benchsuite.report.figures.figure import Figure
from benchsuite.report.figures.slices import Slice, evenly, left_out, slices
from benchsuite.report.figures.tiles import Panel, Scale, Tile, draw_tiles, fitted
from benchsuite.units import two_digits

_SHOWN = ("seq_len", "batch_size", "hidden_size")
_MOST_LENGTHS, _MOST_BATCHES, _MOST_WIDTHS, _MOST_MODELS = 8, 4, 3, 9
_MARGIN = 66.0
#: Purple to orange, which colour-blind people can distinguish (ColorBrewer).
_COLOURS = mpl.colormaps["PuOr"]
#: Doublings at which colours end: at least, at most.
_ENDS = (1.0, 5.0)


def speedup_maps(
    chosen: pd.DataFrame, measure: str = "latency", *, noise: analysis.Noise | None = None
) -> Iterator[Figure]:
    """A figure per mode, device and other axes that vary, with a panel per model.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        measure: One for which lower is better.
        noise: The floor of cases of more than one timestep; by default estimated from the frame.
    """
    tried = analysis.sequences(analysis.where(chosen, chosen["measure"] == measure))
    if not len(tried):
        return
    noise = noise or analysis.floor(tried, measure)
    reference = analysis.reference_of(list(tried["model"].unique()))
    others = tried[tried["model"] != reference]
    short = analysis.field_of(chosen, others) < others["seq_len"].astype(float)
    blind = set(others.loc[short, "model"])
    fastest = analysis.fastest_executions(chosen, measure)
    for part in slices(others[["model", *analysis.LINE, "seq_len"]], _SHOWN):
        rows = part.of(tried)  # most cases are in no figure
        table = analysis.speedups(rows, measure, noise=noise, reference=reference)
        yield _figure(part, table, measure, blind, fastest)


def _figure(
    part: Slice, rows: pd.DataFrame, measure: str, blind: set[str], fastest: list[str]
) -> Figure:
    reference = analysis.executed(str(rows["reference"].iloc[0]))
    how = "Speed" if measure == "latency" else f"Saving in {measure.replace('_', ' ')}"
    title = f"{how} compared with {reference}: {part.words}"
    name = f"speedup-{measure.replace('_', '-')}-{part.slug}"
    axes = (
        ("seq_len", _MOST_LENGTHS),
        ("batch_size", _MOST_BATCHES),
        ("hidden_size", _MOST_WIDTHS),
    )
    lengths, batches, widths = (evenly(rows[axis], most) for axis, most in axes)
    order = [(batch, width) for batch in batches for width in widths]
    models = list(rows["model"].unique())
    few = len(models) > _MOST_MODELS
    models = [model for model in models if model in fastest or not few][:_MOST_MODELS]
    reach = np.abs(np.log2(rows["speedup"].dropna().to_numpy(float)))
    # Whole doublings; slightly less, so that rounding does not turn a factor of 4 into one of 8.
    end = float(np.clip(np.ceil(reach.max() - 1e-6) if len(reach) else 1.0, *_ENDS))
    panels = [
        Panel(
            title=fitted(analysis.executed(model), 1, _MARGIN)[0]
            + (", which does not see the whole sequence" if model in blind else ""),
            columns=[str(length) for length in lengths],
            rows=[f"B{batch} H{width}" for batch, width in order],
            tiles=_tiles(rows[rows["model"] == model], lengths, order, end),
        )
        for model in models
    ]
    ticks = sorted({-end, -(end // 2), 0, end // 2, end})
    scale = Scale(
        colours=_COLOURS,
        labels=[(0.5 + at / end / 2, f"{'1/' if at < 0 else ''}{2 ** abs(at):g}") for at in ticks],
        title=f"{'times as fast as' if measure == 'latency' else 'times less than'} {reference}",
    )
    svg = draw_tiles(
        panels, title, name, xlabel="sequence length T", ylabel="", margin=_MARGIN, scale=scale
    )
    drawn = left_out(
        T=(len(lengths), rows["seq_len"].nunique()),
        B=(len(batches), rows["batch_size"].nunique()),
        H=(len(widths), rows["hidden_size"].nunique()),
        models=(len(models), rows["model"].nunique()),
    )
    if few:
        drawn = f" Of each mathematics, the execution that is fastest most often.{drawn}"
    count = int(rows["speedup"].notna().sum())
    caption = (
        f"{measure.replace('_', ' ').capitalize()} of {reference} divided by that of the model:"
        f" above 1 the model is better. n = {count} pairs. ≈: the difference is within noise (95 %"
        " interval). Grey: the model has no value (its status is shown), or"
        f" {reference} has none (no ref). Hatched: not in the study. Colours end at a factor of"
        f" {2**end:g}."
    )
    return Figure(
        name=name,
        title=title,
        caption=f"{caption}{drawn}{part.note}",
        alt=_alt(rows, reference),
        svg=svg,
        data=rows,
    )


def _tiles(
    rows: pd.DataFrame, lengths: list[int], order: list[tuple[int, int]], end: float
) -> dict[tuple[int, int], Tile]:
    columns = {length: place for place, length in enumerate(lengths)}
    places = {pair: place for place, pair in enumerate(order)}
    names = ["seq_len", "batch_size", "hidden_size", "status", "speedup", "separable"]
    found = {}
    for T, B, H, status, speedup, separable in zip(*(rows[n] for n in names), strict=True):
        if T not in columns or (B, H) not in places:
            continue
        at = (places[(B, H)], columns[T])
        if status != "ok":
            found[at] = Tile((str(status),))
        elif np.isnan(speedup):
            found[at] = Tile(("no ref",))
        else:
            colour = to_hex(_COLOURS(float(np.clip(0.5 + np.log2(speedup) / end / 2, 0, 1))))
            found[at] = Tile(
                (two_digits(speedup) if separable else f"≈{two_digits(speedup)}",), colour
            )
    return found


def _alt(rows: pd.DataFrame, reference: str) -> str:
    words = [f"Compared with {reference}:"]
    for name, own in rows.groupby("model", sort=False):
        model = analysis.executed(str(name))
        ratio = own["speedup"].dropna()
        if not len(ratio):
            words.append(f"{model} has no value at a shape where {reference} has one.")
            continue
        faster = int((own["separable"] & (own["speedup"] > 1)).sum())
        middle, low, high = map(two_digits, (ratio.median(), ratio.min(), ratio.max()))
        words.append(
            f"{model} {middle} times as fast in the median, {low} to {high}, faster beyond noise in"
            f" {faster} of {len(ratio)}."
        )
    failed = int((rows["status"] != "ok").sum())
    return " ".join(words) + (f" {failed} cases have no value." if failed else "")
