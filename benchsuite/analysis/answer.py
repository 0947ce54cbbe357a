"""A ranking of models in words: what to use, why, and which command would settle what is open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from benchsuite.analysis.prediction import INTERPOLATED, Point
from benchsuite.analysis.select import LINE
from benchsuite.analysis.surface import Surface
from benchsuite.catalog.models import MACHINE
from benchsuite.grid.case import DEFAULTS
from benchsuite.grid.study_file import load_study, shipped
from benchsuite.units import show

#: Shares of overhead that a reason mentions: at least this much, or at most that much.
_MOSTLY, _HARDLY = 0.6, 0.2
#: Models whose times differ by less than this factor, and by less than their errors, serve alike.
_ALIKE = 1.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What to use.

    Attributes:
        models: The fastest model, then those that the records do not separate from it; empty if
            every model was excluded.
        separable: Whether the first one is faster than all others, 95 % intervals apart.
        text: One sentence.
        command: The command that would settle an open answer; "" for a settled one.
    """

    models: list[str]
    separable: bool
    text: str
    command: str = ""


def answer_of(
    frame: pd.DataFrame,
    at: Point,
    ranking: Sequence[Mapping[str, Any]],
    excluded: Sequence[Mapping[str, str]],
    unmeasured: Sequence[str],
    timed: str = "latency",
) -> Answer:
    """The ranking in one sentence, and the command that would settle it where it is open.

    Args:
        frame: The records that the ranking was made from.
        at: The point.
        ranking: See `Advice`.
        excluded: See `Advice`.
        unmeasured: Models that are excluded only because their field was not measured.
        timed: The measure that the ranking follows.
    """
    if not ranking:
        return Answer(
            [],
            False,
            "Every model is excluded: "
            + "; ".join(f"{entry['model']}: {entry['reason']}" for entry in excluded),
            _point_command(frame, at, unmeasured, timed) if unmeasured else "",
        )
    first, *rest = ranking
    latency = first["latency"]
    close = [entry for entry in rest if entry["latency"]["low"] <= latency["high"]]
    span = f"{show(latency['low'], 's')} to {show(latency['high'], 's')}"
    step = "step" if timed == "latency" else "call"
    time = f"{show(latency['value'], 's')} a {step} ({span})"
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
    return Answer(models, False, text, _point_command(frame, at, models, timed))


def reason_of(
    entry: Mapping[str, Any],
    ranking: Sequence[Mapping[str, Any]],
    surface: Surface | None,
    at: Point,
) -> str:
    """A sentence that compares a model with the first of the ranking and explains its time."""
    place = next(i for i, other in enumerate(ranking) if other is entry)
    latency = entry["latency"]
    if len(ranking) == 1:
        sentence = "the only model that can be ranked here"
    elif place == 0:
        other = ranking[1]
        separate = latency["high"] < other["latency"]["low"]
        sentence = f"lowest: {_ratio(other, entry):.2g} times as fast as {other['model']}" + (
            "" if separate else ", but their intervals overlap; measure this point to be sure"
        )
    else:
        first = ranking[0]
        separate = first["latency"]["high"] < latency["low"]
        sentence = f"{_ratio(entry, first):.2g} times the time of {first['model']}" + (
            "" if separate else ", with overlapping intervals"
        )
    share = surface.overhead_share(at) if surface else None
    if share is not None and share >= _MOSTLY:
        sentence += f". About {share:.0%} of its time is overhead that batch and width hardly raise"
    elif share is not None and share <= _HARDLY:
        sentence += f". About {1 - share:.0%} of its time is work that grows with batch or width"
    return sentence + "."


def _ratio(entry: Mapping[str, Any], first: Mapping[str, Any]) -> float:
    return float(entry["latency"]["value"] / first["latency"]["value"])


def _size(entry: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Ratio of a model's parameters to the first model's, if known and different."""
    parameters, of_first = (float(e.get("parameters", math.nan)) for e in (entry, first))
    ratio = parameters / of_first
    if math.isnan(ratio) or 1 / _ALIKE < ratio < _ALIKE:
        return ""
    return f", which has {ratio:.2g} times the parameters"


def _point_command(frame: pd.DataFrame, at: Point, models: Sequence[str], timed: str) -> str:
    """The command that measures these models at that very point, with all that a ranking needs."""
    axes: dict[str, list[Any]] = {
        name: [int(value)] for name, value in zip(INTERPOLATED, at, strict=True)
    }
    first = frame.iloc[0]
    for name in LINE:
        alike = name == "input_size" and (frame["input_size"] == frame["hidden_size"]).any()
        if name in INTERPOLATED or alike:
            continue
        if name == "device" and (first[name] == "cuda" or not frame["gpu"].any()):
            continue  # what a study takes by itself
        axes[name] = [first[name]]
    return run_command(frame, models, axes, measures=(timed, "peak_memory", "receptive_field"))


def run_command(
    frame: pd.DataFrame,
    models: Sequence[str],
    axes: Mapping[str, Sequence[Any]],
    *,
    measures: Sequence[str] = (),
) -> str:
    """`benchsuite run` of the records' study, with options for what differs from it.

    Args:
        frame: Records; if their study is not a shipped one, `default` is taken.
        models: Models to measure.
        axes: Axes and their values.
        measures: Measures, where they differ from the study's.
    """
    known = (str(name).partition("+")[0] for name in frame["study"].unique())
    study = next((name for name in known if name in shipped()), "default")
    defined = load_study(study).axes
    wanted = {"model": [m for m in models if m != MACHINE], **axes}
    parts = [
        f"-a {name}={','.join(map(str, values))}"
        for name, values in wanted.items()
        if {*values} != {*defined.get(name, (DEFAULTS.get(name),))}
    ]
    parts += [f"--measure {name}" for name in measures]
    return " ".join(["benchsuite run", study, *parts])
