"""The figure of gradient norm against lag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullLocator

from benchsuite.catalog.families import FAMILIES
from benchsuite.catalog.models import MODELS
from benchsuite.report.figures.figure import house_style, look, svg_of

#: Gradients below this part of the largest one are not drawn.
_FLOOR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One model's line.

    Attributes:
        lags: In steps (K), ascending.
        norm: Gradient norm (K); zeros are left out.
        error: Its standard error (K); a band of twice as much is drawn.
        marks: Lags with a marker.
        note: Text after the model's name in the legend.
    """

    lags: npt.NDArray[np.int64]
    norm: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    marks: Sequence[int]
    note: str


def lag_figure(curves: Mapping[str, Curve], title: str) -> str:
    """All models on one pair of axes, as an SVG document; both are logarithmic, lag from 1 on."""
    with house_style("field"):
        canvas = Canvas(figsize=(7.6, 4.6), layout="constrained")
        axes = canvas.subplots()
        top = max(curve.norm.max() for curve in curves.values())
        ends = []
        for model, curve in curves.items():
            drawn = curve.norm > top * _FLOOR
            lags, norm, error = curve.lags[drawn], curve.norm[drawn], curve.error[drawn]
            ends += [lags.min(), lags.max()]
            colour, marker = look(model)
            dashed = FAMILIES.get(MODELS.known(model).family).dashed
            axes.plot(
                lags,
                norm,
                color=colour,
                linestyle="--" if dashed else "-",
                linewidth=1.3 if dashed else 0.8,
                marker=marker,
                markersize=5,
                markevery=np.flatnonzero(np.isin(lags, curve.marks)).tolist(),
                label=f"{model}: {curve.note}",
            )
            low = (norm - 2 * error).clip(top * _FLOOR)
            axes.fill_between(lags, low, norm + 2 * error, color=colour, alpha=0.12, linewidth=0)
        axes.set_yscale("log")
        axes.set_ylim(top * _FLOOR, top * 2)
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.set_xlim(min(0, *ends) * 1.05 - 0.1, max(ends) * 1.05 + 0.1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda lag, _: f"{lag:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(visible=True, which="major")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(
            "lag k in timesteps (marked: where 50 % and 95 % of the gradient are reached)"
        )
        axes.set_ylabel("gradient norm E |∂y(t) / ∂x(t−k)|")
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return svg_of(canvas)
