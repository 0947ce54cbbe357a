"""Scaling figures: value against sequence length, a panel per batch and hidden size."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullLocator

from benchsuite import analysis, units
from benchsuite.grid.axes import AXES
from benchsuite.records.schema import SMALLEST
from benchsuite.report.figures.figure import Figure, house_style, look, svg_of
from benchsuite.report.figures.slices import evenly, slices

_PANEL = ("batch_size", "hidden_size")
#: Panels in a row and in a column at most; the data file beside the figure has all cases.
_SIDE = 3
#: Lines in a panel that can be distinguished; with more models some executions are left out.
_MODELS = 12
#: Figures of a page at most.
_FIGURES = 8
_FIT = ("model", "overhead", "slope")
_DATA = [*AXES, "measure", "unit", "value", "ci_low", "ci_high", "q25", "q75", "n_samples"]


def scaling_figures(
    chosen: pd.DataFrame,
    measures: Iterable[str],
    floors: Mapping[str, analysis.Noise] = MappingProxyType({}),
) -> Iterator[Figure]:
    """A figure per measure, mode and other axes that vary: value against T, log-log.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        measures: Measures, in the order of the figures; those without values are skipped.
        floors: Noise floors by measure; others are estimated from the frame.
    """
    columns = (*_DATA, "case", "version", "machine", "commit", "tree", "torch", "status")
    narrow = chosen[list(dict.fromkeys((*columns, *analysis.noise_columns(chosen))))]
    ok = analysis.where(narrow, (chosen["status"] == "ok") & (chosen["value"] >= SMALLEST))
    fastest = analysis.fastest_executions(chosen)
    drawn = 0
    for measure in measures:
        rows = analysis.where(ok, ok["measure"] == measure)
        if rows["seq_len"].nunique() < 2:
            continue
        noise = floors.get(measure) or analysis.floor(rows, measure)
        for part in slices(rows, {"seq_len", *_PANEL}, most=_FIGURES - drawn):
            drawn += 1
            what = measure.replace("_", " ")
            title = f"{what} against sequence length: {part.words}"
            name = f"{measure.replace('_', '-')}-{part.slug}"
            shown = part.rows
            note = ""
            if shown["model"].nunique() > _MODELS:
                shown = shown[shown["model"].isin(fastest)]
                note = " Drawn: of each mathematics, the execution that is fastest most often."
            for axis in _PANEL:
                shown = shown[shown[axis].isin(evenly(shown[axis], _SIDE))]
            sigma, degrees = analysis.spread_and_degrees(shown, noise)
            shown = shown.assign(half=sigma * analysis.critical((sigma, degrees)))
            lines = analysis.laws(shown, measure, noise=noise)
            yield Figure(
                name=name,
                title=title,
                caption=_caption(part.rows, shown, noise) + note + part.note,
                alt=_alt(lines, what),
                svg=_draw(shown, lines, title, name),
                data=part.rows[_DATA],
            )
        if drawn == _FIGURES:
            return


def _caption(part: pd.DataFrame, shown: pd.DataFrame, noise: analysis.Noise) -> str:
    timed = (part["n_samples"] > 1).any()
    bands = f"bands: 95 % intervals, {noise.words}"
    less = len(part) - len(shown)
    return (
        f"{'Medians; ' + bands if timed else 'Exact values'}. n = {len(part)} cases"
        f"{f', {less} of which are in the data file only' if less else ''}; models are compared"
        f" {analysis.match_words(part)}. Thin lines: fits of a + b·T. The legend gives the"
        " exponents of fits of c·T^p, smallest to largest over the panels."
    )


def _alt(lines: pd.DataFrame, what: str) -> str:
    """Alternative text: how fast each model's lines rise."""
    exponents_of = [
        f"{model} as T to the power {exponents.min():.2f} to {exponents.max():.2f}"
        for model, exponents in lines.groupby("model", sort=False)["exponent"]
    ]
    return f"A panel per batch and hidden size. {what} grows: {', '.join(exponents_of)}."


def _draw(part: pd.DataFrame, lines: pd.DataFrame, title: str, salt: str) -> str:
    batches = sorted(part["batch_size"].unique())
    widths = sorted(part["hidden_size"].unique())
    unit = str(part["unit"].iloc[0])
    divisor, unit_name = units.scale_for(float(part["value"].median()), unit)
    with house_style(salt):
        canvas = Canvas(
            figsize=(max(3.0 * len(widths) + 0.6, 6.5), 2.3 * len(batches) + 1.3),
            layout="constrained",
        )
        canvas.suptitle(textwrap.fill(title, 90), fontsize=10)
        panels = canvas.subplots(len(batches), len(widths), squeeze=False, sharex=True, sharey=True)
        points = part[["model", *_PANEL, "seq_len", "value", "half"]]
        names = ["model", *_PANEL, "overhead", "slope"]
        fits = lines[names].drop_duplicates(["model", *_PANEL])
        for axes in panels.flat:  # each of hundreds of artists would scale all panels again
            axes.set_autoscale_on(False)
        for row, batch in zip(panels, batches, strict=True):
            for axes, width in zip(row, widths, strict=True):
                here, fit = (
                    rows[(rows["batch_size"] == batch) & (rows["hidden_size"] == width)]
                    for rows in (points, fits)
                )
                _panel(axes, here, fit, divisor)
                axes.set_title(f"B={batch}, H={width}", fontsize=9)
        for axes in panels.flat:
            axes.set_autoscale_on(True)
            axes.autoscale_view()
        drawn = {
            line.get_label(): line
            for line in (line for axes in panels.flat for line in axes.get_lines())
            if line.get_marker() != "None"
        }
        canvas.legend(
            handles=list(drawn.values()),
            labels=[_label(str(model), lines) for model in drawn],
            loc="outside lower center",
            ncols=3,
            fontsize=8,
            frameon=False,
        )
        for axes in panels[-1]:
            axes.set_xlabel("sequence length T")
        for axes in panels[:, 0]:
            axes.set_ylabel(unit_name or "count")
        return svg_of(canvas)


def _label(model: str, lines: pd.DataFrame) -> str:
    exponents = lines.loc[lines["model"] == model, "exponent"]
    if not len(exponents):
        return model
    low, high = f"{exponents.min():.2f}", f"{exponents.max():.2f}"
    return f"{model}  T^{low}" + ("" if low == high else f" to {high}")


def _panel(axes: Axes, part: pd.DataFrame, fits: pd.DataFrame, divisor: float) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.grid(visible=True, which="major")
    law = {model: (a, b) for model, a, b in zip(*(fits[n] for n in _FIT), strict=True)}
    columns = {name: part[name].to_numpy(float) for name in ("seq_len", "value", "half")}
    for model in dict.fromkeys(part["model"]):
        rows = np.flatnonzero(part["model"] == model)
        rows = rows[np.argsort(columns["seq_len"][rows], kind="stable")]
        x, y, half = (column[rows] for column in columns.values())
        y = y / divisor
        colour, marker = look(str(model))
        if model in law:
            at: Any = np.geomspace(x[0], x[-1], 32)
            line = (law[model][0] + law[model][1] * at) / divisor
            axes.plot(at, line, color=colour, linewidth=0.8, alpha=0.7)
        if half.any():
            axes.fill_between(
                x, y * np.exp(-half), y * np.exp(half), color=colour, alpha=0.18, linewidth=0
            )
        axes.plot(x, y, marker, color=colour, markersize=4, label=str(model))
    lengths = sorted(part["seq_len"].unique())
    if len(lengths) <= 8:
        axes.set_xticks([float(t) for t in lengths], [str(t) for t in lengths])
        axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
