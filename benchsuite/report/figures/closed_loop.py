"""The sine picture: each trained model's outputs for a test sequence, and its continuation."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from benchsuite.analysis import match_words, measured
from benchsuite.catalog.measures import task_of
from benchsuite.report.figures.figure import INK, Figure, house_style, look, svg_of
from benchsuite.report.figures.slices import left_out

_COLUMNS = 2
_SIZES = ("seq_len", "hidden_size")
#: Models in a figure at most.
_MODELS = 8


def wave_figures(chosen: pd.DataFrame) -> Iterator[Figure]:
    """A figure per forecasting task, with each model's widest and longest case."""
    for measure in chosen["measure"].unique():
        if not task_of(str(measure)):
            continue
        rows = measured(chosen, str(measure))
        rows = rows[rows["predicted"].notna()]
        rows = rows.sort_values(["seq_len", "hidden_size"]).drop_duplicates("model", keep="last")
        if len(rows):
            yield _figure(str(measure), rows.sort_index())


def _figure(measure: str, rows: pd.DataFrame) -> Figure:
    task = task_of(measure)
    drawn, matches = rows.head(_MODELS), ", ".join(rows["match"].unique())
    lengths, widths = (" or ".join(map(str, rows[n].unique())) for n in _SIZES)
    title = f"{task}: T={lengths} steps observed, then continued; H={widths}; match={matches}"
    return Figure(
        name=f"{task}-picture".replace("_", "-"),
        title=title,
        caption=(
            "One test sequence that was not used in training. Grey: the true sequence. Dashed: each"
            " model's outputs; from the vertical line on, each output is the model's next input."
            f" The number after a model's name is its error on {task} (mean square, one step ahead)"
            f" after a short training. n = {len(rows)} models {match_words(rows)}, one seed."
            + left_out(models=(len(drawn), len(rows)))
        ),
        alt=f"A panel per model. {' '.join(_words(row) for row in rows.to_dict('records'))}",
        svg=_draw(drawn, title),
        data=_data(rows),
    )


def _words(row: Mapping[Hashable, Any]) -> str:
    return f"{row['model']}: error {row['value']:.2g}, {_departs(row)}."


def _departs(row: Mapping[Hashable, Any]) -> str:
    """When the continuation departs from the true sequence, in words."""
    predicted, expected = (np.asarray(row[n], float) for n in ("predicted", "expected"))
    alone = int(row["seq_len"])
    if len(predicted) <= alone:
        return "not finite from the first continued step on"
    far = np.flatnonzero(np.abs(predicted - expected)[alone:] > 0.5 * np.ptp(expected) / 2)
    if len(far):
        return f"off by half the amplitude after {far[0] + 1} continued steps"
    return f"within half the amplitude for all {len(predicted) - alone} continued steps"


def _data(rows: pd.DataFrame) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {
                "model": row["model"],
                "timestep": np.arange(len(row["predicted"])) + 1,
                "predicted": row["predicted"],
                "expected": row["expected"],
            }
        )
        for row in rows.to_dict("records")
    ]
    return pd.concat(parts, ignore_index=True)


def _draw(rows: pd.DataFrame, title: str) -> str:
    count = math.ceil(len(rows) / _COLUMNS)
    with house_style(title):
        canvas = Canvas(figsize=(6.8, 1.5 * count + 0.6), layout="constrained")
        canvas.suptitle(title, fontsize=10)
        panels = canvas.subplots(count, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel()
        highest = max(np.abs(values).max() for values in rows["expected"])
        for axes, row in zip(panels, rows.to_dict("records"), strict=False):
            colour, _ = look(row["model"])
            steps = np.arange(len(row["predicted"])) + 1
            axes.plot(steps, row["expected"], color=INK, linewidth=3, alpha=0.2)
            axes.plot(steps, row["predicted"], "--", color=colour, linewidth=1.2)
            axes.axvline(row["seq_len"], color=INK, linewidth=0.8, alpha=0.5)
            axes.set_title(f"{row['model']}: {row['value']:.1e}", fontsize=8)
            axes.set_ylim(-1.6 * highest, 1.6 * highest)
        for axes in panels[len(rows) :]:
            axes.set_visible(False)
        for axes in panels[-_COLUMNS:]:
            axes.set_xlabel("timestep")
        return svg_of(canvas)
