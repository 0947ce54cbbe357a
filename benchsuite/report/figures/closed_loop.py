"""The sine picture: what each trained model makes of a test sequence, and how it goes on alone."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from benchsuite.analysis import measured
from benchsuite.report.figures.figure import INK, Figure, house_style, look, svg_of
from benchsuite.report.figures.slices import left_out

_COLUMNS = 2
_SIZES = ("seq_len", "hidden_size")
#: Models of a figure at most.
_MODELS = 8


def wave_figures(chosen: pd.DataFrame) -> Iterator[Figure]:
    """A figure per task that goes on by itself; each model at its widest and longest case."""
    for measure in dict.fromkeys(chosen["measure"]):
        if not str(measure).endswith("_error"):
            continue
        rows = measured(chosen, str(measure))
        rows = rows[rows["predicted"].notna()]
        rows = rows.sort_values(["seq_len", "hidden_size"]).drop_duplicates("model", keep="last")
        if len(rows):
            yield _figure(str(measure), rows.sort_index())


def _figure(measure: str, rows: pd.DataFrame) -> Figure:
    task = measure.removesuffix("_error")
    drawn, matches = rows.head(_MODELS), ", ".join(dict.fromkeys(rows["match"]))
    lengths, widths = (" or ".join(map(str, dict.fromkeys(rows[n]))) for n in _SIZES)
    title = f"{task}: observed T={lengths} steps, then alone; H={widths}; match={matches}"
    return Figure(
        name=f"{task}-picture".replace("_", "-"),
        title=title,
        caption=(
            "One test sequence that training has not seen. Grey: the truth. Dashed: each model's"
            " outputs, from the vertical line on fed back as its next input. In the titles the"
            f" task's error (mean square, one step ahead) after {task}'s short training. n ="
            f" {len(rows)} models, one seed; match: {matches} held equal."
            + left_out(models=(len(drawn), len(rows)))
        ),
        alt=f"One panel a model. {' '.join(_told(row) for row in rows.to_dict('records'))}",
        svg=_draw(drawn, title),
        data=_data(rows),
    )


def _told(row: Mapping[Hashable, Any]) -> str:
    return f"{row['model']}: error {row['value']:.2g}, {_departs(row)}."


def _departs(row: Mapping[Hashable, Any]) -> str:
    """When the outputs fed back leave the truth, in words."""
    predicted, expected = (np.asarray(row[n], float) for n in ("predicted", "expected"))
    alone = int(row["seq_len"])
    if len(predicted) <= alone:
        return "out of all bounds at its first step alone"
    far = np.flatnonzero(np.abs(predicted - expected)[alone:] > 0.5 * np.ptp(expected) / 2)
    if len(far):
        return f"off by half the amplitude after {far[0] + 1} steps alone"
    return f"within half the amplitude for all {len(predicted) - alone} steps alone"


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
