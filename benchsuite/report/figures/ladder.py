"""Ladders: the rungs of one mathematics as bars, relative to a baseline."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator, NullLocator

from benchsuite import units
from benchsuite.analysis.ladder import EAGER, STEP
from benchsuite.report.figures.figure import INK, Figure, house_style, look, svg_of
from benchsuite.report.figures.slices import left_out
from benchsuite.report.tables import Cell, Table

#: Shapes of a figure, and rungs of a shape.
_MOST_SHAPES, _MOST_RUNGS = 6, 16
_COLUMNS = 3
#: Inches of a figure's width, of a bar's height, and of a panel's title and axis.
_WIDTH, _BAR, _PANEL = 9.6, 0.23, 0.75
#: Opacity of bars that eager PyTorch ran, and of the others.
_PLAIN, _FULL = 0.45, 0.95
_ROWS = 150


def ladder_figures(table: pd.DataFrame) -> Iterator[Figure]:
    """A figure per mathematics and mode, with a panel per shape.

    Args:
        table: As `analysis.ladder.ladders` returns it.
    """
    for (mathematics, mode), rows in table.groupby(["mathematics", "mode"], sort=False):
        if rows["ratio"].notna().any():
            yield _figure(str(mathematics), str(mode), rows)


def _figure(mathematics: str, mode: str, rows: pd.DataFrame) -> Figure:
    shapes = [own for _, own in rows.groupby(STEP, sort=False)]
    drawn = shapes[:_MOST_SHAPES]
    valued = rows.loc[rows["ratio"].notna(), "rung"]
    without = [name for name in dict.fromkeys(rows["rung"]) if name not in set(valued)]
    name = f"ladder-{''.join(c if c.isalnum() else '-' for c in mathematics)}-{mode}"
    title = f"{mathematics}, {mode}: latency relative to {_baselines(rows)}"
    caption = (
        "Latency of each model and engine divided by the baseline's, with 95 % intervals, on a"
        " logarithmic axis: left of 1 is faster. Strong bars: run by an engine other than eager"
        " PyTorch. Right: the ratio and the latency, or why there is none. Rungs are in the order"
        " of their median ratio."
    )
    if without:
        caption += f" Without a value at any shape: {', '.join(without)}."
    return Figure(
        name=name,
        title=title,
        caption=caption + left_out(shapes=(len(drawn), len(shapes))),
        alt=_alt(rows),
        svg=_draw(drawn, rows[rows["rung"].isin(valued)], title, name),
        data=rows,
    )


def _baselines(rows: pd.DataFrame) -> str:
    return " or ".join(dict.fromkeys(filter(None, rows["baseline"])))


def _draw(shapes: list[pd.DataFrame], rows: pd.DataFrame, title: str, salt: str) -> str:
    median = rows.groupby("rung", sort=False)["ratio"].median()
    order = list(median.sort_values(na_position="last").index)[:_MOST_RUNGS]
    columns = min(_COLUMNS, len(shapes))
    lines = math.ceil(len(shapes) / columns)
    known = rows[["low", "high"]].to_numpy(float)
    known = known[np.isfinite(known)]
    ends = (min(0.5, known.min() / 1.1), max(2.0, known.max() * 1.1))
    with house_style(salt):
        canvas = Canvas(
            figsize=(_WIDTH, lines * (_PANEL + _BAR * len(order)) + 0.4), layout="constrained"
        )
        canvas.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        panels = canvas.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat
        for axes, shape in zip(panels, shapes, strict=False):
            _panel(axes, shape, order, ends)
        for axes in list(panels)[len(shapes) :]:
            axes.set_visible(False)
        return svg_of(canvas)


def _panel(axes: Axes, rows: pd.DataFrame, order: list[str], ends: tuple[float, float]) -> None:
    first = rows.iloc[0]
    axes.set_title(
        f"T={first['seq_len']}, B={first['batch_size']}, H={first['hidden_size']}",
        fontsize=9,
        loc="left",
    )
    axes.set_xscale("log", base=2)
    axes.set_xlim(*ends)
    whole = range(math.ceil(math.log2(ends[0])), math.floor(math.log2(ends[1])) + 1)
    ticks = list(whole)[:: max(1, math.ceil(len(whole) / 6))]
    axes.xaxis.set_major_locator(FixedLocator([2.0**tick for tick in ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(
        [2.0**t for t in ticks], [f"{2**t}×" if t >= 0 else f"1/{2**-t}" for t in ticks]
    )
    axes.set_yticks(range(len(order)), order)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.axvline(1.0, color=INK, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    places = {name: place for place, name in enumerate(order)}
    for row in rows.to_dict("records"):
        if row["rung"] not in places:
            continue
        place = places[row["rung"]]
        if math.isnan(row["ratio"]):
            text = str(row["status"]) if row["status"] != "ok" else "no baseline"
        else:
            axes.barh(
                place,
                row["ratio"] - 1.0,
                left=1.0,
                height=0.7,
                color=look(row["model"])[0],
                alpha=_PLAIN if row["engine"] == EAGER else _FULL,
            )
            axes.plot([row["low"], row["high"]], [place, place], color=INK, linewidth=1.0)
            text = f"{row['ratio']:.2g}×  {units.show(row['latency'], 's')}"
        axes.annotate(
            text,
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7.5,
            annotation_clip=False,
        )


def _alt(rows: pd.DataFrame) -> str:
    words = []
    for name, own in rows.groupby("rung", sort=False):
        good = own[own["ratio"].notna()]
        if len(good):
            low, high = good["ratio"].min(), good["ratio"].max()
            words.append(f"{name}: {low:.2g} to {high:.2g} times the baseline.")
        else:
            words.append(f"{name}: {own['status'].iloc[0]}.")
    return " ".join(words)


def ladder_table(table: pd.DataFrame) -> Table:
    """Every rung at every shape, with rounding error, preparation and break-even."""
    heads = [
        *("mathematics", "rung", "mode", "T", "B", "H", "latency", "ratio", "95 % interval"),
        *("error, ulp", "precision found", "compile or load", "pays after, calls"),
    ]
    rows = table.sort_values(["mathematics", *STEP, "latency"], kind="stable").head(_ROWS)
    return Table(
        title="rungs",
        summary="every model and engine at every shape",
        note="",
        heads=heads,
        keys=6,
        rows=[_cells(row) for row in rows.to_dict("records")],
        more=len(table) - len(rows),
    )


def _cells(own: Mapping[Hashable, Any]) -> list[Cell]:
    def number(name: str, text: str) -> Cell:
        value = float(own[name])
        return Cell("–", math.inf, "", "none") if math.isnan(value) else Cell(text, value)

    status = "" if own["status"] == "ok" else str(own["status"])
    latency = number("latency", units.show(own["latency"], "s") if not status else "")
    if status:
        latency = Cell(status, math.inf, str(own["reason"]), "none")
    never = math.isinf(own["break_even"])
    return [
        Cell(str(own["mathematics"]), str(own["mathematics"])),
        Cell(str(own["rung"]), str(own["rung"])),
        Cell(str(own["mode"]), str(own["mode"])),
        *(
            Cell(str(own[name]), float(own[name]))
            for name in ("seq_len", "batch_size", "hidden_size")
        ),
        latency,
        number("ratio", f"{own['ratio']:.3g}"),
        number("low", f"{own['low']:.2f} to {own['high']:.2f}"),
        number("numeric_error", f"{own['numeric_error']:,.0f}"),
        Cell(str(own["engine_precision"] or "–"), str(own["engine_precision"])),
        number("preparation", units.show(_or_none(own["preparation"]), "s")),
        number("break_even", "never" if never else f"{own['break_even']:,.0f}"),
    ]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
