"""A ranking of models for one point, interpolated between measured cells."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.answer import Answer, answer_of, reason_of, run_command
from benchsuite.analysis.faults import fault_note
from benchsuite.analysis.model_facts import sees_everything
from benchsuite.analysis.prediction import INTERPOLATED, INTERVALS, Point, Predictor
from benchsuite.analysis.select import UNBOUNDED, is_unbounded, measured
from benchsuite.analysis.streaming import STREAM, TAIL, tails_at, timed_by
from benchsuite.analysis.surface import MIN_CELLS
from benchsuite.catalog.measures import task_of
from benchsuite.catalog.models import MACHINE
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES, Value
from benchsuite.grid.case import DEFAULTS
from benchsuite.units import show

#: Columns of the frame that advice follows from, besides `INTERVALS`.
COLUMNS = (
    *AXES,
    *("case", "study", "machine", "measure", "version", "value", "status", "reason", "started_at"),
    *("family", "unbounded", "page_faults", "fault_time", "gpu"),
)
#: The factor outside the measured range up to which an answer is still given.
REACH = 2


@dataclass(frozen=True, slots=True)
class Advice:
    """The answer for one point at one match.

    Attributes:
        match: What is held equal between the models: "width", "params" or "flops".
        answer: What to use.
        need_field: Timesteps that the field had to cover; 0 where that did not matter.
        ranking: Lowest latency first: `model`, `latency` (`value, low, high`, s; a 95 % interval
            for a new measurement; in mode stream of the median call), there `p99` and `worst` (s)
            and with a deadline `over_deadline` (share of calls), `peak_memory` (the same, B),
            `parameters` (1), `receptive_field` (steps, or "unbounded"), task errors and
            `errors_at`, the shape at which they were measured, each where there are records of it,
            and `reason`.
        excluded: `model` and `reason`.
        median_abs_error: Median relative error of predicting each measured cell from the others.
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
    deadline: float | None = None,
) -> list[Advice]:
    """The advice at every match in the records, the requested one first.

    Raises:
        UsageError: as `advise`, for the first match; others without an answer are left out.
        IntervalsMissingError: as `advise`.
    """
    held = frame.loc[frame["model"] != MACHINE, "match"].unique().tolist()
    default = DEFAULTS["match"] if DEFAULTS["match"] in held else next(iter(held), "width")
    asked = str(point.get("match", default))
    found = []
    for match in dict.fromkeys([asked, *held]):
        try:
            at = {**point, "match": match}
            limits: dict[str, Any] = {"max_memory": max_memory, "deadline": deadline}
            found.append(advise(frame, at, need_field=need_field, **limits))
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
    deadline: float | None = None,
) -> Advice:
    """Rank the models of the records at a point.

    Args:
        frame: One row per case and measure (see `newest`), at least with `COLUMNS`.
        point: Values of `INTERPOLATED`, and of other axes that vary in the records.
        need_field: Timesteps that an output has to depend on; by default the whole sequence, 0
            where that does not matter.
        max_memory: Bytes that a step may hold beyond parameters and input.
        deadline: Seconds that a call of a stream may take; the share of calls that took longer is
            shown, and does not change the order. The frame needs `samples` for it.

    Raises:
        UsageError: for a deadline in another mode than stream; if the point lies more than a factor
            of two outside the measured range of every model, or a value of an axis is missing; the
            message names the command that measures it. Also for a sequence of one timestep, which
            is not a call of a stream.
        IntervalsMissingError: if a model has too few cells and the frame does not have `INTERVALS`.
    """
    missing = [name for name in INTERPOLATED if name not in point]
    if missing:
        noun, verb = ("axis", "is") if len(missing) == 1 else ("axes", "are")
        names, settings = ", ".join(missing), " ".join(f"-a {name}=…" for name in missing)
        raise UsageError(f"{noun} {names} {verb} missing; add {settings}")
    at: Point = tuple(float(point[name]) for name in INTERPOLATED)  # type: ignore[assignment]
    if at[0] == 1:
        raise UsageError(
            "seq_len=1 asks for a sequence of one timestep, where a model whose depth follows"
            " seq_len, such as tcn, has a field of 5 steps. For one call of a stream give the field"
            " to cover: mode=stream with seq_len, the timesteps that an output has to see, and"
            " chunk, those of a call"
        )
    timed, streaming = timed_by(point.get("mode")), point.get("mode") == STREAM
    if deadline is not None and not streaming:
        raise UsageError(
            "a deadline applies to the calls of a stream; add --mode stream, with seq_len as the"
            " field to cover"
        )
    need = int(at[0]) if need_field is None else need_field
    read = {*COLUMNS, *INTERVALS, *(TAIL if streaming else ())}
    read |= {"samples"} if deadline is not None else set()
    frame = frame[[name for name in frame.columns if name in read]]
    here = _comparable(frame, point, timed)
    alike = _comparable(frame, point, timed, free={"mode", "chunk"})
    fields = _comparable(frame, point, timed, free={"mode", "chunk", "match"})
    models = here["model"].unique().tolist()
    outside = {model: _outside(here, model, at, timed) for model in models}
    if all(outside.values()):
        raise UsageError(_refusal(here, at, outside, timed))
    tails = tails_at(here, models, at, deadline) if streaming else {}
    latency = Predictor(here, timed, models)
    memory = Predictor(here, "peak_memory", models)
    ranking: list[dict[str, Any]] = []
    excluded: list[dict[str, str]] = []
    unmeasured: list[str] = []
    for model in models:
        entry = {"model": model, "latency": latency(model, at), **tails.get(model, {})}
        why = outside[model]
        if not why:
            field = _field(fields, model, at)
            entry.update(_beside(alike, model, at, memory(model, at), field))
            why = _too_short(field, need) or _too_large(entry, max_memory)
            if need and field is None:
                unmeasured.append(model)
        if why:
            excluded.append({"model": model, "reason": why})
        else:
            ranking.append(entry)
    ranking.sort(key=lambda entry: float(entry["latency"]["value"]))
    for entry in ranking:
        entry["reason"] = reason_of(entry, ranking, latency.surfaces.get(entry["model"]), at)
        faults = fault_note(latency.cells[entry["model"]], at, INTERPOLATED)
        entry["reason"] += f" {faults}." if faults else ""
    return Advice(
        match=str(here["match"].iloc[0]),
        answer=answer_of(here, at, ranking, excluded, unmeasured, timed),
        need_field=need,
        ranking=ranking,
        excluded=excluded,
        median_abs_error=latency.median_abs_error,
        coverage=latency.coverage(),
    )


