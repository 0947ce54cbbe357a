"""The report: functions of a frame, written as one self-contained page with its data beside it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from benchsuite import __version__, analysis, units
from benchsuite.errors import UsageError
from benchsuite.records import SCHEMA, write_tables
from benchsuite.registry import MEASURES
from benchsuite.report import crossing, explanations, figures
from benchsuite.report.drawing import Figure

#: Measures drawn against sequence length, in this order; every measure gets a table.
DRAWN = ("latency", "device_time", "peak_memory", "saved_activations")
#: How the reason begins where a skip is the answer: a field without end is no number.
UNBOUNDED = "unbounded"
_ENVIRONMENT = (
    *("machine", "cpu", "cores", "memory", "gpu", "gpu_memory", "driver", "cuda", "cudnn", "os"),
    *("python", "torch", "numpy", "benchsuite", "asv_runner", "threads", "tf32_matmul"),
    *("tf32_cudnn", "governor", "load", "commit", "dirty", "tree"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a table: what is shown, what is told on hovering, and how it is marked."""

    text: str
    detail: str
    mark: str  # "", "best", "unstable" or "none"


def write_report(
    frame: pd.DataFrame,
    directory: Path,
    *,
    machine: str | None = None,
    traces: Path | None = None,
) -> dict[str, Path]:
    """Write `index.html`, `summary.md`, tables and figures.

    Args:
        frame: Records as `load_records` gives them.
        directory: Created if need be; files of the same names are replaced.
        machine: Which machine's records, where there are several.
        traces: Directory of the traces that belong to the records, if any.

    Returns:
        What was written, by name: index, summary, csv, parquet, crossovers and each figure.

    Raises:
        UsageError: if the records are of several machines, or the directory cannot be written to.
    """
    chosen = analysis.newest(frame, machine=machine)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        csv, parquet = write_tables(frame, directory)
        written = {"csv": csv, "parquet": parquet}
        drawn = []
        for figure in figures.scaling_figures(chosen, DRAWN):
            path = directory / f"{figure.name}.svg"
            path.write_text(figure.svg, encoding="utf-8")
            written[figure.name] = path
            drawn.append(figure)
        explained = list(explanations.cards(traces, directory)) if traces else []
        crossings = crossing.crossing_tables(chosen)
        written["crossovers"] = crossing.write_crossings(crossings, directory)
        written["index"] = directory / "index.html"
        page = _page(frame, chosen, drawn, crossings, explained)
        written["index"].write_text(page, encoding="utf-8")
        written["summary"] = directory / "summary.md"
        written["summary"].write_text(_summary(chosen, crossings), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write the report to {directory}: {error.strerror}; choose another with -o"
        ) from error
    return written


