"""The report: functions of a frame, written as one self-contained page with its data beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from benchsuite import __version__, analysis
from benchsuite.errors import UsageError
from benchsuite.records import write_tables
from benchsuite.records.home import remove_links
from benchsuite.report import cards, crossovers, tables
from benchsuite.report.facts import facts
from benchsuite.report.figures import closed_loop, fastest, pareto, receptive_field, speedup
from benchsuite.report.figures import roofline as roofs
from benchsuite.report.figures import scaling as figures
from benchsuite.report.figures.figure import Figure, looks_for

#: Measures drawn against sequence length, in this order; every measure gets a table.
DRAWN = ("latency", "device_time", "peak_memory", "tensor_memory", "saved_activations")

#: Of the files that a report consists of.
_SUFFIXES = (".html", ".md", ".csv", ".gz", ".parquet", ".svg")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: words, figures with their data, tables."""

    id: str
    title: str
    figures: Sequence[Figure]
    words: Sequence[str] = ()
    tables: Sequence[tables.Table] = ()
    empty: str = ""


def write_report(
    frame: pd.DataFrame,
    directory: Path,
    *,
    machine: str | None = None,
    traces: Path | None = None,
    compress: bool = False,
) -> dict[str, Path]:
    """Write `index.html`, `summary.md`, tables and figures with their data.

    Args:
        frame: Records as `load_records` gives them.
        directory: Created if need be; files of the same names are replaced.
        machine: Which machine's records, where there are several.
        traces: Directory of the traces that belong to the records, if any.
        compress: Gzip the CSV of all records, for a report that is published.

    Returns:
        What was written, by name: index, summary, csv, parquet, crossovers, scaling, memory, each
        figure and its data.

    Raises:
        UsageError: if the records are of several machines, or the directory cannot be written to.
    """
    chosen = analysis.newest(frame, machine=machine)
    chosen = chosen.assign(**{analysis.WITHIN: analysis.withins(chosen["samples"])})
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_links(directory, _SUFFIXES)  # writing would change their targets
        csv, parquet = write_tables(frame, directory, compress=compress)
        written = {"csv": csv, "parquet": parquet}
        memory = _machine_memory(chosen)
        laws = analysis.laws(chosen, "latency")
        lines = analysis.memory_lines(chosen, memory=memory)
        for name, table in (("scaling", laws), ("memory", lines)):
            written[name] = directory / f"{name}.csv"
            table.to_csv(written[name], index=False)
        told = facts(chosen)
        roofline = analysis.roofline(chosen)
        laws_told = [
            *([tables.law_table(laws, "latency", "s")] if len(laws) else []),
            *([tables.memory_table(lines, memory)] if len(lines) else []),
        ]
        with looks_for(chosen["model"]):
            sections = _sections(chosen, laws_told, roofline)
        for figure in (figure for section in sections for figure in section.figures):
            written[figure.name] = directory / f"{figure.name}.svg"
            written[figure.name].write_text(figure.standalone(), encoding="utf-8")
            written[f"{figure.name} data"] = directory / f"{figure.name}.csv"
            figure.data.to_csv(written[f"{figure.name} data"], index=False)
        crossings = crossovers.crossing_tables(analysis.sequences(chosen))
        written["crossovers"] = crossovers.write_crossings(crossings, directory)
        crossed = crossovers.crossing_section(crossings, analysis.families_of(chosen))
        found = analysis.verdict(chosen)
        words = _verdict_words(chosen, found)
        page = (
            _templates()
            .get_template("page.html.j2")
            .render(
                **told,
                version=__version__,
                files=[csv.name, parquet.name],
                older=int(frame["machine"].isin(chosen["machine"]).sum()) - len(chosen),
                verdict=words,
                validated=analysis.validation(chosen),
                noise=found.noise,
                sections=[_shown(section) for section in sections],
                cards=list(cards.cards(chosen, traces, directory, roofline)),
                crossings=crossed,
                tables=list(tables.case_tables(chosen)),
            )
        )
        written["index"] = directory / "index.html"
        written["index"].write_text(page, encoding="utf-8")
        written["summary"] = directory / "summary.md"
        written["summary"].write_text(_summary(told, words, laws, crossed), encoding="utf-8")
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
    files = resources.files("benchsuite.report")
    for name, file in (("style", "style.css"), ("script", "page.js")):
        templates.globals[name] = Markup((files / file).read_text("utf-8"))
    return templates