def _comparable(
    frame: pd.DataFrame, point: Mapping[str, Value], timed: str, *, free: Collection[str] = ()
) -> pd.DataFrame:
    """Records of models that differ from the point in the interpolated axes only.

    Args:
        frame: As for `advise`.
        point: As for `advise`.
        timed: The measure that models are ranked by.
        free: Axes that may have any value: parameters, fields and errors do not depend on the mode
            and may be measured in one only; fields do not depend on the match either.
    """
    rows = np.flatnonzero(frame["model"] != MACHINE)
    for name in AXES:
        if name in {"model", *INTERPOLATED, *free}:
            continue
        column = frame[name].iloc[rows]
        if name == "input_size" and name not in point:
            alike = (column == frame["hidden_size"].iloc[rows]).to_numpy(bool)
            rows = rows[alike] if alike.any() else rows
            continue
        values = column.unique().tolist()
        wanted = point.get(name, values[0] if len(values) == 1 else DEFAULTS[name])
        if wanted not in values:
            known = ", ".join(str(value) for value in values)
            here = frame.iloc[rows]
            models = list(here["model"].unique())
            raise UsageError(
                f"no records with {name}={wanted}; there are: {known}. Choose one with -a {name}=…,"
                f" or measure it: {run_command(here, models, {name: [wanted]})}"
            )
        if len(values) > 1:
            rows = rows[(column == wanted).to_numpy(bool)]
    frame = frame.iloc[rows]
    if not len(measured(frame, timed)):
        raise UsageError(
            f"no {timed} was measured with the other axes of that point; measure it with"
            " `benchsuite run`"
        )
    return frame


