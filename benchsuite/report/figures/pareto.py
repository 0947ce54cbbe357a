"""Pareto figures: each model's task error against the time of a step, with receptive fields."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchsuite import analysis, units
from benchsuite.catalog.tasks import TASKS
from benchsuite.report.figures.figure import INK, Figure, house_style, label, look, svg_of
from benchsuite.report.figures.slices import Slice, slices
from benchsuite.report.figures.tiles import WIDTH, narrow

_SHOWN = ("hidden_size", "mode")
_MOST_POINTS = 400


def pareto_figures(chosen: pd.DataFrame) -> Iterator[Figure]:
    """A figure per task whose error was measured for cases that were timed.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
    """
    measures = set(chosen["measure"])
    for task in TASKS.names():
        if f"{task}_error" not in measures:
            continue
        joined = analysis.pareto(chosen, f"{task}_error")
        if not (joined["error"] > 0).any():
            continue
        for part in slices(joined, _SHOWN, named=("seq_len", "batch_size")):
            if (part.rows["error"] > 0).any():
                yield _figure(part, task)


def _figure(part: Slice, task: str) -> Figure:
    rows = part.rows
    title = f"Error on {task} against time and field: {part.words}"
    name = f"pareto-{task.replace('_', '-')}-{part.slug}"
    n = int(rows["error"].notna().sum())
    modes = " and ".join(dict.fromkeys(rows["mode"]))
    widths = ", ".join(map(str, sorted(rows["hidden_size"].unique())))
    caption = (
        f"Error on unseen data after one short training against the time of one step ({modes}) of"
        f" the same case; larger marks are wider models (H = {widths}). Line: the Pareto front, the"
        " models of which no faster one has an error that is as low (errors within"
        f" {analysis.CLEARLY - 1:.0%} count as equal). Legend: receptive field, in steps. Crosses"
        f" at the top: the training failed. n = {n} points, each of one training. Steps were timed"
        " with the grid's input size, which differs from the task's."
    )
    if len(rows) > _MOST_POINTS:
        caption += f" Drawn: the first {_MOST_POINTS} of {len(rows)} cases; the data file has all."
    return Figure(
        name=name,
        title=title,
        caption=caption + part.note,
        alt=_alt(rows),
        svg=_draw(rows.head(_MOST_POINTS), title, name),
        data=rows,
    )


def _field(steps: float) -> str:
    if np.isnan(steps):
        return "field not known"
    return "unbounded" if np.isinf(steps) else f"{steps:g}"


def _alt(rows: pd.DataFrame) -> str:
    words = []
    for mode, own in rows.groupby("mode", sort=False):
        front = own[own["front"]].sort_values("latency")
        cases = [
            f"{model} H={H} ({units.show(latency, 's')}, error {error:.2g}, field {_field(field)})"
            for model, H, latency, error, field in zip(
                *(front[n] for n in ("model", "hidden_size", "latency", "error", "field")),
                strict=True,
            )
        ]
        words.append(f"{mode}: the front is {', '.join(cases)}.")
    failed = rows[rows["error"].isna()].drop_duplicates(["model", "hidden_size"])
    words += [f"{r.model} H={r.hidden_size} {r.status}: {r.reason}." for r in failed.itertuples()]
    return " ".join(words)


def _draw(rows: pd.DataFrame, title: str, salt: str) -> str:
    modes = list(dict.fromkeys(rows["mode"]))
    models = list(dict.fromkeys(rows["model"]))
    legend_rows = -(-len(models) // 2)
    height = 2.5 * len(modes) + 0.5 + 0.2 * legend_rows
    with house_style(salt):
        canvas = Canvas(figsize=(WIDTH / 72, height), layout="constrained")
        canvas.suptitle(textwrap.fill(title, 52), fontsize=10, fontweight="bold", x=0.01, ha="left")
        panels = canvas.subplots(len(modes), 1, squeeze=False, sharey=True)[:, 0]
        for axes, mode in zip(panels, modes, strict=True):
            _panel(axes, rows[rows["mode"] == mode])
            axes.set_xlabel(f"time of a step, {mode}")
            axes.set_ylabel("error")
        handles = []
        for model in models:
            colour, marker = look(str(model))
            field = _field(float(rows.loc[rows["model"] == model, "field"].iloc[0]))
            handles.append(Line2D([], [], color=colour, marker=marker, ls="", label=""))
            handles[-1].set_label(f"{label(str(model))}: {field}")
        canvas.legend(
            handles=handles, loc="outside lower center", ncols=2, fontsize=9, frameon=False
        )
        return narrow(svg_of(canvas))


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(visible=True, which="major")
    widths = sorted(rows["hidden_size"].unique())
    good = rows[rows["error"] > 0]
    for (model, width), own in good.groupby(["model", "hidden_size"], sort=False):
        colour, marker = look(str(model))
        size = 4 + 5 * widths.index(width) / max(len(widths) - 1, 1)
        axes.plot(own["latency"], own["error"], marker, color=colour, markersize=size, mew=0)
    for row in good[good["front"]].itertuples():
        axes.annotate(
            f"H={row.hidden_size}",
            (row.latency, row.error),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
        )
    front = rows[rows["front"]].sort_values("latency")
    axes.plot(front["latency"], front["error"], color=INK, linewidth=1, zorder=1)
    failed = rows[rows["error"].isna()]
    for model, own in failed.groupby("model", sort=False):
        top = np.full(len(own), 0.97)
        across = axes.get_xaxis_transform()
        axes.plot(own["latency"], top, "x", color=look(str(model))[0], transform=across)
    for row in failed.itertuples():
        axes.annotate(
            f"H={row.hidden_size} {row.status}",
            (row.latency, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(5, -3),
            textcoords="offset points",
            fontsize=8,
        )
    axes.margins(0.18, 0.15)
    for axis, name in ((axes.xaxis, "latency"), (axes.yaxis, "error")):
        narrow_span = good[name].max() < 20 * good[name].min()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow_span else (1.0,)))
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: units.show(seconds, "s")))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda error, _: f"{error:g}"))
