"""One mathematics in several executions: ratios to one of them, and where they cross."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from benchsuite.analysis.crossover import crossover_sentence
from benchsuite.analysis.fastest import fastest
from benchsuite.analysis.model_facts import executed
from benchsuite.analysis.noise import Noise, critical, floor, spread_and_degrees
from benchsuite.analysis.select import SHAPE, axes_to_name, axis_words, measured
from benchsuite.analysis.speedup import REFERENCE
from benchsuite.catalog.models import MODELS
from benchsuite.records.frame import group_numbers
from benchsuite.units import two_digits

#: The baseline of a mathematics is its first execution here that was measured, or else the first of
#: the catalog.
_BASELINES = ("library", "Python loop", "fused loop")
#: The measure of how far an execution is from exact arithmetic.
ERROR = "numeric_error"
#: Crossings that a sentence names at most.
_FEW = 3
_SIZES = {"batch_size": "B", "hidden_size": "H"}


def executions(
    frame: pd.DataFrame, measure: str = "latency", *, noise: Noise | None = None
) -> pd.DataFrame:
    """Every value of a mathematics that was measured in two executions or more.

    Args:
        frame: One row per case and measure (see `newest`).
        measure: One for which lower is better.
        noise: The floor; by default estimated from the frame (see `noise.floor`).

    Returns:
        A row per case, by mathematics in the order of the catalog: `mathematics`, `execution`,
        `model`, the columns of `SHAPE`, `unit`, `value`, `half` (half the width of its logarithm's
        95 % interval), `baseline`: the execution of the same mathematics that it is compared
        with (library, Python loop or fused loop where they were measured, else the catalog's
        first), `ratio` (the baseline's value over its own), `low`, `high` (95 %), and `separable`
        from one; NaN and False where the baseline has no value. `reference` and `reference_ratio`
        with its `reference_low` and `reference_high` compare with `torch.nn.LSTM` in the same way,
        where it was measured. `numeric_error` is that of the same case, NaN where not measured.
    """
    rows = measured(frame, measure)
    by_model = {name: MODELS.get(name) for name in MODELS.names() if name in {*rows["model"]}}
    number: dict[str, set[str]] = {}
    for spec in by_model.values():
        number.setdefault(spec.mathematics, set()).add(spec.execution)
    several = [m for m, spec in by_model.items() if len(number[spec.mathematics]) > 1]
    sigma, degrees = spread_and_degrees(rows, noise or floor(frame, measure))
    rows = rows.assign(log=np.log(rows["value"].to_numpy(float)), sigma=sigma, degrees=degrees)
    rows = rows[["model", *SHAPE, "unit", "value", "log", "sigma", "degrees"]]
    own = rows[rows["model"].isin(several)]
    own = own.assign(
        mathematics=[by_model[m].mathematics for m in own["model"]],
        execution=[by_model[m].execution for m in own["model"]],
        half=own["sigma"] * critical((own["sigma"], own["degrees"])),
        baseline=own["model"].map(_baselines(several)),
        reference=REFERENCE if (rows["model"] == REFERENCE).any() else "",
    )
    own = _compared(own, rows, "baseline", "")
    own = _compared(own, rows, "reference", "reference_")
    errors = measured(frame, ERROR).drop_duplicates(["model", *SHAPE], keep="last")
    errors = errors[["model", *SHAPE, "value"]].rename(columns={"value": ERROR})
    own = own.merge(errors, on=["model", *SHAPE], how="left")
    order = {name: place for place, name in enumerate(by_model)}
    own = own.sort_values(
        ["model", "seq_len"], key=lambda x: x.map(order) if x.name == "model" else x
    )
    columns = ["mathematics", "execution", "model", *SHAPE, "unit", "value", "half", "baseline"]
    columns += ["ratio", "low", "high", "separable", "reference"]
    columns += ["reference_ratio", "reference_low", "reference_high", ERROR]
    return own[columns].reset_index(drop=True)


def _baselines(models: Sequence[str]) -> dict[str, str]:
    """Model → the baseline of its mathematics."""
    groups: dict[str, dict[str, str]] = {}
    for model in models:
        spec = MODELS.get(model)
        groups.setdefault(spec.mathematics, {}).setdefault(spec.execution, model)
    chosen = {
        mathematics: next((own[e] for e in _BASELINES if e in own), next(iter(own.values())))
        for mathematics, own in groups.items()
    }
    return {model: chosen[MODELS.get(model).mathematics] for model in models}


def _compared(own: pd.DataFrame, rows: pd.DataFrame, to: str, prefix: str) -> pd.DataFrame:
    """The rows with their ratio to the model that the column `to` names, at the same shape."""
    base = rows.rename(columns={"model": to, "log": "log_to", "sigma": "by", "degrees": "of"})
    keys = [to, *SHAPE]
    own = own.merge(base[[*keys, "log_to", "by", "of"]], on=keys, how="left")
    ratio = own["log_to"] - own["log"]
    sides = (own["sigma"], own["degrees"]), (own["by"].fillna(0.0), own["of"].fillna(np.inf))
    half = critical(*sides) * np.hypot(own["sigma"], own["by"])
    columns = {
        f"{prefix}ratio": np.exp(ratio),
        f"{prefix}low": np.exp(ratio - half),
        f"{prefix}high": np.exp(ratio + half),
    }
    if not prefix:
        columns["separable"] = (ratio.abs() > half).fillna(value=False)
    return own.drop(columns=["log_to", "by", "of"]).assign(**columns)


def execution_crossings(crossed: pd.DataFrame) -> pd.DataFrame:
    """The rows of `crossovers` that compare two executions of one mathematics, which is named."""
    known = {name: MODELS.get(name).mathematics for name in MODELS.names()}
    a, b = (crossed[side].map(known) for side in "ab")
    return crossed.assign(mathematics=a)[(a == b).to_numpy(bool)].reset_index(drop=True)


def execution_words(
    frame: pd.DataFrame,
    table: pd.DataFrame,
    crossed: pd.DataFrame,
    *,
    noise: Noise | None = None,
) -> list[str]:
    """A sentence per mathematics on its fastest execution, and one on crossings.

    Args:
        frame: As for `executions`, whose measure is latency.
        table: From `executions`.
        crossed: From `execution_crossings`.
        noise: As for `executions`.
    """
    noise = noise or floor(frame, "latency")
    sentences = []
    for mathematics, rows in table.groupby("mathematics", sort=False):
        ranked = fastest(frame[frame["model"].isin(rows["model"].unique())], noise=noise)
        alone = ranked[["model", *SHAPE, "separable"]]  # from every other execution
        won = alone.merge(rows.drop(columns="separable"), on=["model", *SHAPE])
        sentences.append(f"{mathematics}: {_winners(won)}.")
    return sentences + _crossing_words(crossed)


def _winners(won: pd.DataFrame) -> str:
    """The execution that is fastest most often, and how many times as fast as the baselines."""
    counts = won.loc[won["separable"], "model"].value_counts()
    parts: list[str] = []
    for model, count in counts.items():
        own = won[won["separable"] & (won["model"] == model)]
        by = " and ".join(
            f"{_span(own[f'{prefix}ratio'])} as fast as {executed(str(own[name].iloc[0]))}"
            for name, prefix in (("baseline", ""), ("reference", "reference_"))
            if own[name].iloc[0] != model
            and own[f"{prefix}ratio"].notna().any()
            and not (prefix and (own["reference"] == own["baseline"]).all())  # the same ratio
        )
        median = ": in the median " if count > 1 else ": "
        verb, shapes = (
            ("is fastest ", f"{count} of {len(won)} shapes") if not parts else ("", count)
        )
        parts.append(f"{executed(str(model))} {verb}in {shapes}{by and median + by}")
    rest = int((~won["separable"]).sum())
    if rest:
        parts.append(f"in {rest} of {len(won)} the fastest two cannot be distinguished")
    return "; ".join(parts)


def _span(ratio: pd.Series[float]) -> str:
    low, middle, high = (two_digits(value) for value in ratio.quantile([0, 0.5, 1]))
    return f"{middle} times" + ("" if low == high else f" ({low} to {high})")


def _crossing_words(crossed: pd.DataFrame) -> list[str]:
    """A sentence on the first crossings, with the lines that they are on."""
    rows = crossed[crossed["verdict"] == "crosses"]
    if not len(rows):
        return []
    named = axes_to_name(crossed)
    named += [name for name in _SIZES if crossed[name].nunique() > 1]
    parts = []
    for row in rows.head(_FEW).to_dict("records"):
        where = [f"{_SIZES[n]}={row[n]}" if n in _SIZES else axis_words(n, row[n]) for n in named]
        parts.append(f"{', '.join(where)}: {crossover_sentence(row)}")
    more = f"; {len(rows) - _FEW} more in the table" if len(rows) > _FEW else ""
    return [
        f"Executions of one mathematics cross in {len(rows)} of {len(crossed)} comparisons over T:"
        f" {'; '.join(parts)}{more}."
    ]


def fastest_executions(frame: pd.DataFrame, measure: str = "latency") -> list[str]:
    """The models of a frame, of each mathematics only the execution that is lowest most often."""
    models = [str(model) for model in frame["model"].unique()]
    known = {m: MODELS.get(m).mathematics or m for m in models if m in MODELS.names()}
    rows = measured(frame, measure)
    names = pd.DataFrame({"model": models, "of": [known.get(model, model) for model in models]})
    of = rows["model"].map(names.set_index("model")["of"])
    rows = rows[SHAPE].assign(of=of, model=rows["model"], value=rows["value"])
    rows = rows.iloc[np.argsort(rows["value"].to_numpy(float), kind="stable")]
    first = np.unique(group_numbers(rows, [*SHAPE, "of"]), return_index=True)[1]
    counts = rows.iloc[first].groupby(["of", "model"], sort=False).size()
    best = {counts[name].idxmax() for name in counts.index.unique("of")}
    tried = {*counts.index.unique("of")}
    return [m for m in models if m in best or known.get(m, m) not in tried]