def _templates() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("benchsuite", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["show"] = units.show
    return templates


def _page(
    frame: pd.DataFrame,
    chosen: pd.DataFrame,
    drawn: list[Figure],
    crossings: dict[str, pd.DataFrame],
    explained: list[dict[str, Any]],
) -> str:
    templates = _templates()
    return templates.get_template("page.html.j2").render(
        **_facts(chosen),
        version=__version__,
        older=len(frame) - len(chosen),
        figures=[{**_figure_of(figure), "slopes": _slopes(figure.table)} for figure in drawn],
        crossings=crossing.crossing_section(crossings),
        tables=list(_tables(chosen)),
        explained=explained,
        environment=_environment(chosen),
        style=Markup((resources.files(__name__) / "style.css").read_text("utf-8")),
    )


def _summary(chosen: pd.DataFrame, crossings: dict[str, pd.DataFrame]) -> str:
    facts = _facts(chosen)
    lines = [
        f"### benchsuite: {', '.join(facts['studies'])}",
        "",
        f"{facts['cpu']}; {facts['counts']}.",
        "",
        *(f"- {sentence}" for sentence in facts["winners"]),
    ]
    words = crossing.crossing_words(crossings)
    if words:
        lines += ["", "Where the lines cross:", "", *(f"- {sentence}" for sentence in words)]
    slopes = analysis.scaling(chosen, "latency")
    if len(slopes):
        lines += ["", "| model | mode | exponent of latency in T, median over lines |", "|-|-|-|"]
        grouped = slopes.groupby(["model", "mode"], sort=False, as_index=False)["exponent"].median()
        lines += [f"| {r.model} | {r.mode} | {r.exponent:.2f} |" for r in grouped.itertuples()]
    return "\n".join(lines) + "\n"


def _facts(chosen: pd.DataFrame) -> dict[str, Any]:
    by_status = chosen["status"].value_counts()
    started = datetime.fromtimestamp(float(chosen["started_at"].min()), UTC)
    return {
        "studies": [study for study in dict.fromkeys(chosen["study"]) if study] or ["records"],
        "cpu": next((cpu for cpu in chosen["cpu"] if cpu), "unknown processor"),
        "started": f"{started:%Y-%m-%d %H:%M} UTC",
        "cases": chosen["case"].nunique(),
        "measurements": len(chosen),
        "counts": ", ".join(f"{n} {status}" for status, n in by_status.items()),
        "unstable": int(chosen["warning"].str.startswith(("unstable", "few")).sum()),
        "matches": sorted(chosen["match"].unique()),
        "winners": _winners(chosen),
        "problems": _problems(chosen),
    }


def _problems(chosen: pd.DataFrame) -> list[dict[str, Any]]:
    """What has no value, gathered by reason; failures before skips."""
    rows = analysis.problems(chosen)
    answers = (rows["status"] == "skipped") & rows["reason"].str.startswith(UNBOUNDED)
    rows = rows[~answers]
    gathered = [
        {
            "status": status,
            "reason": reason,
            "count": len(same),
            "cases": [f"{row.case} {row.measure}" for row in same.itertuples()],
        }
        for (status, reason), same in rows.groupby(["status", "reason"], sort=False)
    ]
    return sorted(gathered, key=lambda found: found["status"] == "skipped")


def _winners(chosen: pd.DataFrame) -> list[str]:
    """Who was fastest in how many shapes, told per mode; a tie is where intervals overlap."""
    ok = chosen[(chosen["measure"] == "latency") & (chosen["status"] == "ok")]
    if ok["model"].nunique() < 2:
        return []
    sentences = []
    shape = [*analysis.LINE, "seq_len"]
    for mode, rows in ok.groupby("mode", sort=False):
        wins: dict[str, int] = {}
        for _, cell in rows.groupby(shape, sort=False):
            ordered = cell.sort_values("value")
            if len(ordered) > 1 and ordered["ci_high"].iloc[0] < ordered["ci_low"].iloc[1]:
                winner = str(ordered["model"].iloc[0])
            else:
                winner = "no clear winner"
            wins[winner] = wins.get(winner, 0) + 1
        told = sorted(wins.items(), key=lambda item: -item[1])
        total = sum(wins.values())
        sentences.append(
            f"{mode}, lowest latency: "
            + ", ".join(f"{m} in {n} of {total} shapes" for m, n in told)
        )
    return sentences


def _figure_of(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "svg": Markup(figure.inline()),
    }


def _slopes(lines: pd.DataFrame | None) -> list[dict[str, str]]:
    if lines is None:
        return []
    varying = [name for name in analysis.LINE if lines[name].nunique() > 1]
    return [
        {
            "model": row["model"],
            **{name: str(row[name]) for name in varying},
            "exponent": f"{row['exponent']:.2f}",
            "interval": "–" if pd.isna(row["low"]) else f"{row['low']:.2f} to {row['high']:.2f}",
            "lengths": str(row["n"]),
        }
        for _, row in lines.iterrows()
    ]


def _tables(chosen: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """A table per measure: a row per shape, a column per model."""
    for measure in dict.fromkeys(chosen["measure"]):
        rows = chosen[chosen["measure"] == measure]
        models = list(dict.fromkeys(rows["model"]))
        names = [*analysis.LINE, "seq_len"]
        shown = [n for n in names if n == "seq_len" or _varies(rows, n)]
        spec = MEASURES.get(measure) if measure in MEASURES.names() else None
        yield {
            "measure": measure,
            "summary": spec.summary if spec else "",
            "keys": shown,
            "models": models,
            "fixed": ", ".join(
                f"{name}={rows[name].iloc[0]}"
                for name in names
                if name not in shown and name != "input_size"
            ),
            "rows": [_table_row(shape, shown, models) for _, shape in rows.groupby(names)],
        }


def _varies(rows: pd.DataFrame, name: str) -> bool:
    if name == "input_size":
        return bool((rows["input_size"] != rows["hidden_size"]).any())
    return bool(rows[name].nunique() > 1)


def _table_row(shape: pd.DataFrame, shown: list[str], models: list[str]) -> dict[str, Any]:
    """One shape's values: its records, one per model, beside each other."""
    measure = str(shape["measure"].iloc[0])
    ranked = measure not in MEASURES.names() or MEASURES.get(measure).direction == "lower"
    values = shape.loc[(shape["status"] == "ok") & ranked, "value"]
    best = float(values.min()) if len(values) else None
    records = {record["model"]: record for record in shape.to_dict("records")}
    return {
        "keys": [shape[name].iloc[0] for name in shown],
        "cells": [_cell(records.get(model), best) for model in models],
    }


def _cell(record: dict[Hashable, Any] | None, best: float | None) -> Cell:
    if record is None:
        return Cell("", "not in the study", "none")
    if record["status"] == "skipped" and str(record["reason"]).startswith(UNBOUNDED):
        return Cell(UNBOUNDED, str(record["reason"]), "")
    if record["status"] != "ok":
        return Cell(str(record["status"]), str(record["reason"]), "none")
    unit = str(record["unit"])
    parts = []
    if record["n_samples"] > 1:
        interval = f"{units.show(record['ci_low'], unit)} to {units.show(record['ci_high'], unit)}"
        parts.append(f"95 % interval {interval}, {record['n_samples']} samples")
    parts += [str(record[name]) for name in ("kernel", "warning") if record[name]]
    if record["match"] != "width":
        parts.append(f"width {record['width']}, {record['match_deviation']:+.1%} of the target")
    shaky = str(record["warning"]).startswith(("unstable", "few"))
    mark = "unstable" if shaky else "best" if record["value"] == best else ""
    return Cell(units.show(float(record["value"]), unit), "; ".join(parts), mark)


def _environment(chosen: pd.DataFrame) -> list[tuple[str, str, str]]:
    """(name, value, meaning) of what the numbers were measured with."""
    rows = []
    for name in _ENVIRONMENT:
        column = SCHEMA[name]
        values = chosen[name].dropna()
        distinct = [value for value in dict.fromkeys(values) if value != ""]
        if not distinct:
            continue
        if name == "load":
            text = f"{values.min():.2f} to {values.max():.2f}"
        elif column.unit == "B":
            text = ", ".join(units.show(float(value), "B") for value in distinct)
        else:
            text = ", ".join(map(str, distinct))
        rows.append((re.sub("_", " ", name), text, column.help))
    kernels = chosen[chosen["kernel"] != ""].groupby("model", sort=False)["kernel"].unique()
    rows += [
        (f"kernels of {model}", ", ".join(found), "what ran") for model, found in kernels.items()
    ]
    return rows
