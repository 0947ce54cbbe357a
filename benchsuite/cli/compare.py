"""`benchsuite compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import AsJson, Home, Machine, app, message, print_json
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from benchsuite.analysis import Comparison

_CHANGES = ("slower", "higher", "faster", "lower")
#: Rows of one verdict, and reasons of missing cases, that are printed.
_MOST_ROWS = 30
_MOST_REASONS = 8


@app.command(epilog="Example: benchsuite compare 1f3c2aa HEAD --study tracked --measure latency")
def compare(
    base: Annotated[
        str,
        typer.Argument(help="A study, record file or directory, git revision or torch version."),
    ],
    head: Annotated[str, typer.Argument(help="What is compared with it, named the same way.")],
    study: Annotated[
        str | None,
        typer.Option(help="Study or path whose commits are meant; default: the last run."),
    ] = None,
    measure: Annotated[str, typer.Option(help="Which measure.")] = "latency",
    threshold: Annotated[
        float, typer.Option(min=0, max=10, help="Least relative change that counts.")
    ] = 0.05,
    machine: Machine = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say case by case what got faster, slower, or cannot be told.

    Exit code 1 means that something got slower (or, for other measures, higher). With nothing
    changed and both sides measured in turn, at most 5 % of comparisons call any case. With fewer
    than four runs of each side the verdict is "too few runs", and the exit code 0.
    """
    from benchsuite import analysis
    from benchsuite.catalog.measures import MEASURES
    from benchsuite.records.home import home_of

    MEASURES.get(measure)
    old, new = (_side(word, study, home_of(home), machine) for word in (base, head))
    found = analysis.compare(old, new, measure, threshold=threshold)
    counts = {str(name): int(n) for name, n in found.table["verdict"].value_counts().items()}
    if as_json:
        print_json(_document(found, measure, counts, base, head))
    else:
        _show(found, measure, counts)
    if set(counts) == {"missing"}:
        raise UsageError(f"nothing was compared: no case has a {measure} on both sides")
    if counts.get("slower") or counts.get("higher"):
        raise typer.Exit(1)


def _side(word: str, study: str | None, home: Path, machine: str | None) -> pd.DataFrame:
    """Every attempt that a word stands for."""
    from benchsuite.cli._sources import find_records, load_source, measured_studies

    if study is None and (word in measured_studies(home) or Path(word).exists()):
        frame = load_source(find_records(word, home)[0], every_attempt=True)
    else:
        frame = _of_commit(word, load_source(find_records(study, home)[0], every_attempt=True))
    for problem in frame.attrs.get("problems", []):
        message(f"note: {problem}")
    if machine is not None:
        frame = frame[frame["machine"] == machine]
        if not len(frame):
            raise UsageError(f"{word!r} has no records of machine {machine!r}")
    return frame


