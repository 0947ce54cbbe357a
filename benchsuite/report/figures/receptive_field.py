"""The figure of receptive fields and effective fields against sequence length."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, NullLocator

from benchsuite.analysis import match_words, measured, unbounded_models
from benchsuite.report.figures.figure import INK, Figure, house_style, look, svg_of

_NAME = "receptive-field"


def field_figures(chosen: pd.DataFrame) -> Iterator[Figure]:
    """One figure, if fields were measured at two sequence lengths or more."""
    shape = ["model", "seq_len"]
    fields = pd.concat([measured(chosen, name) for name in ("receptive_field", "erf95")])
    # One line per model: of several shapes at one length, whose fields may differ, the largest.
    best = fields.sort_values("value").drop_duplicates([*shape, "measure"], keep="last")
    if best["seq_len"].nunique() < 2:
        return
    unbounded = unbounded_models(chosen)
    first = best.iloc[0]
    title = f"Receptive field and effective field: match={first['match']}"
    yield Figure(
        name=_NAME,
        title=title,
        caption=(
            "Solid: receptive field, the timesteps that one output may depend on; it is unbounded"
            f" for {', '.join(unbounded) or 'no model here'}. Dashed: effective field (erf95), the"
            " timesteps that hold 95 % of the gradient norm of one output before training. Grey:"
            f" the whole sequence. n = {len(best)} fields of models {match_words(best)}."
        ),
        alt=_alt(best, unbounded),
        svg=_draw(best, title),
        data=best[[*shape, "hidden_size", "match", "measure", "value"]],
    )


def _alt(best: pd.DataFrame, unbounded: list[str]) -> str:
    longest = best[best["seq_len"] == best["seq_len"].max()]
    fields = [f"{r.model} {r.measure} {r.value:.0f}" for r in longest.itertuples()]
    words = f"At T = {best['seq_len'].max()}, in steps: {', '.join(fields)}."
    return words + (f" Unbounded: {', '.join(unbounded)}." if unbounded else "")


def _draw(best: pd.DataFrame, title: str) -> str:
    with house_style(_NAME):
        canvas = Canvas(figsize=(6.5, 3.8), layout="constrained")
        axes = canvas.subplots()
        lengths = [float(length) for length in sorted(best["seq_len"].unique())]
        axes.plot(lengths, lengths, color=INK, linewidth=4, alpha=0.15)
        for (measure, model), fields in best.groupby(["measure", "model"], sort=False):
            rows = fields.sort_values("seq_len")
            colour, marker = look(str(model))
            whole = measure == "receptive_field"
            axes.plot(
                rows["seq_len"].to_numpy(float),
                rows["value"].to_numpy(float),
                "-" if whole else "--",
                marker=marker,
                color=colour,
                markersize=4,
                linewidth=1.3,
                label=f"{model}: {'field' if whole else 'erf95'}",
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.grid(visible=True, which="major")
        axes.set_xticks(lengths, [f"{length:g}" for length in lengths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda steps, _: f"{steps:g}"))
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("sequence length T")
        axes.set_ylabel("timesteps")
        axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return svg_of(canvas)