def _sections(
    chosen: pd.DataFrame, laws: Sequence[tables.Table], roofline: pd.DataFrame
) -> list[Section]:
    return [
        Section(
            "maps",
            "Which model, where",
            [*fastest.crossover_maps(chosen), *speedup.speedup_maps(chosen)],
            empty="There are no two models to compare.",
        ),
        Section(
            "scaling",
            "Scaling in sequence length",
            list(figures.scaling_figures(chosen, DRAWN)),
            tables=laws,
            empty="There are no two sequence lengths to draw a line through.",
        ),
        Section(
            "pareto",
            "Time, error and field",
            list(pareto.pareto_figures(chosen)),
            empty="No task's error was measured where a step was timed (sine_mix_error, …).",
        ),
        Section(
            "roofline",
            "How much of the machine",
            list(roofs.roofline_figures(chosen, roofline)),
            words=analysis.bound_words(roofline),
            empty="The machine's ceilings were not measured (matmul_rate, copy_bandwidth, flops).",
        ),
        Section(
            "accuracy",
            "What they learn",
            list(closed_loop.wave_figures(chosen)),
            empty="No task that goes on by itself was measured (sine_error, sine_mix_error).",
        ),
        Section(
            "field",
            "What they see",
            list(receptive_field.field_figures(chosen)),
            empty="No field was measured at two sequence lengths (receptive_field, erf95).",
        ),
    ]


def _machine_memory(chosen: pd.DataFrame) -> float | None:
    """Of the device, where all records are of one."""
    devices = chosen["device"].unique()
    if len(devices) > 1:
        return None
    column = "memory" if devices[0] == "cpu" else "gpu_memory"
    values = chosen[column].dropna().unique()
    return float(values[0]) if len(values) == 1 else None


def _shown(section: Section) -> dict[str, Any]:
    return {
        "id": section.id,
        "title": section.title,
        "words": section.words,
        "tables": section.tables,
        "empty": section.empty,
        "figures": [
            {
                "name": figure.name,
                "wide": figure.wide,
                "caption": figure.caption,
                "svg": Markup(figure.inline()),
                "table": None
                if figure.table is None
                else tables.frame_table(figure.table, "In numbers"),
            }
            for figure in section.figures
        ],
    }


def _verdict_words(chosen: pd.DataFrame, found: analysis.Verdict) -> list[str]:
    """The verdict, and the same for recurrences without a library's kernel where some had one."""
    loops = analysis.verdict(analysis.unrolled(chosen))
    words = found.sentences()
    if set(loops.cells["recurrent"]) != set(found.cells["recurrent"]):
        words += [
            f"Recurrence unrolled in Python, without a library's kernel; {sentence}"
            for sentence in loops.sentences()
        ]
    return words + found.limits()


def _summary(
    told: dict[str, Any],
    verdict: Sequence[str],
    laws: pd.DataFrame,
    crossed: Iterable[dict[str, Any]],
) -> str:
    """The report for a pull request."""
    lines = [
        f"### benchsuite: {', '.join(told['studies'])}",
        "",
        f"{told['cpu']}; {told['counts']}.",
        "",
        *(f"- {sentence}" for sentence in verdict),
    ]
    words = [f"{of['measure']}, {w}" for of in crossed for w in of["words"] if " cross in " in w]
    if words:
        lines += ["", "Where the lines cross:", "", *(f"- {sentence}" for sentence in words)]
    if len(laws):
        lines += ["", "| model | mode | exponent of latency in T, median over lines |", "|-|-|-|"]
        grouped = laws.groupby(["model", "mode"], sort=False, as_index=False)["exponent"].median()
        lines += [f"| {r.model} | {r.mode} | {r.exponent:.2f} |" for r in grouped.itertuples()]
    lines += _worst(told["problems"])
    return "\n".join(lines) + "\n"


def _worst(problems: Iterable[dict[str, Any]]) -> list[str]:
    failed = [p for p in problems if p["status"] != "skipped"]
    lines = [f"- {p['status']}, {p['count']} measurements: {p['reason']}" for p in failed]
    return ["", "Failed:", "", *lines] if lines else []