def _of_commit(word: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Records of a commit by the start of its hash, another name that git knows, or torch version.

    A commit's clean records are taken where it has any: those of a changed tree are of other code.
    """
    from benchsuite.host import git

    commits = [c for c in dict.fromkeys(frame["commit"]) if c]
    matching = [c for c in commits if len(word) >= 4 and c.startswith(word.lower())]
    if not matching:  # a branch, a tag, HEAD~2
        known = git(Path(), "rev-parse", "--verify", "--quiet", word + "^{commit}")
        matching = [c for c in commits if c == known]
    if len(matching) > 1:
        raise UsageError(f"commit {word!r} is ambiguous: {', '.join(c[:12] for c in matching)}")
    if matching:
        of_commit: pd.DataFrame = frame[frame["commit"] == matching[0]]
        clean: pd.DataFrame = of_commit[of_commit["tree"] == ""]
        return clean if len(clean) else of_commit
    own: pd.DataFrame = frame[frame["torch"] == word]
    if len(own):
        return own
    versions = sorted(set(frame["torch"]) - {""})
    raise UsageError(
        f"{word!r} is no study, path, measured git revision or torch version; commits:"
        f" {', '.join(c[:12] for c in commits) or 'none'}; torch: {', '.join(versions) or 'none'}"
    )


def _document(
    found: Comparison, measure: str, counts: dict[str, int], base: str, head: str
) -> dict[str, Any]:
    import dataclasses
    import json

    rows = json.loads(found.table.to_json(orient="records", double_precision=15))
    return {
        "base": base,
        "head": head,
        "measure": measure,
        "verdicts": counts,
        "p": found.p if math.isfinite(found.p) else None,
        "noise": {name: dataclasses.asdict(own) for name, own in found.noise.items()},
        "notes": list(found.notes),
        "cases": rows,
    }


def _show(found: Comparison, measure: str, counts: dict[str, int]) -> None:
    for verdict in _CHANGES:
        _print_changes(verdict, found.table[found.table["verdict"] == verdict])
    _print_changes("too few runs", _unsure(found.table))
    _print_missing(found.table)
    print(f"{measure}: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    _print_noise(found)
    for note in found.notes:
        message(f"note: {note}")


def _print_changes(verdict: str, rows: pd.DataFrame) -> None:
    """The cases of one verdict, the most changed first."""
    from rich.table import Table

    from benchsuite.cli._output import columns_left, console, fold
    from benchsuite.units import show

    if not len(rows):
        return
    order = abs(rows["ratio"].map(math.log)).sort_values(ascending=False, kind="stable").index
    shown = rows.loc[order[:_MOST_ROWS]].to_dict("records")
    cells = [
        (
            str(row["case"]),
            *(show(float(row[side]), str(row["unit"])) for side in ("base", "head")),
            _interval(row["ratio"], row["low"], row["high"]),
        )
        for row in shown
    ]
    heads = (f"{verdict} ({len(rows)})", "base", "head", "head / base")
    room = columns_left(cells, 0, heads)
    table = Table(box=None, pad_edge=False)
    table.add_column(heads[0], no_wrap=True)
    for head in heads[1:]:
        table.add_column(head, justify="right", no_wrap=True)
    for case, *rest in cells:
        table.add_row(fold(case, room, "-"), *rest)
    console().print(table, highlight=False)
    if len(rows) > len(shown):
        print(f"and {len(rows) - len(shown)} more, less changed; --json has all")
    print()


def _interval(ratio: float, low: float, high: float) -> str:
    """A ratio with its interval; a third decimal where the change is small."""
    digits = 2 if abs(ratio - 1) >= 0.1 else 3
    return f"{ratio:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _unsure(table: pd.DataFrame) -> pd.DataFrame:
    """Cases with too few runs whose interval leaves out one: what to measure again."""
    few = table[table["verdict"] == "too few runs"]
    return few[(few["low"] > 1) | (few["high"] < 1)]


def _print_missing(table: pd.DataFrame) -> None:
    """The cases that only one side has a value of, grouped by the reason."""
    from benchsuite.cli._output import paragraph

    missing = table[table["verdict"] == "missing"]
    if not len(missing):
        return
    # Reasons that differ in numbers only, such as the bytes that did not fit, are one.
    kinds = missing["reason"].str.replace(r"\d[\d.,]*", "#", regex=True)
    groups = [group for _, group in missing.groupby(kinds, sort=False)]
    groups.sort(key=len, reverse=True)
    print(f"missing ({len(missing)}):")
    for group in groups[:_MOST_REASONS]:
        example = "" if group["reason"].nunique() == 1 else "for example "
        who = f"{len(group)} with {common}" if (common := _common(group, table)) else len(group)
        if len(group) == 1:
            who = group["case"].iloc[0]
        print(paragraph(f"  {who}: {example}{group['reason'].iloc[0]}", indent="    "))
    if len(groups) > _MOST_REASONS:
        print(f"  and {len(groups) - _MOST_REASONS} more reasons; --json has all")
    print()


def _common(group: pd.DataFrame, table: pd.DataFrame) -> str:
    """The axes whose one value sets a group apart from the rest of the table."""
    from benchsuite.grid.case import AXES

    apart = [
        f"{axis}={group[axis].iloc[0]}"
        for axis in AXES
        if group[axis].nunique() == 1 and table[axis].nunique() > 1
    ]
    return ", ".join(apart)


def _print_noise(found: Comparison) -> None:
    """The noise floor, and how many more runs the unclear cases need."""
    from benchsuite.cli._output import paragraph

    floors = [f"{name} {own.size} ({own.source})" for name, own in found.noise.items()]
    if any(own.source != "none" for own in found.noise.values()):
        print(f"noise between processes: {', '.join(floors)}")
    unclear = found.table[found.table["verdict"].isin(["cannot tell", "too few runs"])]
    short = unclear[unclear["runs_needed"] > 0]
    if len(short):
        have = int(short[["base_runs", "head_runs"]].min(axis=1).median())
        print(
            paragraph(
                f"{len(short)} of {len(unclear)} unclear cases are too noisy to show twice the"
                f" threshold: half of them need {short['runs_needed'].median():.0f} runs of each"
                f" side (there are {have}), all of them {short['runs_needed'].max():.0f}"
            )
        )
