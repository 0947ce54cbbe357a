"""One mathematics in several executions: time, and rounding error, against sequence length."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchsuite import analysis, units
from benchsuite.catalog.measures import MEASURES
from benchsuite.report.figures.figure import INK, Figure, house_style, svg_of
from benchsuite.report.figures.slices import Slice, evenly, left_out, slices
from benchsuite.report.figures.tiles import WIDTH, narrow

_SHOWN = ("seq_len", "batch_size", "hidden_size")
_MOST_ROWS, _MOST_COLUMNS, _MOST_TICKS = 8, 2, 5
_PANEL = 84.0
#: Colour, marker and dashes of an execution: readable on white and on almost black (contrast of at
#: least 3), and different in print without colours. Others take one of the rest.
_LOOKS = {
    "Python loop": ("#D55E00", "o", (0, (1, 1.2))),
    "fused loop": ("#B8860B", "v", (0, (4, 1.2, 1, 1.2))),
    "stacked loop": ("#7F7F7F", "*", (0, (2, 2))),
    "scan": ("#009E73", "^", (0, (3, 1.2))),
    "FFT": ("#C2649A", "D", (0, (5, 1.2, 1, 1.2, 1, 1.2))),
    "native": ("#2F86C8", "s", "solid"),
    "library": (INK, "P", "solid"),
    "Newton": ("#8C6BB1", "X", (0, (6, 1.5))),
}
_REST = (("#A6611A", "h", (0, (1, 2))), ("#5B8C2A", "<", (0, (7, 2))))


def look_of(execution: str) -> tuple[str, str, object]:
    """Colour, marker and line style of an execution, the same in every figure."""
    return _LOOKS.get(execution) or _REST[sum(map(ord, execution)) % len(_REST)]


def execution_figures(chosen: pd.DataFrame, table: pd.DataFrame) -> Iterator[Figure]:
    """A figure of latency, and one of rounding errors, per mode, device and other axes that vary.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        table: From `analysis.executions`.
    """
    rows = chosen[(chosen["measure"] == "latency") & (chosen["model"] == analysis.REFERENCE)]
    for part in slices(table, _SHOWN):
        yield _figure(part, "latency", analysis.measured(rows, "latency"))
    errors = analysis.executions(chosen, analysis.ERROR)
    if errors["seq_len"].nunique() > 1:
        for part in slices(errors, _SHOWN):
            yield _figure(part, analysis.ERROR, rows.head(0))


def _figure(part: Slice, measure: str, reference: pd.DataFrame) -> Figure:
    rows = part.rows
    mathematics = list(dict.fromkeys(rows["mathematics"]))[:_MOST_ROWS]
    pairs = _pairs(rows)
    what = "Time" if measure == "latency" else "Rounding error"
    title = f"{what} of one mathematics in several executions: {part.words}"
    name = f"executions-{measure.replace('_', '-')}-{part.slug}"
    same = [n for n in analysis.LINE if n not in {*_SHOWN, "input_size"}]
    first = rows.iloc[0]
    beside = reference[(reference[same] == first[same]).all(axis=1)]
    shown = rows[rows["mathematics"].isin(mathematics)]
    drawn = left_out(
        mathematics=(len(mathematics), rows["mathematics"].nunique()),
        lines=(len(pairs), len(rows[["batch_size", "hidden_size"]].drop_duplicates())),
    )
    line = ""
    if len(beside) and {"lstm"} != set(mathematics):
        line = f" Dashed line without marks: {analysis.executed(analysis.REFERENCE)}, for scale."
    bands = " Bands: 95 % intervals of one value." if rows["half"].any() else ""
    caption = (
        f"A row per mathematics, a line per execution; all compute the same from equal weights. n ="
        f" {len(rows)} cases.{bands}{line} The table has the ratios and T*."
    )
    if measure != "latency":
        caption = (
            f"Numeric error: {MEASURES.get(measure).summary}. n = {len(rows)} cases; an error of"
            " zero is not drawn."
        )
    return Figure(
        name=name,
        title=title,
        caption=f"{caption}{drawn}{part.note}",
        alt=_alt(shown, measure),
        svg=_draw(shown, mathematics, pairs, beside, title, name),
        data=rows.drop(columns="half"),
    )


def _pairs(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Batch and hidden sizes of the columns: two batches, at the greatest hidden size of each."""
    batches = evenly(rows["batch_size"], _MOST_COLUMNS)
    return [(b, rows.loc[rows["batch_size"] == b, "hidden_size"].max()) for b in batches]


