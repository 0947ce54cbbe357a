"""Facts for the page: counts of what was measured, problems, and the environment."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from benchsuite import analysis, units
from benchsuite.catalog.models import MACHINE
from benchsuite.grid.study_file import shipped
from benchsuite.records import SCHEMA

_ENVIRONMENT = (
    *("machine", "cpu", "cores", "memory", "gpu", "gpu_memory", "driver", "cuda", "cudnn", "os"),
    *("python", "torch", "numpy", "benchsuite", "asv_runner", "threads", "tf32_matmul"),
    *("tf32_cudnn", "governor", "load", "commit", "dirty", "tree"),
)
#: Columns that facts follow from, besides `analysis.UNSTABLE`.
FACTS = tuple(
    dict.fromkeys(
        (
            *("model", "case", "measure", "match", "status", "reason", "unbounded", "study"),
            *("started_at", *_ENVIRONMENT),
        )
    )
)
#: Cases named per reason at most.
_NAMED = 60


def facts(chosen: pd.DataFrame) -> dict[str, Any]:
    """Names, counts, problems and environment, by the names that the template uses."""
    cases = chosen[chosen["model"] != MACHINE]
    unbounded = analysis.is_unbounded(chosen)
    by_status = chosen.loc[~unbounded, "status"].value_counts()
    counts = [f"{n:,} {status}" for status, n in by_status.items()]
    if unbounded.any():
        plural = "s" if unbounded.sum() > 1 else ""
        counts.append(f"{unbounded.sum():,} unbounded receptive field{plural}")
    started = datetime.fromtimestamp(float(chosen["started_at"].min()), UTC)
    studies = [study for study in chosen["study"].unique() if study] or ["records"]
    return {
        "studies": studies,
        "command": command(studies),
        "cpu": next((cpu for cpu in chosen["cpu"] if cpu), "unknown processor"),
        "gpus": [gpu for gpu in chosen["gpu"].unique() if gpu],
        "started": f"{started:%Y-%m-%d %H:%M} UTC",
        "cases": cases["case"].nunique(),
        "measurements": len(chosen),
        "counts": ", ".join(counts),
        "unstable": int(analysis.is_unstable(chosen).sum()),
        "matches": [analysis.HELD[match] for match in cases["match"].unique()],
        "mixed": [
            f"{name}s {', '.join(values)}"
            for name in ("commit", "torch")
            if len(values := [str(v)[:12] for v in chosen[name].unique() if v]) > 1
        ],
        "problems": problems(chosen),
        "environment": environment(chosen),
    }


def command(studies: list[str]) -> str:
    """The command that makes such a page again, if the study is a shipped one."""
    if len(studies) == 1 and studies[0] in shipped():
        return f"benchsuite run {studies[0]} --trace && benchsuite report {studies[0]}"
    return ""


def problems(chosen: pd.DataFrame) -> list[dict[str, Any]]:
    """Measurements without a value, grouped by reason; failures before skips."""
    rows = analysis.problems(chosen)
    rows = rows[~analysis.is_unbounded(rows)]
    gathered = [
        {
            "status": status,
            "reason": reason,
            "count": len(same),
            "cases": [f"{row.case} {row.measure}" for row in same.head(_NAMED).itertuples()],
            "more": max(0, len(same) - _NAMED),
        }
        for (status, reason), same in rows.groupby(["status", "reason"], sort=False)
    ]
    return sorted(gathered, key=lambda problem: problem["status"] == "skipped")


def environment(chosen: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each part of the environment that measured."""
    rows = []
    for name in _ENVIRONMENT:
        column = SCHEMA[name]
        values = chosen[name].dropna()
        distinct = [value for value in values.unique() if value != ""]
        if not distinct:
            continue
        if name == "load":
            text = f"{values.min():.2f} to {values.max():.2f}"
        elif column.unit == "B":
            text = ", ".join(units.show(float(value), "B") for value in distinct)
        else:
            text = ", ".join(map(str, distinct))
        rows.append((re.sub("_", " ", name), text, column.help))
    return rows
