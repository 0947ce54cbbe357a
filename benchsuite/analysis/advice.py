"""A ranking of models for one point, interpolated between measured cells."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.fastest import family_of
from benchsuite.analysis.faults import fault_note
from benchsuite.analysis.select import LINE, UNBOUNDED, is_unbounded, measured, told_axis
from benchsuite.analysis.surface import MIN_CELLS, Surface, conformal, fit_surface
from benchsuite.catalog.models import MACHINE
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES, Value
from benchsuite.grid.case import DEFAULTS
from benchsuite.grid.study import load_study, shipped
from benchsuite.units import show

#: The axes between whose values is interpolated.
INTERPOLATED = ("seq_len", "batch_size", "hidden_size")
#: How far outside the measured range an answer is still given.
REACH = 2
#: Shares of overhead at which a reason speaks of it.
_MOSTLY, _HARDLY = 0.6, 0.2
#: Models whose times differ by less than this factor, and by less than their errors, serve alike.
_ALIKE = 1.1
#: Cells of a model at most for its error to be estimated beside a report.
_VALIDATED = 100
#: Parts of the cells that are held out in turn.
_FOLDS = 5
Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to use.

    Attributes:
        models: The fastest model, then those that the records do not separate from it; empty where
            none is left.
        separable: Whether the first one is faster than all others, 95 % intervals apart.
        text: One sentence.
        command: What to run to be sure; "" where nothing is open.
    """

    models: list[str]
    separable: bool
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer for one point at one match.

    Attributes:
        match: What is held equal between the models: "width", "params" or "flops".
        answer: What to use.
        need_field: Timesteps that a model had to see; 0 where that did not matter.
        ranking: Lowest latency first: `model`, `latency` (`value, low, high`, s; a 95 % interval
            for a new measurement), `peak_memory` (the same, B), `parameters` (1), `receptive_field`
            (steps, or "unbounded"), task errors and `errors_at`, the shape they were measured at,
            each where there are records of it, and `reason`.
        excluded: `model` and `reason`.
        median_abs_error: Of predicting each measured cell from the others, relative.
        coverage: Share of held-out cells that fell into the 95 % interval that the others gave.
    """

    match: str
    answer: Answer
    need_field: int
    ranking: list[dict[str, Any]]
    excluded: list[dict[str, str]]
    median_abs_error: float
    coverage: float


def advices(
    frame: pd.DataFrame,
    point: Mapping[str, Value],
    *,
    need_field: int | None = None,
    max_memory: float | None = None,
) -> list[Advice]:
    """`advise` at every match that the records hold, the one asked for first.

    Raises:
        UsageError: as `advise`, for the first match; another one that has no answer is left out.
    """
    held = list(dict.fromkeys(frame.loc[frame["model"] != MACHINE, "match"]))
    default = DEFAULTS["match"] if DEFAULTS["match"] in held else next(iter(held), "width")
    asked = str(point.get("match", default))
    found = []
    for match in dict.fromkeys([asked, *held]):
        try:
            at = {**point, "match": match}
            found.append(advise(frame, at, need_field=need_field, max_memory=max_memory))
        except UsageError:
            if match == asked:
                raise
    return found


def advise(
    frame: pd.DataFrame,
    point: Mapping[str, Value],
    *,
    need_field: int | None = None,
    max_memory: float | None = None,
) -> Advice:
    """Rank the models of the records at a point.

    Args:
        frame: One row per case and measure (see `newest`).
        point: Values of `INTERPOLATED`, and of other axes where records hold several.
        need_field: Timesteps that an output has to see; by default the whole sequence, 0 where it
            does not matter.
        max_memory: Bytes that a step may hold beyond parameters and input.

    Raises:
        UsageError: if the point lies more than a factor of two outside what was measured of every
            model, or an axis is left open; the message says which study to run. Also for a
            sequence of one timestep, which is one call of a stream.
    """
    missing = [name for name in INTERPOLATED if name not in point]
    if missing:
        noun, verb = ("axis", "is") if len(missing) == 1 else ("axes", "are")
        names, settings = ", ".join(missing), " ".join(f"-a {name}=…" for name in missing)
        raise UsageError(f"{noun} {names} {verb} missing; add {settings}")
    at: Point = tuple(float(point[name]) for name in INTERPOLATED)  # type: ignore[assignment]
    if at[0] == 1:
        raise UsageError(
            "seq_len=1 asks for one call of a stream, which no record answers: a model whose depth"
            " follows seq_len, such as tcn, is built to see 5 steps there; streaming needs a model"
            " of the whole field that carries its state from call to call (mode=stream), which"
            " cannot be measured yet. Ask for the length that an output depends on"
        )
    need = int(at[0]) if need_field is None else need_field
    here, alike = _of_kind(frame, point), _of_kind(frame, point, free={"mode"})
    fields = _of_kind(frame, point, free={"mode", "match"})
    models = list(dict.fromkeys(here["model"]))
    out = {model: _outside(here, model, at) for model in models}
    if all(out.values()):
        raise UsageError(_refusal(here, at, out))
    latency = _Predictor(here, "latency", models)
    memory = _Predictor(here, "peak_memory", models)
    ranking: list[dict[str, Any]] = []
    excluded: list[dict[str, str]] = []
    for model in models:
        entry, why = {"model": model, "latency": latency(model, at)}, out[model]
        if not why:
            field = _field(fields, model, at)
            entry.update(_beside(alike, model, at, memory(model, at), field))
            why = _too_short(field, need) or _too_large(entry, max_memory)
        if why:
            excluded.append({"model": model, "reason": why})
        else:
            ranking.append(entry)
    ranking.sort(key=lambda entry: float(entry["latency"]["value"]))
    for entry in ranking:
        entry["reason"] = _reason(entry, ranking, latency.surfaces.get(entry["model"]), at)
        faults = fault_note(latency.cells[entry["model"]], at, INTERPOLATED)
        entry["reason"] += f" {faults}." if faults else ""
    return Advice(
        match=str(here["match"].iloc[0]),
        answer=_answer(here, at, ranking, excluded),
        need_field=need,
        ranking=ranking,
        excluded=excluded,
        median_abs_error=latency.median_abs_error,
        coverage=latency.coverage(),
    )


def validation(frame: pd.DataFrame, *, most: int = 2) -> list[dict[str, Any]]:
    """How far `advise` misses measured cells that it is not shown, kind by kind of cases.

    Args:
        frame: One row per case and measure (see `newest`).
        most: Kinds at most; those of more than `_VALIDATED` cells a model are passed over, for the
            time they would take.

    Returns:
        For each kind `kind` (such as "train, cpu, float32"), `median_abs_error`, `coverage` and
        `cells`, over all models that can be interpolated.
    """
    rows = measured(frame, "latency")
    fixed = [n for n in LINE if n not in {*INTERPOLATED, "input_size"}]
    told = [n for n in fixed if rows[n].nunique() > 1 or n in {"mode", "device", "dtype"}]
    found = []
    for _, own in list(rows.groupby(fixed, sort=False))[:most]:
        if own.groupby("model").size().max() > _VALIDATED:
            continue
        latency = _Predictor(own, "latency", list(dict.fromkeys(own["model"])))
        if len(latency.scores):
            found.append(
                {
                    "kind": ", ".join(told_axis(name, own[name].iloc[0]) for name in told),
                    "median_abs_error": latency.median_abs_error,
                    "coverage": latency.coverage(),
                    "cells": len(latency.scores),
                }
            )
    return found


def _of_kind(
    frame: pd.DataFrame, point: Mapping[str, Value], *, free: Collection[str] = ()
) -> pd.DataFrame:
    """The records of models that differ from the point in nothing but what is interpolated.

    Args:
        frame: As for `advise`.
        point: As for `advise`.
        free: Axes that may have any value: what does not depend on the mode may be measured in one
            only (parameters, fields, errors), and fields do not depend on the match either.
    """
    frame = frame[frame["model"] != MACHINE]
    for name in AXES:
        if name in {"model", *INTERPOLATED, *free}:
            continue
        if name == "input_size" and name not in point:
            alike = frame["input_size"] == frame["hidden_size"]
            frame = frame[alike] if alike.any() else frame
            continue
        values = list(dict.fromkeys(frame[name]))
        wanted = point.get(name, values[0] if len(values) == 1 else DEFAULTS[name])
        if wanted not in values:
            told = ", ".join(str(value) for value in values)
            models = list(dict.fromkeys(frame["model"]))
            raise UsageError(
                f"no records with {name}={wanted}; there are: {told}. Choose one with -a {name}=…,"
                f" or measure it: {_command(frame, models, {name: [wanted]})}"
            )
        frame = frame[frame[name] == wanted]
    if not len(measured(frame, "latency")):
        raise UsageError(
            "no latency was measured at that point's kind of cases; measure with `benchsuite run`"
        )
    return frame


class _Predictor:
    """Values of one measure at any point, by a surface per model with errors shared by all.

    Scores are pooled over models: sixteen cells alone cannot show a 95 % interval.
    """

    def __init__(self, frame: pd.DataFrame, measure: str, models: Iterable[str]) -> None:
        rows = measured(frame, measure).drop_duplicates(["model", *INTERPOLATED], keep="last")
        self._frame, self._measure = rows, measure
        self.cells = {model: rows[rows["model"] == model] for model in models}
        self.surfaces: dict[str, Surface] = {}
        for model, cells in self.cells.items():
            if len(cells) >= MIN_CELLS:
                points = cells[list(INTERPOLATED)].to_numpy(float)
                self.surfaces[model] = fit_surface(points, cells["value"].to_numpy(float))
        own = list(self.surfaces.values())
        self.scores = np.concatenate([s.scores for s in own]) if own else np.empty(0)
        errors = np.concatenate([s.errors for s in own]) if own else np.empty(0)
        self.median_abs_error = float(np.median(np.abs(np.expm1(errors)))) if own else math.nan
        self._factor = conformal(self.scores) if own else math.nan

    def __call__(self, model: str, at: Point) -> dict[str, float] | None:
        """Value and interval; of too few cells only the very cell, as measured, else None."""
        if model in self.surfaces:
            log, deviation = self.surfaces[model].predict(at)
            half = self._factor * deviation
            return {name: math.exp(log + side * half) for name, side in _SIDES.items()}
        cells = self.cells[model]
        same = cells[(cells[list(INTERPOLATED)].to_numpy(float) == at).all(axis=1)]
        if not len(same):
            return None
        cell = same.iloc[-1]
        names = zip(_SIDES, ("value", "ci_low", "ci_high"), strict=True)
        return {name: float(cell[column]) for name, column in names}

    def coverage(self) -> float:
        """Share of held-out cells inside the interval that surfaces of the other cells give.

        A fifth of each model's cells is held out at a time, from the choice of mean and scales and
        from the scores that set the width of the interval as well. NaN without surfaces.
        """
        rows = self._frame[self._frame["model"].isin(list(self.surfaces))]
        if not len(rows):
            return math.nan
        fold = np.random.default_rng(0).permutation(len(rows)) % _FOLDS
        few = rows["model"].value_counts().max() <= _VALIDATED
        inside = []
        for held in range(_FOLDS if few else 1):
            others = _Predictor(rows[fold != held], self._measure, list(self.surfaces))
            for cell in rows[fold == held].to_dict("records"):
                if cell["model"] not in others.surfaces:
                    continue
                T, B, H = (float(cell[name]) for name in INTERPOLATED)
                found = others(cell["model"], (T, B, H))
                inside.append(found is not None and found["low"] <= cell["value"] <= found["high"])
        return float(np.mean(inside)) if inside else math.nan


_SIDES = {"value": 0, "low": -1, "high": 1}


def _outside(frame: pd.DataFrame, model: str, at: Point) -> str:
    """Why nothing can be said of a model at a point, or an empty string."""
    cells = measured(frame, "latency")
    cells = cells[cells["model"] == model]
    if not len(cells):
        lost = frame[(frame["model"] == model) & (frame["measure"] == "latency")]
        why = f" ({lost['status'].iloc[-1]}: {lost['reason'].iloc[-1]})" if len(lost) else ""
        return f"no latency was measured{why}"
    points = cells[list(INTERPOLATED)].to_numpy(float)
    for name, value, own in zip(INTERPOLATED, at, points.T, strict=True):
        low, high = own.min(), own.max()
        if low == high and value != low:
            return f"{name} was measured at {low:g} only"
        if not low / REACH <= value <= high * REACH:
            return (
                f"{name}={value:g} is more than a factor of {REACH} outside the measured"
                f" {low:g} to {high:g}"
            )
    exact = (points == at).all(axis=1).any()
    distinct = len(np.unique(points, axis=0))
    if distinct < MIN_CELLS and not exact:
        return f"only {distinct} cells were measured; {MIN_CELLS} are needed to interpolate"
    return ""


def _refusal(frame: pd.DataFrame, at: Point, out: Mapping[str, str]) -> str:
    """One line: why, and the study that would answer."""
    ok = measured(frame, "latency")
    axes = {
        name: sorted({*ok[name].astype(int), int(value)})
        for name, value in zip(INTERPOLATED, at, strict=True)
    }
    reason = next(iter(dict.fromkeys(out.values())))
    return f"{reason}; measure it: {_command(frame, list(out), axes)}"


def _answer(
    frame: pd.DataFrame,
    at: Point,
    ranking: Sequence[Mapping[str, Any]],
    excluded: Sequence[Mapping[str, str]],
) -> Answer:
    """The ranking in one sentence, and what would settle it where it is not settled."""
    if not ranking:
        open_ = [gone["model"] for gone in excluded if gone["reason"].startswith(_UNKNOWN_FIELD)]
        return Answer(
            [],
            False,
            "No model is left: " + "; ".join(f"{g['model']}: {g['reason']}" for g in excluded),
            _point_command(frame, at, open_) if open_ else "",
        )
    first, *rest = ranking
    latency = first["latency"]
    close = [e for e in rest if e["latency"]["low"] <= latency["high"]]
    time = f"{show(latency['value'], 's')} a step ({_span(latency, 's')})"
    if not close:
        beside = (
            f"{_ratio(rest[0], first):.2g} times as fast as {rest[0]['model']}"
            + _size(rest[0], first)
            if rest
            else "the only model that can be ranked here"
        )
        return Answer([first["model"]], True, f"Use {first['model']}: {time}, {beside}")
    models = [entry["model"] for entry in (first, *close)]
    most = max(_ratio(entry, first) for entry in close)
    names = f"{', '.join(models[:-1])} or {models[-1]}"
    if most < _ALIKE:
        text = f"{names}: no difference that matters here, {time}"
    else:
        slowest = max(close, key=lambda entry: _ratio(entry, first))["model"]
        text = (
            f"{names}: these records do not separate them; {models[0]} takes {time}, {slowest}"
            f" {most:.2g} times as long, and their intervals overlap"
        )
    return Answer(models, False, text, _point_command(frame, at, models))


def _ratio(entry: Mapping[str, Any], first: Mapping[str, Any]) -> float:
    return float(entry["latency"]["value"] / first["latency"]["value"])


def _size(entry: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """How many parameters a model has beside the first one, where that is known and differs."""
    own, of_first = (float(e.get("parameters", math.nan)) for e in (entry, first))
    ratio = own / of_first
    if math.isnan(ratio) or 1 / _ALIKE < ratio < _ALIKE:
        return ""
    return f", which has {ratio:.2g} times the parameters"


def _span(of: Mapping[str, float], unit: str) -> str:
    return f"{show(of['low'], unit)} to {show(of['high'], unit)}"


def _point_command(frame: pd.DataFrame, at: Point, models: Sequence[str]) -> str:
    """What measures these models at that very point, with all that a ranking needs of them."""
    axes: dict[str, list[Any]] = {
        name: [int(value)] for name, value in zip(INTERPOLATED, at, strict=True)
    }
    kind = frame.iloc[0]
    for name in LINE:
        alike = name == "input_size" and (frame["input_size"] == frame["hidden_size"]).any()
        if name in INTERPOLATED or alike:
            continue
        if name == "device" and (kind[name] == "cuda" or not frame["gpu"].any()):
            continue  # what a study takes by itself
        axes[name] = [kind[name]]
    return _command(frame, models, axes, measures=("latency", "peak_memory", "receptive_field"))


def _command(
    frame: pd.DataFrame,
    models: Sequence[str],
    axes: Mapping[str, Sequence[Any]],
    *,
    measures: Sequence[str] = (),
) -> str:
    """`benchsuite run` of a shipped study with what it does not have already, models included."""
    known = (str(name).partition("+")[0] for name in dict.fromkeys(frame["study"]))
    study = next((name for name in known if name in shipped()), "default")
    own = load_study(study).axes
    wanted = {"model": [m for m in models if m != MACHINE], **axes}
    parts = [
        f"-a {name}={','.join(map(str, values))}"
        for name, values in wanted.items()
        if {*values} != {*own.get(name, (DEFAULTS.get(name),))}
    ]
    parts += [f"--measure {name}" for name in measures]
    return " ".join(["benchsuite run", study, *parts])


def _beside(
    frame: pd.DataFrame,
    model: str,
    at: Point,
    memory: dict[str, float] | None,
    field: int | str | None,
) -> dict[str, Any]:
    """What else the records say of a model near a point."""
    rows = frame[frame["model"] == model]
    told: dict[str, Any] = {}
    if memory is not None:
        told["peak_memory"] = memory
    if field is not None:
        told["receptive_field"] = field
    ok = rows[rows["status"] == "ok"]
    for measure in dict.fromkeys(ok["measure"]):
        if measure == "parameters" or str(measure).endswith("_error"):
            own = ok[ok["measure"] == measure]
            apart = np.abs(np.log(own[list(INTERPOLATED)].to_numpy(float) / at)).sum(axis=1)
            nearest = own.iloc[int(np.argmin(apart))]
            if measure != "parameters" or nearest["hidden_size"] == at[2]:
                told[str(measure)] = float(nearest["value"])
            if measure != "parameters":
                shape = zip("TBH", (nearest[name] for name in INTERPOLATED), strict=True)
                told["errors_at"] = ", ".join(f"{letter}={value}" for letter, value in shape)
    return told


def _field(frame: pd.DataFrame, model: str, at: Point) -> int | str | None:
    """Steps that an output sees at that length, "unbounded", or None where it is not known.

    A model whose field covered every length measured covers this one; another keeps its largest
    field among shorter lengths.
    """
    if family_of(model, frame) == "recurrent":
        return UNBOUNDED
    own = frame[(frame["model"] == model) & (frame["measure"] == "receptive_field")]
    if is_unbounded(own).any():
        return UNBOUNDED
    ok = own[own["status"] == "ok"]
    if len(ok):
        T, field = ok["seq_len"].to_numpy(float), ok["value"].to_numpy(float)
        if len(set(T)) > 1 and (field >= T).all() and len(set(field)) > 1:
            return int(max([at[0], *field[at[0] >= T]]))
        return int(max(field[at[0] >= T], default=field.min()))
    return None


_UNKNOWN_FIELD = "its receptive field was not measured"


def _too_short(field: int | str | None, need: int) -> str:
    if not need or field == UNBOUNDED:
        return ""
    if field is None:
        return f"{_UNKNOWN_FIELD} (--measure receptive_field; --need-field 0 if it does not matter)"
    return f"field too short: {field} steps of {need}" if int(field) < need else ""


def _too_large(entry: Mapping[str, Any], most: float | None) -> str:
    if most is None:
        return ""
    memory = entry.get("peak_memory")
    if memory is None:
        return "its memory was not measured (--measure peak_memory)"
    if memory["high"] <= most:
        return ""
    return (
        f"memory too large: {show(memory['value'], 'B')}, up to {show(memory['high'], 'B')},"
        f" of {show(most, 'B')}"
    )


def _reason(
    entry: Mapping[str, Any],
    ranking: list[dict[str, Any]],
    surface: Surface | None,
    at: Point,
) -> str:
    """How it stands to its neighbour in the ranking, and where its time goes."""
    place = next(i for i, other in enumerate(ranking) if other is entry)
    own = entry["latency"]
    if len(ranking) == 1:
        sentence = "the only model that can be ranked here"
    elif place == 0:
        other = ranking[1]
        ratio = other["latency"]["value"] / own["value"]
        sure = own["high"] < other["latency"]["low"]
        sentence = f"lowest: {ratio:.2g} times as fast as {other['model']}" + (
            "" if sure else ", but their intervals overlap; measure this point to be sure"
        )
    else:
        first = ranking[0]
        ratio = own["value"] / first["latency"]["value"]
        sure = first["latency"]["high"] < own["low"]
        sentence = f"{ratio:.2g} times the time of {first['model']}" + (
            "" if sure else ", with overlapping intervals"
        )
    share = surface.overhead_share(at) if surface else None
    if share is not None and share >= _MOSTLY:
        sentence += f". About {share:.0%} of its time is overhead that batch and width hardly raise"
    elif share is not None and share <= _HARDLY:
        sentence += f". About {1 - share:.0%} of its time is work that grows with batch or width"
    return sentence + "."
