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
#: Most rows of one verdict, and most reasons of missing cases, that are printed.
_MOST_ROWS = 30
_MOST_REASONS = 8


@app.command(epilog="Example: benchsuite compare 1f3c2aa HEAD --study tracked --measure latency")
def compare(
    base: Annotated[
        str,
        typer.Argument(
            metavar="BASE",
            help="Older side: a study, record file or directory, git revision or torch version.",
        ),
    ],
    head: Annotated[str, typer.Argument(metavar="HEAD", help="Newer side, named in the same way.")],
    study: Annotated[
        str | None,
        typer.Option(
            metavar="STUDY|PATH",
            help="Where the revisions BASE and HEAD were measured (default: the last run).",
        ),
    ] = None,
    measure: Annotated[
        str, typer.Option(metavar="NAME", help="The measure to compare.")
    ] = "latency",
    threshold: Annotated[
        float,
        typer.Option(min=0, max=10, metavar="X", help="Smallest change that counts; 0.05 is 5 %."),
    ] = 0.05,
    machine: Machine = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare two sets of records case by case.

    The verdict on a case is "faster", "slower" (other units: "lower", "higher") or "cannot tell".
    It needs at least four runs of each side, measured in turn with `benchsuite run --fresh`; with
    fewer it is "too few runs". If nothing changed, at most 5 % of comparisons report any change.
    Exit code 1 means that a case got slower or higher.
    """
    from benchsuite import analysis
    from benchsuite.catalog.measures import MEASURES
    from benchsuite.records.home import home_of

    MEASURES.get(measure)
    old, new = (_side(word, study, home_of(home), machine) for word in (base, head))
    comparison = analysis.compare(old, new, measure, threshold=threshold)
    counts = {str(name): int(n) for name, n in comparison.table["verdict"].value_counts().items()}
    if as_json:
        print_json(_document(comparison, measure, counts, base, head))
    else:
        _show(comparison, measure, counts)
    if set(counts) == {"missing"}:
        raise UsageError(f"nothing was compared: no case has a {measure} on both sides")
    if counts.get("slower") or counts.get("higher"):
        raise typer.Exit(1)


def _side(word: str, study: str | None, home: Path, machine: str | None) -> pd.DataFrame:
    """Every attempt of the side that a word names."""
    from benchsuite.analysis.comparison import READ
    from benchsuite.cli._sources import find_records, load_source, measured_studies

    def load(source: str | None) -> pd.DataFrame:
        return load_source(find_records(source, home)[0], every_attempt=True, columns=READ)

    if study is None and (word in measured_studies(home) or Path(word).exists()):
        frame = load(word)
    else:
        frame = _of_commit(word, load(study))
    for problem in frame.attrs.get("problems", []):
        message(f"note: {problem}")
    if machine is not None:
        frame = frame[frame["machine"] == machine]
        if not len(frame):
            raise UsageError(f"{word!r} has no records of machine {machine!r}")
    return frame


def _of_commit(word: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Records of a commit, named by the start of its hash or as git does, or of a torch version.

    Of a commit's records those of a clean working tree are preferred: with uncommitted changes the
    code was different.
    """
    from benchsuite.host import git

    commits = [c for c in frame["commit"].unique() if c]
    matching = [c for c in commits if len(word) >= 4 and c.startswith(word.lower())]
    if not matching:  # a branch, a tag, HEAD~2
        commit = git(Path(), "rev-parse", "--verify", "--quiet", word + "^{commit}")
        matching = [c for c in commits if c == commit]
    if len(matching) > 1:
        raise UsageError(f"commit {word!r} is ambiguous: {', '.join(c[:12] for c in matching)}")
    if matching:
        of_commit: pd.DataFrame = frame[frame["commit"] == matching[0]]
        clean: pd.DataFrame = of_commit[of_commit["tree"] == ""]
        return clean if len(clean) else of_commit
    of_torch: pd.DataFrame = frame[frame["torch"] == word]
    if len(of_torch):
        return of_torch
    versions = sorted(set(frame["torch"]) - {""})
    raise UsageError(
        f"{word!r} is not a study, path, measured git revision or torch version; commits:"
        f" {', '.join(c[:12] for c in commits) or 'none'}; torch: {', '.join(versions) or 'none'}"
    )


def _document(
    comparison: Comparison, measure: str, counts: dict[str, int], base: str, head: str
) -> dict[str, Any]:
    import dataclasses
    import json

    rows = json.loads(comparison.table.to_json(orient="records", double_precision=15))
    return {
        "base": base,
        "head": head,
        "measure": measure,
        "verdicts": counts,
        "p": comparison.p if math.isfinite(comparison.p) else None,
        "noise": {name: dataclasses.asdict(noise) for name, noise in comparison.noise.items()},
        "notes": list(comparison.notes),
        "cases": rows,
    }


def _show(comparison: Comparison, measure: str, counts: dict[str, int]) -> None:
    for verdict in _CHANGES:
        _print_changes(verdict, comparison.table[comparison.table["verdict"] == verdict])
    _print_changes("too few runs", _unsure(comparison.table))
    _print_missing(comparison.table)
    print(f"{measure}: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    _print_noise(comparison)
    for note in comparison.notes:
        message(f"note: {note}")


def _print_changes(verdict: str, rows: pd.DataFrame) -> None:
    """Print the cases of one verdict, the largest changes first."""
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
        print(f"and {len(rows) - len(shown)} more, with smaller changes; --json has all")
    print()


def _interval(ratio: float, low: float, high: float) -> str:
    """A ratio with its interval; with a third decimal if the change is small."""
    digits = 2 if abs(ratio - 1) >= 0.1 else 3
    return f"{ratio:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def _unsure(table: pd.DataFrame) -> pd.DataFrame:
    """Cases with too few runs whose interval excludes a ratio of one: what to measure again."""
    few = table[table["verdict"] == "too few runs"]
    return few[(few["low"] > 1) | (few["high"] < 1)]


def _print_missing(table: pd.DataFrame) -> None:
    """Print the cases that have a value on one side only, grouped by the reason."""
    from benchsuite.cli._output import paragraph

    missing = table[table["verdict"] == "missing"]
    if not len(missing):
        return
    # Reasons that differ only in numbers, such as bytes that did not fit, are one group.
    pattern = missing["reason"].str.replace(r"\d[\d.,]*", "#", regex=True)
    groups = [group for _, group in missing.groupby(pattern, sort=False)]
    groups.sort(key=len, reverse=True)
    print(f"missing ({len(missing)}):")
    for group in groups[:_MOST_REASONS]:
        example = "" if group["reason"].nunique() == 1 else "for example "
        common = _common(group, table)
        cases = f"{len(group)} with {common}" if common else str(len(group))
        if len(group) == 1:
            cases = group["case"].iloc[0]
        print(paragraph(f"  {cases}: {example}{group['reason'].iloc[0]}", indent="    "))
    if len(groups) > _MOST_REASONS:
        print(f"  and {len(groups) - _MOST_REASONS} more reasons; --json has all")
    print()


def _common(group: pd.DataFrame, table: pd.DataFrame) -> str:
    """The axes that have one value in a group and several in the whole table."""
    from benchsuite.grid.axes import AXES

    shared = [
        f"{axis}={group[axis].iloc[0]}"
        for axis in AXES
        if group[axis].nunique() == 1 and table[axis].nunique() > 1
    ]
    return ", ".join(shared)


def _print_noise(comparison: Comparison) -> None:
    """Print the noise floor, and how many runs the undecided cases need."""
    from benchsuite.cli._output import paragraph

    floors = [f"{name} {noise.size} ({noise.source})" for name, noise in comparison.noise.items()]
    if any(noise.source != "none" for noise in comparison.noise.values()):
        print(f"noise between processes: {', '.join(floors)}")
    undecided = comparison.table[comparison.table["verdict"].isin(["cannot tell", "too few runs"])]
    short = undecided[undecided["runs_needed"] > 0]
    if len(short):
        have = int(short[["base_runs", "head_runs"]].min(axis=1).median())
        print(
            paragraph(
                f"{len(short)} of {len(undecided)} undecided cases are too noisy to show a change"
                f" of twice the threshold: half of them need {short['runs_needed'].median():.0f}"
                f" runs of each side (there are {have}),"
                f" all of them {short['runs_needed'].max():.0f}"
            )
        )
