"""Roofline figures: the rate of each case below the highest rates of the machine."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchsuite import analysis, units
from benchsuite.report.figures.figure import INK, Figure, house_style, label, look, svg_of
from benchsuite.report.figures.slices import Slice, evenly, slices
from benchsuite.report.figures.tiles import WIDTH, narrow

_SHOWN = ("seq_len", "batch_size", "hidden_size", "mode")
#: Points in a panel at most.
_MOST_POINTS = 1000


def roofline_figures(chosen: pd.DataFrame, table: pd.DataFrame | None = None) -> Iterator[Figure]:
    """A figure per device, dtype, number of threads and match; none without ceilings and counts.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        table: `analysis.roofline` of it, if that was computed already.
    """
    table = analysis.roofline(chosen) if table is None else table
    for part in slices(table, _SHOWN):
        yield _figure(part)


def _figure(part: Slice) -> Figure:
    rows = part.rows
    title = f"Roofline: {part.words}"
    name = f"roofline-{part.slug}"
    first = rows.iloc[0]
    rate, bandwidth = (
        f"{units.show(first[n], unit)} ({units.show(first[f'{n}_low'], unit)} to"
        f" {units.show(first[f'{n}_high'], unit)})"
        for n, unit in (("matmul_rate", "FLOP/s"), ("copy_bandwidth", "B/s"))
    )
    above = int((rows["fraction"] > 1).sum())
    caption = (
        "Each small point is a case. Large points are medians over T and H, one per batch size from"
        f" B={rows['batch_size'].min()} (usually the lowest) to B={rows['batch_size'].max()},"
        f" joined by lines. n = {len(rows)} cases. Black: the bound, from rates measured on this"
        f" machine: {rate} by a large matrix product, {bandwidth} by a long copy. Bytes are the"
        " least that a step must move (parameters, input and output; in training also gradients and"
        " saved activations); cases whose data stay in a cache can exceed the bound"
        f" ({above} of {len(rows)} do)."
    )
    if rows["tf32"].any():
        caption += " The horizontal part is for IEEE float32; cuDNN may use TF32 and exceed it."
    drawn = rows
    if len(rows) > _MOST_POINTS:
        drawn = rows.loc[evenly(rows.index.to_series(), _MOST_POINTS)]
        caption += f" Small points drawn: {len(drawn)} of {len(rows)}; the data file has all."
    return Figure(
        name=name,
        title=title,
        caption=caption + part.note,
        alt=_alt(fraction_table(rows)),
        svg=_draw(rows, drawn, title, name),
        data=rows,
        table=fraction_table(rows),
    )


def _alt(table: pd.DataFrame) -> str:
    """Alternative text: the part of the bound that each model reaches, by batch size."""
    words = []
    for mode, rows in table.groupby("mode", sort=False):
        parts = []
        for model, own in rows.groupby("model", sort=False):
            ends = own.sort_values("batch_size")["median"].iloc[[0, -1]].drop_duplicates()
            parts.append(f"{model} {' to '.join(f'{100 * m:.2g} %' for m in ends)}")
        words.append(f"{mode}: {', '.join(parts)}.")
    return f"Median part of the bound reached, smallest to largest batch. {' '.join(words)}"


def fraction_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Fractions of the bound by mode, model and batch size.

    Args:
        rows: From `analysis.roofline`.

    Returns:
        `mode, model, batch_size, cases`, the `median` and `best` fraction of the bound, and
        `memory_bound`, the number of cases whose bound is memory.
    """
    table = rows.assign(memory=rows["bound"] == "memory")
    return table.groupby(["mode", "model", "batch_size"], sort=False, as_index=False).agg(
        cases=("fraction", "size"),
        median=("fraction", "median"),
        best=("fraction", "max"),
        memory_bound=("memory", "sum"),
    )


def _draw(rows: pd.DataFrame, drawn: pd.DataFrame, title: str, salt: str) -> str:
    modes = list(rows["mode"].unique())
    models = list(rows["model"].unique())
    height = 2.7 * len(modes) + 0.5 + 0.2 * -(-len(models) // 2)
    with house_style(salt):
        canvas = Canvas(figsize=(WIDTH / 72, height), layout="constrained")
        canvas.suptitle(textwrap.fill(title, 52), fontsize=10, fontweight="bold", x=0.01, ha="left")
        panels = canvas.subplots(len(modes), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
        for axes, mode in zip(panels, modes, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(visible=True, which="major")
            axes.set_title(str(mode), fontsize=9, loc="left")
            for model in models:
                at = [f[(f["mode"] == mode) & (f["model"] == model)] for f in (drawn, rows)]
                _cloud(axes, str(model), *at)
            axes.set_ylabel("achieved")
            axes.yaxis.set_major_formatter(
                FuncFormatter(lambda rate, _: units.show(rate, "FLOP/s"))
            )
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
        x = rows["intensity"]
        for axes in panels:
            _roof(axes, rows.iloc[0], float(x.min()), float(x.max()), float(rows["achieved"].max()))
        panels[-1].set_xlabel("arithmetic intensity, FLOP/B")
        handles = [
            Line2D([], [], color=look(str(m))[0], marker=look(str(m))[1], lw=1) for m in models
        ]
        names = [label(str(model)) for model in models]
        canvas.legend(
            handles, names, loc="outside lower center", ncols=3, fontsize=9, frameon=False
        )
        return narrow(svg_of(canvas))


def _cloud(axes: Axes, model: str, drawn: pd.DataFrame, rows: pd.DataFrame) -> None:
    colour, marker = look(model)
    axes.scatter(drawn["intensity"], drawn["achieved"], s=6, color=colour, alpha=0.5, lw=0)
    medians = rows.groupby("batch_size")[["intensity", "achieved"]].median()
    axes.plot(
        medians["intensity"],
        medians["achieved"],
        marker=marker,
        color=colour,
        markersize=5,
        linewidth=1,
    )


def _roof(axes: Axes, machine: pd.Series[float], low: float, high: float, highest: float) -> None:
    """The two ceilings, from below the smallest intensity to above the largest."""
    rate, bandwidth = float(machine["matmul_rate"]), float(machine["copy_bandwidth"])
    ridge = rate / bandwidth
    x = np.array([min(low, ridge) / 2, ridge, max(high, ridge) * 2])
    axes.plot(x, np.minimum(rate, bandwidth * x), color=INK, linewidth=1.5)
    axes.set_ylim(top=max(rate, highest) * 3)
    axes.annotate(
        units.show(rate, "FLOP/s"),
        (x[-1], rate),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        ha="right",
    )
    axes.annotate(
        units.show(bandwidth, "B/s"),
        (x[0], bandwidth * x[0]),
        xytext=(9, -2),
        textcoords="offset points",
        fontsize=8,
    )
