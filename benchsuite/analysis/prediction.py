"""Values of a measure between measured cells, with intervals, and how far they are off."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from benchsuite.analysis.select import LINE, axis_words, measured, only
from benchsuite.analysis.surface import MIN_CELLS, Surface, conformal, fit_surface

#: The axes between whose values is interpolated.
INTERPOLATED = ("seq_len", "batch_size", "hidden_size")
#: Columns that are read of models with few cells only; they follow from raw samples.
INTERVALS = ("ci_low", "ci_high")
#: Cells of a model at most for its error to be estimated beside a report.
_VALIDATED = 100
#: Parts of the cells that are held out in turn.
_FOLDS = 5
#: Its exponential is a finite float; an interval around values of all magnitudes may be wider.
_LARGEST_LOG = 700.0
#: Value of T, B and H.
Point = tuple[float, float, float]
_SIDES = {"value": 0, "low": -1, "high": 1}


class IntervalsMissingError(LookupError):
    """A model has too few cells for a surface, and the frame lacks `INTERVALS`."""


class Predictor:
    """Values of one measure at any point: a surface per model, with errors shared by all models.

    Errors are pooled over models because sixteen cells alone cannot show a 95 % interval.

    Attributes:
        cells: Model → its measured rows.
        surfaces: Model → its surface, for models with enough cells.
        scores: Errors of leaving out each cell, of all models, in predicted standard deviations.
        median_abs_error: Median of the relative errors of leaving out each cell.
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
        fitted = list(self.surfaces.values())
        self.scores = np.concatenate([s.scores for s in fitted]) if fitted else np.empty(0)
        errors = np.concatenate([s.errors for s in fitted]) if fitted else np.empty(0)
        self.median_abs_error = float(np.median(np.abs(np.expm1(errors)))) if fitted else math.nan
        self._factor = conformal(self.scores) if fitted else math.nan

    def __call__(self, model: str, at: Point) -> dict[str, float] | None:
        """`value`, `low` and `high` at a point; without a surface the measured cell, or None.

        Raises:
            IntervalsMissingError: if the frame does not have the interval of that cell.
        """
        if model in self.surfaces:
            log, deviation = self.surfaces[model].predict(at)
            half = self._factor * deviation
            ends = {name: log + side * half for name, side in _SIDES.items()}
            return {name: math.exp(min(end, _LARGEST_LOG)) for name, end in ends.items()}
        cells = self.cells[model]
        same = cells[(cells[list(INTERPOLATED)].to_numpy(float) == at).all(axis=1)]
        if not len(same):
            return None
        if not set(INTERVALS) <= set(same.columns):
            raise IntervalsMissingError(model)
        cell = same.iloc[-1]
        names = zip(_SIDES, ("value", *INTERVALS), strict=True)
        return {name: float(cell[column]) for name, column in names}

    def coverage(self) -> float:
        """Share of held-out cells inside the interval that surfaces of the other cells give.

        A fifth of each model's cells is held out at a time, from the choice of mean and scales and
        from the scores that set the width of the interval as well. NaN without surfaces.
        """
        read = ["model", "measure", "status", "value", *INTERPOLATED]  # a copy of all takes longer
        rows = self._frame.loc[self._frame["model"].isin(list(self.surfaces)), read]
        if not len(rows):
            return math.nan
        fold = np.random.default_rng(0).permutation(len(rows)) % _FOLDS
        few = rows["model"].value_counts().max() <= _VALIDATED
        inside = []
        for held_out in range(_FOLDS if few else 1):
            others = Predictor(rows[fold != held_out], self._measure, list(self.surfaces))
            for cell in rows[fold == held_out].to_dict("records"):
                if cell["model"] not in others.surfaces:
                    continue
                T, B, H = (float(cell[name]) for name in INTERPOLATED)
                interval = others(cell["model"], (T, B, H))
                inside.append(
                    interval is not None and interval["low"] <= cell["value"] <= interval["high"]
                )
        return float(np.mean(inside)) if inside else math.nan


def validation(frame: pd.DataFrame, *, most: int = 2) -> list[dict[str, Any]]:
    """Errors of predictions of measured cells that are left out, by kind of cases.

    Args:
        frame: One row per case and measure (see `newest`).
        most: Kinds at most. A kind with more than 100 cells of one model is skipped, as it would
            take long.

    Returns:
        For each kind `kind` (such as "train, cpu, float32"), `median_abs_error`, `coverage` and
        `cells`, over all models with a surface.
    """
    names = (*LINE, "model", "seq_len", "measure", "status", "value", *INTERVALS)
    rows = measured(only(frame, names), "latency")
    fixed = [n for n in LINE if n not in {*INTERPOLATED, "input_size"}]
    named = [n for n in fixed if rows[n].nunique() > 1 or n in {"mode", "device", "dtype"}]
    kinds = []
    for _, alike in itertools.islice(rows.groupby(fixed, sort=False), most):
        if alike.groupby("model").size().max() > _VALIDATED:
            continue
        latency = Predictor(alike, "latency", list(alike["model"].unique()))
        if len(latency.scores):
            kinds.append(
                {
                    "kind": ", ".join(axis_words(name, alike[name].iloc[0]) for name in named),
                    "median_abs_error": latency.median_abs_error,
                    "coverage": latency.coverage(),
                    "cells": len(latency.scores),
                }
            )
    return kinds
