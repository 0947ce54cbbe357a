"""A card per model: its equation and size, its results, and where its time goes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from benchsuite import units
from benchsuite.analysis import families_of, measured, model_words, unbounded_models, where
from benchsuite.catalog.families import FAMILIES
from benchsuite.catalog.measures import task_of
from benchsuite.catalog.models import MACHINE, MODELS
from benchsuite.profiling.words import MIXED
from benchsuite.profiling.written import MEMORY, TIMELINE, read_explanations

#: Files of a traced case that a card links to, with their names on the page.
_LINKS = (
    ("timeline", TIMELINE),
    ("memory", MEMORY),
    ("trace for Perfetto", "trace.json.gz"),
    ("explanation", "explanation.json"),
)
#: Shares of a step's time below this are not shown.
_LEAST_SHARE = 0.005


def cards(
    chosen: pd.DataFrame, traces: Path | None, directory: Path, roofline: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """One card per model of the records.

    Args:
        chosen: One row per case and measure (see `analysis.newest`).
        traces: Directory of the traces that belong to the records, if any.
        directory: The page's directory, which links are relative to.
        roofline: From `analysis.roofline`.
    """
    explained: dict[str, list[dict[str, Any]]] = {}
    for explanation in read_explanations(traces) if traces else ():
        card = _explained(explanation, directory)
        explained.setdefault(explanation["model"], []).append(card)
    unbounded, family = unbounded_models(chosen), families_of(chosen)
    narrow = chosen[["seq_len", "measure", "status", "unit", "value"]]
    built = where(chosen[["model", "kernel"]], chosen["kernel"] != "")
    kernels = built.groupby("model", sort=False)["kernel"].unique()
    for model in chosen["model"].unique():
        if model == MACHINE:
            continue
        spec = MODELS.known(model)
        rows = narrow[chosen["model"] == model]
        tasks = {str(name): task_of(str(name)) for name in rows["measure"].unique()}
        facts = {
            "parameters": _range(rows, "parameters"),
            "receptive field": "unbounded" if model in unbounded else _field(rows),
            "state of a stream": _range(rows, "state_size"),
            "kernels": ", ".join(kernels.get(model, ())),
            **{f"{task} error": _range(rows, name) for name, task in tasks.items() if task},
        }
        yield {
            "name": model,
            "family": FAMILIES.get(family[str(model)]),
            "summary": spec.summary,
            "equation": spec.equation,
            "facts": {name: text for name, text in facts.items() if text},
            "roofline": [
                sentence.replace("`", "")
                for sentence in model_words(roofline[roofline["model"] == model])
            ],
            "explained": explained.get(model, []),
        }


def _explained(explanation: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The part of a card on one traced case: its id, bound, sentences, shares and links."""
    shares = sorted(explanation["shares"].items(), key=lambda item: -item[1])
    bound = explanation["bound"]
    return {
        "case": explanation["case"],
        "bound": bound if bound == MIXED else f"{bound}-bound",
        "sentences": explanation["sentences"],
        "shares": [(name, f"{share:.1%}") for name, share in shares if share >= _LEAST_SHARE],
        "links": [
            (name, quote(os.path.relpath(explanation["path"] / file, directory)))
            for name, file in _LINKS
            if (explanation["path"] / file).exists()
        ],
    }


def _range(rows: pd.DataFrame, measure: str) -> str:
    """The smallest and largest value of a measure, or an empty string."""
    values = measured(rows, measure)
    if not len(values):
        return ""
    unit = str(values["unit"].iloc[0])
    low, high = values["value"].min(), values["value"].max()
    if task_of(measure):
        ends = [f"{low:.2g}", f"{high:.2g}"]
    else:
        ends = [units.show(low, unit), units.show(high, unit)]
    return " to ".join(dict.fromkeys(ends))


def _field(rows: pd.DataFrame) -> str:
    """The measured receptive fields in words, or an empty string."""
    fields = measured(rows, "receptive_field").sort_values("seq_len")
    if not len(fields):
        return ""
    low, high = fields["value"].min(), fields["value"].max()
    if low == high:
        return f"{low:,.0f} steps at every T"
    first, last = fields.iloc[0], fields.iloc[-1]
    return (
        f"{first['value']:,.0f} steps at T={first['seq_len']},"
        f" {last['value']:,.0f} at T={last['seq_len']}"
    )
