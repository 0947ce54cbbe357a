"""Family, receptive field and parameters of models, looked up in the records."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchsuite.analysis.select import SIZES, is_unbounded, measured, only, without_repeats
from benchsuite.catalog.families import FAMILIES, OUTSIDE, family_of_field
from benchsuite.catalog.models import MODELS


def family_of(model: str, frame: pd.DataFrame) -> str:
    """The family of a model (see `catalog.families`).

    That of a built-in model is in the catalog. Another one has the family that its study names, or
    else the one that its measured receptive field shows.

    Args:
        model: Its name.
        frame: Records; the column `family` and rows of `receptive_field` are read.

    Returns:
        The family's name; "outside" where neither is known.
    """
    if model in MODELS.names():
        return MODELS.get(model).family
    rows = frame[frame["model"] == model]
    named = [name for name in rows["family"] if name in FAMILIES.names()]
    if named:
        return str(named[-1])
    fields = rows[rows["measure"] == "receptive_field"]
    if is_unbounded(fields).any():
        return family_of_field(unbounded=True)
    return family_of_field(unbounded=False) if (fields["status"] == "ok").any() else OUTSIDE


def families_of(frame: pd.DataFrame) -> dict[str, str]:
    """Model → family, for every model of the records."""
    return {str(model): family_of(str(model), frame) for model in frame["model"].unique()}


def executed(model: str) -> str:
    """A model's name with its execution, "lstm (library)"; names that show theirs stay as they are.

    So do names of models from outside, whose execution is not known.
    """
    execution = MODELS.get(model).execution if model in MODELS.names() else ""
    shown = model.rpartition("_")[2] in execution.lower()
    return model if shown or not execution else f"{model} ({execution})"


def sees_everything(model: str, frame: pd.DataFrame) -> bool:
    """Whether the models of its family depend on the whole past, measured or not."""
    return FAMILIES.get(family_of(model, frame)).unbounded


def field_of(frame: pd.DataFrame, rows: pd.DataFrame) -> pd.Series[float]:
    """The receptive field of each row's model at its sequence length, in steps.

    Args:
        frame: Records; fields may be measured at one batch and hidden size, as they depend on
            neither.
        rows: Rows of any measure.

    Returns:
        A series with the rows' index: the smallest field measured of that model at that length,
        infinity where it is unbounded (as for every recurrent model), NaN where it is not known.
    """
    fields = frame[frame["measure"] == "receptive_field"]
    known = fields.assign(steps=fields["value"].where(~is_unbounded(fields), np.inf))
    steps = known.groupby(["model", "seq_len"])["steps"].min()
    at = pd.MultiIndex.from_frame(rows[["model", "seq_len"]])
    field = pd.Series(steps.reindex(at).to_numpy(float), index=rows.index)
    endless = [model for model in rows["model"].unique() if sees_everything(str(model), frame)]
    return field.mask(field.isna() & rows["model"].isin(endless), np.inf)


def parameters_of(
    frame: pd.DataFrame, rows: pd.DataFrame, *, model: str = "model"
) -> pd.Series[float]:
    """The number of parameters of each row's model at its sizes.

    Args:
        frame: Records; parameters may be measured in one mode and at one batch size.
        rows: Rows of any measure.
        model: The column that names the model.

    Returns:
        A series with the rows' index; NaN where the number is not known.
    """
    known = measured(only(frame, (*SIZES, "measure", "status", "value")), "parameters")
    known = without_repeats(known, list(SIZES))
    values = known.set_index(list(SIZES))["value"]
    at = rows[[model if name == "model" else name for name in SIZES]].set_axis(list(SIZES), axis=1)
    return pd.Series(
        values.reindex(pd.MultiIndex.from_frame(at)).to_numpy(float), index=rows.index, dtype=float
    )
