"""Figures as SVG: small multiples over batch and hidden size, one colour per model."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from benchsuite import analysis, units
from benchsuite.case import AXES
from benchsuite.report.drawing import Figure, house_style, look, svg_of

_PANEL = ("batch_size", "hidden_size")
_DATA = [*AXES, "measure", "unit", "value", "ci_low", "ci_high", "q25", "q75", "n_samples"]


def scaling_figures(chosen: pd.DataFrame, measures: Iterable[str]) -> Iterator[Figure]:
    """A figure per measure, mode and whatever else is held fixed: value against T, log-log.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        measures: Which measures, in which order; those without values are passed over.
    """
    same = (chosen["input_size"] == chosen["hidden_size"]).all()
    panel = {*_PANEL, "input_size"} if same else {*_PANEL}
    fixed = [name for name in analysis.LINE if name not in panel]
    ok = chosen[(chosen["status"] == "ok") & (chosen["value"] > 0)]
    told = [name for name in fixed if ok[name].nunique() > 1 or name in {"device", "dtype"}]
    for measure in measures:
        rows = ok[ok["measure"] == measure]
        if rows["seq_len"].nunique() < 2:
            continue
        for _, part in rows.groupby(fixed, sort=False):
            first = part.iloc[0]
            own = [
                str(first["mode"]),
                *(_told(n, first[n]) for n in told if n not in {"mode", "match"}),
            ]
            what = measure.replace("_", " ")
            title = f"{what} against sequence length: {', '.join(own)}; match={first['match']}"
            name = re.sub(r"[^a-z0-9]+", "-", f"{measure}-{'-'.join(own)}-{first['match']}".lower())
            lines = analysis.scaling(part, measure)
            yield Figure(
                name=name.strip("-"),
                title=title,
                caption=_caption(part, measure),
                alt=_alt(lines, what),
                svg=_draw(part, lines, title, name),
                data=part[_DATA],
                table=lines,
            )


def _told(name: str, value: object) -> str:
    return str(value) if name in {"device", "dtype"} else f"{name}={value}"


def _caption(part: pd.DataFrame, measure: str) -> str:
    timed = (part["n_samples"] > 1).any()
    how = "Medians with 95 % intervals" if timed else "Exact values"
    return (
        f"{how} of {measure.replace('_', ' ')}; n = {len(part)} cases. Thin lines are the fitted"
        " power laws, exponents in the legends. Equal in all models:"
        f" {', '.join(sorted(part['match'].unique()))}."
    )


def _alt(lines: pd.DataFrame, what: str) -> str:
    """The figure for who cannot see it: how fast each model's lines rise."""
    told = [
        f"{model} as T to the power {exponents.min():.2f} to {exponents.max():.2f}"
        for model, exponents in lines.groupby("model", sort=False)["exponent"]
    ]
    return f"Small multiples over batch and hidden size. {what} grows: {', '.join(told)}."


def _draw(part: pd.DataFrame, lines: pd.DataFrame, title: str, salt: str) -> str:
    batches = sorted(part["batch_size"].unique())
    widths = sorted(part["hidden_size"].unique())
    unit = str(part["unit"].iloc[0])
    divisor, unit_name = units.scale_for(float(part["value"].median()), unit)
    with house_style(salt):
        canvas = Canvas(
            figsize=(max(3.3 * len(widths) + 0.6, 6.5), 2.7 * len(batches) + 0.9),
            layout="constrained",
        )
        canvas.suptitle(textwrap.fill(title, 90), fontsize=10)
        panels = canvas.subplots(len(batches), len(widths), squeeze=False, sharex=True, sharey=True)
        for row, batch in zip(panels, batches, strict=True):
            for axes, width in zip(row, widths, strict=True):
                here = (part["batch_size"] == batch) & (part["hidden_size"] == width)
                fits = lines[(lines["batch_size"] == batch) & (lines["hidden_size"] == width)]
                _panel(axes, part[here], fits, divisor)
                axes.set_title(f"B={batch}, H={width}", fontsize=9)
        for axes in panels[-1]:
            axes.set_xlabel("sequence length T")
        for axes in panels[:, 0]:
            axes.set_ylabel(unit_name or "count")
        return svg_of(canvas)


def _panel(axes: Axes, part: pd.DataFrame, fits: pd.DataFrame, divisor: float) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.grid(visible=True, which="major")
    for model in dict.fromkeys(part["model"]):
        points = part[part["model"] == model].sort_values("seq_len")
        x, y = points["seq_len"].to_numpy(float), points["value"].to_numpy(float) / divisor
        low, high = (points[c].to_numpy(float) / divisor for c in ("ci_low", "ci_high"))
        colour, marker = look(str(model))
        fit = fits[fits["model"] == model]
        label = str(model)
        if len(fit):
            exponent, factor = float(fit["exponent"].iloc[0]), float(fit["factor"].iloc[0])
            label = f"{model}  T^{exponent:.2f}"
            axes.plot(x, factor * x**exponent / divisor, color=colour, linewidth=0.8, alpha=0.7)
        axes.errorbar(
            x,
            y,
            yerr=np.vstack([y - low, high - y]).clip(0),
            fmt=marker,
            color=colour,
            markersize=4,
            elinewidth=1,
            capsize=2,
            label=label,
        )
    lengths = sorted(part["seq_len"].unique())
    if len(lengths) <= 8:
        axes.set_xticks([float(t) for t in lengths], [str(t) for t in lengths])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    if len(part):
        axes.legend(fontsize=7, frameon=False, loc="upper left")