def _alt(rows: pd.DataFrame, measure: str) -> str:
    words = []
    for mathematics, own in rows.groupby("mathematics", sort=False):
        spans = [
            f"{execution} {units.show(lines['value'].min(), str(lines['unit'].iloc[0]))} to"
            f" {units.show(lines['value'].max(), str(lines['unit'].iloc[0]))}"
            for execution, lines in own.groupby("execution", sort=False)
        ]
        words.append(f"{mathematics}: {', '.join(spans)}.")
    return f"{measure.replace('_', ' ')} over sequence length. " + " ".join(words)


def _draw(
    rows: pd.DataFrame,
    mathematics: list[str],
    pairs: list[tuple[int, int]],
    beside: pd.DataFrame,
    title: str,
    salt: str,
) -> str:
    unit = str(rows["unit"].iloc[0])
    divisor, unit_name = units.scale_for(float(rows["value"].median()), unit)
    heading = textwrap.wrap(title, 52)
    named = list(dict.fromkeys(rows["execution"]))
    named.sort(key=lambda execution: [*_LOOKS, execution].index(execution))
    names = len(named) + bool(len(beside))
    top, foot = 13.0 * len(heading) + 12 * -(-names // 3) + 22, 30.0
    height = top + _PANEL * len(mathematics) + foot
    with house_style(salt):
        canvas = Canvas(figsize=(WIDTH / 72, height / 72))
        panels = canvas.subplots(
            len(mathematics),
            len(pairs),
            squeeze=False,
            sharex=True,
            sharey=True,
            gridspec_kw={
                "left": 46 / WIDTH,
                "right": 1 - 14 / WIDTH,
                "top": 1 - top / height,
                "bottom": foot / height,
                "hspace": 0.36,
                "wspace": 0.08,
            },
        )
        for number, words in enumerate(heading):
            y = 1 - (11 + 13 * number) / height
            canvas.text(4 / WIDTH, y, words, fontsize=10, fontweight="bold")
        for line, name in zip(panels, mathematics, strict=True):
            for axes, (batch, width) in zip(line, pairs, strict=True):
                own = rows[rows["mathematics"] == name]
                _panel(axes, _at(own, batch, width), divisor)
                if name != "lstm":
                    _reference(axes, _at(beside, batch, width), divisor)
                axes.set_title(f"{name}, B={batch}, H={width}", fontsize=8, loc="left", pad=3)
        _ticks(panels[0, 0], rows)
        handles = [_handle(execution) for execution in named]
        if len(beside):
            label = analysis.executed(analysis.REFERENCE)
            handles.append(Line2D([], [], color=INK, linewidth=1, linestyle="--", label=label))
        canvas.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0.0, 1 - (13 * len(heading) + 3) / height),
            ncols=3,
            fontsize=8,
            frameon=False,
            borderpad=0.2,
            handlelength=2.6,
            columnspacing=1.2,
        )
        for axes in panels[-1]:
            axes.set_xlabel("sequence length T", labelpad=2)
        canvas.text(3 / WIDTH, 1 - (top - 4) / height, unit_name or "count", fontsize=8)
        return narrow(svg_of(canvas))


def _at(rows: pd.DataFrame, batch: int, width: int) -> pd.DataFrame:
    here = (rows["batch_size"] == batch) & (rows["hidden_size"] == width)
    return rows[here].sort_values("seq_len")


def _handle(execution: str) -> Line2D:
    colour, marker, dashes = look_of(execution)
    return Line2D(
        [],
        [],
        color=colour,
        marker=marker,
        markersize=4,
        linewidth=1,
        linestyle=dashes,  # type: ignore[arg-type]
        label=execution,
    )


def _panel(axes: Axes, rows: pd.DataFrame, divisor: float) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.grid(visible=True, which="major")
    for execution, own in rows.groupby("execution", sort=False):
        colour, marker, dashes = look_of(str(execution))
        x, y = own["seq_len"].to_numpy(float), own["value"].to_numpy(float) / divisor
        half = own["half"].to_numpy(float)
        if half.any():
            low, high = y * np.exp(-half), y * np.exp(half)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            x,
            y,
            marker=marker,
            color=colour,
            markersize=3.5,
            linewidth=1,
            linestyle=dashes,
        )


def _reference(axes: Axes, rows: pd.DataFrame, divisor: float) -> None:
    """The library's layer, which every row is compared with."""
    x, y = rows["seq_len"].to_numpy(float), rows["value"].to_numpy(float) / divisor
    axes.plot(x, y, color=INK, linewidth=1, linestyle="--")


def _ticks(axes: Axes, rows: pd.DataFrame) -> None:
    lengths = evenly(rows["seq_len"], _MOST_TICKS)
    axes.set_xticks([float(t) for t in lengths], [str(t) for t in lengths])
    for each in axes.figure.axes:
        each.tick_params(labelsize=7.5)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(numticks=5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
