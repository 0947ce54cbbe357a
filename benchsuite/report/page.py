"""The report: one self-contained page made from a frame, with its data in files beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from benchsuite import __version__, analysis
from benchsuite.analysis.ladder import ladder_sentences, ladders
from benchsuite.analysis.streaming import TAIL, call_words, calls
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.records import write_tables
from benchsuite.records.csv_files import write_csv
from benchsuite.records.home import remove_links
from benchsuite.report import cards, crossovers, executions, tables
from benchsuite.report.facts import FACTS, facts
from benchsuite.report.figures import (
    closed_loop,
    fastest,
    ladder,
    pareto,
    receptive_field,
    roofline,
    scaling,
    speedup,
)
from benchsuite.report.figures.executions import execution_figures
from benchsuite.report.figures.figure import Figure, looks_for
from benchsuite.report.figures.streaming import stream_figures
from benchsuite.report.streaming import stream_table

#: Measures drawn against sequence length, in this order; every measure has a table.
DRAWN = ("latency", "device_time", "peak_memory", "tensor_memory", "saved_activations")

#: Columns that tables, figures and conclusions follow from, besides those derived of raw samples.
_ANALYSED = (
    *AXES,
    *("case", "machine", "commit", "tree", "torch", "measure", "version", "unit", "value"),
    *("ci_low", "ci_high", "q25", "q75", "n_samples", "status", "reason", "warning"),
    *(*TAIL, "stream"),
    *("family", "kernel", "looped", "width", "match_deviation", "output_size", "unbounded"),
    *("predicted", "expected", "tf32_matmul", "tf32_cudnn"),
    *("engine_version", "engine_precision", "engine_error", "preparation"),
)
#: Of the files that a report consists of.
_SUFFIXES = (".html", ".md", ".csv", ".gz", ".parquet", ".svg")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: sentences, figures with their data, tables.

    `empty` is shown where there are no figures.
    """

    id: str
    title: str
    figures: Sequence[Figure]
    sentences: Sequence[str] = ()
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
        directory: Created if necessary; files of the same names are replaced.
        machine: The machine, where the records are of several.
        traces: Directory of the traces that belong to the records, if any.
        compress: Gzip the CSV of all records, for a report that is published.

    Returns:
        Name → path of every file written: index, summary, csv, parquet, verdict, crossovers,
        scaling, memory, each figure and its data.

    Raises:
        UsageError: if the records are of several machines, or the directory cannot be written to.
    """
    newest = analysis.newest_rows(frame, machine=machine)
    chosen = _analysed(frame, newest)
    known = facts(frame[[*FACTS]].iloc[newest].assign(unstable=chosen[analysis.UNSTABLE]))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        remove_links(directory, _SUFFIXES)  # writing would change their targets
        tables_written = _in_background(write_tables, frame, directory, compress=compress)
        written: dict[str, Path] = {}
        memory = _machine_memory(frame[["device", "memory", "gpu_memory"]].iloc[newest])
        noise = analysis.floor(chosen, "latency")
        longer = analysis.sequences(chosen)
        of_longer = noise if longer is chosen else analysis.floor(longer, "latency")
        laws = analysis.laws(chosen, "latency", noise=noise)
        lines = analysis.memory_lines(chosen, memory=memory)
        for name, table in (("scaling", laws), ("memory", lines)):
            written[name] = directory / f"{name}.csv"
            write_csv(table, written[name])
        bounds = analysis.roofline(chosen, noise=noise)
        law_tables = [
            *([tables.law_table(laws, "latency", "s")] if len(laws) else []),
            *([tables.memory_table(lines, memory)] if len(lines) else []),
        ]
        crossings = crossovers.crossing_tables(longer, {"latency": of_longer})
        with looks_for(chosen["model"].unique()):
            sections = _sections(chosen, law_tables, bounds, noise, of_longer)
            beside = [*_executions(longer, crossings, of_longer)]
            sections[1:1] = beside
        for figure in (figure for section in sections for figure in section.figures):
            written[figure.name] = directory / f"{figure.name}.svg"
            written[figure.name].write_text(figure.standalone(), encoding="utf-8")
            written[f"{figure.name} data"] = directory / f"{figure.name}.csv"
            write_csv(figure.data, written[f"{figure.name} data"])
        written["crossovers"] = crossovers.write_crossings(crossings, directory)
        crossed = crossovers.crossing_section(
            crossings, analysis.families_of(chosen), analysis.fastest_executions(chosen)
        )
        verdict = analysis.verdict(chosen, noise=noise)
        written["verdict"] = directory / "verdict.csv"
        write_csv(verdict.cells, written["verdict"])
        unrolled = analysis.unrolled_sentences(chosen, verdict)
        pairs = verdict.pair_sentences()  # of more than two families
        sentences = [*verdict.sentences(), *([] if pairs else unrolled), *verdict.limits()]
        csv, parquet = tables_written.result()
        page = (
            _templates()
            .get_template("page.html.j2")
            .render(
                **known,
                version=__version__,
                files=[csv.name, parquet.name],
                older=int(frame["machine"].isin(chosen["machine"].unique()).sum()) - len(chosen),
                verdict=sentences,
                pairs=[*pairs, *unrolled] if pairs else [],
                validated=analysis.validation(chosen),
                noise=verdict.noise,
                sections=[_shown(section) for section in sections],
                cards=list(cards.cards(chosen, traces, directory, bounds)),
                crossings=crossed,
                tables=list(tables.case_tables(chosen)),
            )
        )
        written["index"] = directory / "index.html"
        written["index"].write_text(page, encoding="utf-8")
        written["summary"] = directory / "summary.md"
        executed = [sentence for section in beside for sentence in section.sentences]
        summary = _summary(known, sentences, executed, laws, crossed)
        written["summary"].write_text(summary, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write the report to {directory}: {error.strerror}; choose another with -o"
        ) from error
    return {"csv": csv, "parquet": parquet, **written}


def _analysed(frame: pd.DataFrame, rows: Any) -> pd.DataFrame:
    """Rows with the columns that are analysed: instead of raw samples, what follows from them."""
    samples = frame["samples"].iloc[rows]
    chosen: pd.DataFrame = frame[[*_ANALYSED]].iloc[rows]
    unstable = analysis.is_unstable(chosen.assign(samples=samples))
    chosen[analysis.WITHIN] = analysis.median_errors(samples)
    chosen[analysis.UNSTABLE] = unstable
    return chosen


def _in_background(function: Callable[..., Any], *positional: Any, **named: Any) -> Future[Any]:
    """Call a function in a thread, which ends with the process at the latest.

    Writing tables is left to Arrow, which lets other threads run meanwhile.
    """
    result: Future[Any] = Future()

    def call() -> None:
        try:
            result.set_result(function(*positional, **named))
        except BaseException as error:  # raised where the result is used
            result.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return result


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
    chosen: pd.DataFrame,
    laws: Sequence[tables.Table],
    bounds: pd.DataFrame,
    noise: analysis.Noise,
    of_longer: analysis.Noise,
) -> list[Section]:
    """The sections with figures.

    Args:
        chosen: One row per case and measure.
        laws: Tables of laws.
        bounds: From `analysis.roofline`.
        noise: The floor of latency.
        of_longer: That of cases of more than one timestep.
    """
    return [
        Section(
            "maps",
            "Which model, where",
            [
                *fastest.crossover_maps(chosen, noise=noise),
                *speedup.speedup_maps(chosen, noise=of_longer),
            ],
            empty="The records have fewer than two models.",
        ),
        Section(
            "scaling",
            "Scaling in sequence length",
            list(scaling.scaling_figures(chosen, DRAWN, {"latency": noise})),
            tables=laws,
            empty="The records have fewer than two sequence lengths.",
        ),
        *_streaming(chosen),
        *_ladder(chosen),
        Section(
            "pareto",
            "Time, error and field",
            list(pareto.pareto_figures(chosen)),
            empty="No task's error was measured where a step was timed (sine_mix_error, …).",
        ),
        Section(
            "roofline",
            "Use of the machine",
            list(roofline.roofline_figures(chosen, bounds)),
            sentences=analysis.bound_words(bounds),
            empty="The machine's ceilings were not measured (matmul_rate, copy_bandwidth, flops).",
        ),
        Section(
            "accuracy",
            "Forecasts after training",
            list(closed_loop.wave_figures(chosen)),
            empty="No forecasting task was measured (sine_error, sine_mix_error).",
        ),
        Section(
            "field",
            "Receptive fields",
            list(receptive_field.field_figures(chosen)),
            empty="No field was measured at two sequence lengths (receptive_field, erf95).",
        ),
    ]


def _executions(
    chosen: pd.DataFrame, crossings: Mapping[str, pd.DataFrame], noise: analysis.Noise
) -> Iterator[Section]:
    """The section on executions, if a mathematics was measured in two or more."""
    table = analysis.executions(chosen, noise=noise)
    if not len(table):
        return
    crossed = analysis.execution_crossings(crossings["latency"])
    yield Section(
        "executions",
        "One mathematics, several executions",
        list(execution_figures(chosen, table)),
        sentences=analysis.execution_words(chosen, table, crossed, noise=noise),
        tables=[
            executions.ratio_table(table),
            *([executions.crossing_table(crossed)] if len(crossed) else []),
        ],
    )


def _streaming(chosen: pd.DataFrame) -> list[Section]:
    """The section on streams, if calls of one were timed."""
    table = calls(chosen)
    if not len(table):
        return []
    return [
        Section(
            "streaming",
            "Streaming",
            list(stream_figures(table)),
            sentences=call_words(table),
            tables=[stream_table(table)],
        )
    ]


def _ladder(chosen: pd.DataFrame) -> list[Section]:
    """The section on engines, if there are records of two engines of one mathematics."""
    if chosen["engine"].nunique() < 2:
        return []
    table = ladders(chosen)
    if not len(table):
        return []
    return [
        Section(
            "ladder",
            "Ladder: executions and engines",
            list(ladder.ladder_figures(table)),
            sentences=ladder_sentences(table),
            tables=[ladder.ladder_table(table)],
            empty="No rung of a ladder has a latency.",
        )
    ]


def _machine_memory(chosen: pd.DataFrame) -> float | None:
    """Bytes of memory of the device, where all records are of one.

    Args:
        chosen: The columns `device`, `memory` and `gpu_memory`.
    """
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
        "sentences": section.sentences,
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


def _summary(
    known: dict[str, Any],
    verdict: Sequence[str],
    executed: Sequence[str],
    laws: pd.DataFrame,
    crossed: Iterable[dict[str, Any]],
) -> str:
    """The report as Markdown, for a pull request."""
    lines = [
        f"### benchsuite: {', '.join(known['studies'])}",
        "",
        f"{known['cpu']}; {known['counts']}.",
        "",
        *(f"- {sentence}" for sentence in verdict),
    ]
    if executed:
        lines += ["", "Executions of one mathematics:", "", *(f"- {words}" for words in executed)]
    crossings = [
        f"- {part['measure']}, {sentence.text}"
        for part in crossed
        for sentence in part["sentences"]
        if sentence.crosses
    ]
    if crossings:
        lines += ["", "Crossings:", "", *crossings]
    if len(laws):
        lines += ["", "| model | mode | exponent of latency in T, median over lines |", "|-|-|-|"]
        grouped = laws.groupby(["model", "mode"], sort=False, as_index=False)["exponent"].median()
        lines += [f"| {r.model} | {r.mode} | {r.exponent:.2f} |" for r in grouped.itertuples()]
    lines += _failures(known["problems"])
    return "\n".join(lines) + "\n"


def _failures(problems: Iterable[dict[str, Any]]) -> list[str]:
    failed = [p for p in problems if p["status"] != "skipped"]
    lines = [f"- {p['status']}, {p['count']} measurements: {p['reason']}" for p in failed]
    return ["", "Failed:", "", *lines] if lines else []
