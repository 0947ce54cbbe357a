"""A card per model: what it is, its equation and size, how it did, and where its time goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from benchsuite import units
from benchsuite.analysis import families_of, measured, roofline_words
from benchsuite.catalog.models import MACHINE, MODELS
from benchsuite.report import explanations
from benchsuite.report.figures.receptive_field import unbounded


def cards(
    chosen: pd.DataFrame, traces: Path | None, directory: Path, roofline: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """One card per model of the records.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        traces: Directory of the traces that belong to the records, if any.
        directory: Of the page, which links are relative to.
        roofline: From `analysis.roofline`.
    """
    traced = explanations.cards(traces, directory) if traces else ()
    explained: dict[str, list[dict[str, Any]]] = {}
    for card in traced:
        explained.setdefault(card["model"], []).append(card)
    endless, family = unbounded(chosen), families_of(chosen)
    kernels = chosen[chosen["kernel"] != ""].groupby("model", sort=False)["kernel"].unique()
    for model in dict.fromkeys(chosen["model"]):
        if model == MACHINE:
            continue
        spec = MODELS.known(model)
        rows = chosen[chosen["model"] == model]
        facts = {
            "parameters": _range(rows, "parameters"),
            "receptive field": "without end" if model in endless else _field(rows),
            "state of a stream": _range(rows, "state_size"),
            "kernels": ", ".join(kernels.get(model, ())),
            **{
                f"{str(name).removesuffix('_error')} error": _range(rows, str(name))
                for name in dict.fromkeys(rows["measure"])
                if str(name).endswith("_error")
            },
        }
        yield {
            "name": model,
            "family": family[str(model)],
            "summary": spec.summary,
            "equation": spec.equation,
            "facts": {name: text for name, text in facts.items() if text},
            "said": [
                sentence.replace("`", "")
                for sentence in roofline_words(roofline[roofline["model"] == model])[:2]
            ],
            "explained": explained.get(model, []),
        }


def _range(rows: pd.DataFrame, measure: str) -> str:
    own = measured(rows, measure)
    if not len(own):
        return ""
    unit = str(own["unit"].iloc[0])
    low, high = own["value"].min(), own["value"].max()
    if measure.endswith("_error"):
        ends = [f"{low:.2g}", f"{high:.2g}"]
    else:
        ends = [units.show(low, unit), units.show(high, unit)]
    return " to ".join(dict.fromkeys(ends))


def _field(rows: pd.DataFrame) -> str:
    own = measured(rows, "receptive_field").sort_values("seq_len")
    if not len(own):
        return ""
    low, high = own["value"].min(), own["value"].max()
    if low == high:
        return f"{low:,.0f} steps, whatever T"
    first, last = own.iloc[0], own.iloc[-1]
    return (
        f"{first['value']:,.0f} steps at T={first['seq_len']},"
        f" {last['value']:,.0f} at T={last['seq_len']}"
    )