def _outside(frame: pd.DataFrame, model: str, at: Point, timed: str) -> str:
    """Why a model cannot be predicted at a point, or an empty string."""
    cells = measured(frame, timed)
    cells = cells[cells["model"] == model]
    if not len(cells):
        tried = frame[(frame["model"] == model) & (frame["measure"] == timed)]
        why = f" ({tried['status'].iloc[-1]}: {tried['reason'].iloc[-1]})" if len(tried) else ""
        return f"no {timed} was measured{why}"
    points = cells[list(INTERPOLATED)].to_numpy(float)
    for name, value, sizes in zip(INTERPOLATED, at, points.T, strict=True):
        low, high = sizes.min(), sizes.max()
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


def _refusal(frame: pd.DataFrame, at: Point, outside: Mapping[str, str], timed: str) -> str:
    """One line: the reason for a missing answer, and the command that measures it."""
    ok = measured(frame, timed)
    axes = {
        name: sorted({*ok[name].astype(int), int(value)})
        for name, value in zip(INTERPOLATED, at, strict=True)
    }
    reason = next(iter(dict.fromkeys(outside.values())))
    return f"{reason}; measure it: {run_command(frame, list(outside), axes)}"


def _beside(
    frame: pd.DataFrame,
    model: str,
    at: Point,
    memory: dict[str, float] | None,
    field: int | str | None,
) -> dict[str, Any]:
    """Other facts that the records have on a model near a point."""
    rows = frame[frame["model"] == model]
    known: dict[str, Any] = {}
    if memory is not None:
        known["peak_memory"] = memory
    if field is not None:
        known["receptive_field"] = field
    ok = rows[rows["status"] == "ok"]
    for measure in ok["measure"].unique():
        task = task_of(str(measure))
        if measure == "parameters" or task:
            values = ok[ok["measure"] == measure]
            apart = np.abs(np.log(values[list(INTERPOLATED)].to_numpy(float) / at)).sum(axis=1)
            nearest = values.iloc[int(np.argmin(apart))]
            if task or nearest["hidden_size"] == at[2]:
                known[str(measure)] = float(nearest["value"])
            if task:
                shape = zip("TBH", (nearest[name] for name in INTERPOLATED), strict=True)
                known["errors_at"] = ", ".join(f"{letter}={value}" for letter, value in shape)
    return known


def _field(frame: pd.DataFrame, model: str, at: Point) -> int | str | None:
    """The field at that length in steps, "unbounded", or None where it is not known.

    A model whose field covered every length measured covers this one; another keeps its largest
    field among shorter lengths.
    """
    rows = frame[(frame["model"] == model) & (frame["measure"] == "receptive_field")]
    if sees_everything(model, frame) or is_unbounded(rows).any():
        return UNBOUNDED
    ok = rows[rows["status"] == "ok"]
    if len(ok):
        T, field = ok["seq_len"].to_numpy(float), ok["value"].to_numpy(float)
        if len(set(T)) > 1 and (field >= T).all() and len(set(field)) > 1:
            return int(max([at[0], *field[at[0] >= T]]))
        return int(max(field[at[0] >= T], default=field.min()))
    return None


def _too_short(field: int | str | None, need: int) -> str:
    if not need or field == UNBOUNDED:
        return ""
    if field is None:
        return (
            "its receptive field was not measured (--measure receptive_field; --need-field 0 if it"
            " does not matter)"
        )
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
