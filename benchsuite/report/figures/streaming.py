"""Calls of streams: the median of each model with a whisker to its 99 % quantile."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchsuite import units
from benchsuite.report.figures.figure import INK, Figure, house_style, label, look, svg_of
from benchsuite.report.figures.slices import Slice, left_out, slices

#: A panel per combination of these, the field to cover among them.
_PANELS = ("seq_len", "batch_size", "hidden_size")
_MOST_PANELS, _MOST_MODELS, _COLUMNS = 6, 16, 3
#: Inches of a figure's width, of a model's row, and of a panel's title and axis.
_WIDTH, _ROW, _PANEL = 9.6, 0.23, 0.75


def stream_figures(table: pd.DataFrame) -> Iterator[Figure]:
    """A figure per chunk, match and other axes that vary, with a panel per field, B and H.

    Args:
        table: From `analysis.streaming.calls`.
    """
    for part in slices(table, _PANELS, named=("chunk",)):
        yield _figure(part)


def _figure(part: Slice) -> Figure:
    rows = part.rows
    panels = [own for _, own in rows.groupby(list(_PANELS))]
    order = list(rows.groupby("model", sort=False)["value"].median().sort_values().index)
    title = f"Time of one call of a stream: {part.words}"
    name = f"streaming-{part.slug}"
    caption = (
        "Point: the median of the calls of one process; whisker: to the time that 99 % of the calls"
        " do not exceed; small mark: the longest call. The field is the one that models are built"
        f" to cover. n = {len(rows)} cases."
    )
    drawn = left_out(
        panels=(min(len(panels), _MOST_PANELS), len(panels)),
        models=(min(len(order), _MOST_MODELS), len(order)),
    )
    return Figure(
        name=name,
        title=title,
        caption=f"{caption}{drawn}{part.note}",
        alt=_alt(rows),
        svg=_draw(panels[:_MOST_PANELS], order[:_MOST_MODELS], title, name),
        data=rows,
    )


def _alt(rows: pd.DataFrame) -> str:
    words = []
    for model, own in rows.groupby("model", sort=False):
        low, high = (units.show(end, "s") for end in own["value"].agg(["min", "max"]).tolist())
        tail = float(own["p99"].max())
        beyond = "" if math.isnan(tail) else f", 99 % quantile up to {units.show(tail, 's')}"
        words.append(f"{model}: median {low} to {high}{beyond}.")
    return " ".join(words)


def _draw(panels: list[pd.DataFrame], order: list[str], title: str, salt: str) -> str:
    columns = min(_COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    with house_style(salt):
        canvas = Canvas(
            figsize=(_WIDTH, lines * (_PANEL + _ROW * len(order)) + 0.4), layout="constrained"
        )
        canvas.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        grid = list(canvas.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat)
        for axes, rows in zip(grid, panels, strict=False):
            _panel(axes, rows, order)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        return svg_of(canvas)


def _panel(axes: Axes, rows: pd.DataFrame, order: list[str]) -> None:
    first = rows.iloc[0]
    axes.set_title(
        f"field {first['seq_len']}, B={first['batch_size']}, H={first['hidden_size']}",
        fontsize=9,
        loc="left",
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: units.show(seconds, "s")))
    axes.grid(visible=True, axis="x")
    axes.set_yticks(range(len(order)), [label(model) for model in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)
    places = {model: place for place, model in enumerate(order)}
    for row in rows[rows["model"].isin(order)].to_dict("records"):
        place, (colour, marker) = places[row["model"]], look(row["model"])
        if not math.isnan(row["p99"]):
            axes.plot([row["value"], row["p99"]], [place, place], color=colour, linewidth=1.4)
        axes.plot(row["value"], place, marker=marker, color=colour, markersize=5)
        if not math.isnan(row["worst"]):
            axes.plot(row["worst"], place, marker="|", color=INK, markersize=5)
