"""`benchsuite compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchsuite.cli._app import AsJson, Home, Machine, app, print_json, say
from benchsuite.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from benchsuite.analysis import Comparison

_SHOWN = ("slower", "higher", "faster", "lower", "missing")
#: Cases of too few runs that are shown at most, those that differ most.
_MOST_UNSURE = 10


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
        say(f"note: {problem}")
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
    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from benchsuite.units import show

    rows = pd.concat([found.table[found.table["verdict"].isin(_SHOWN)], _unsure(found.table)])
    if len(rows):
        table = Table(box=None, pad_edge=False)
        for name in ("verdict", "case", "base", "head", "head / base", "runs"):
            table.add_column(name, overflow="fold")
        for row in rows.sort_values("ratio", ascending=False).to_dict("records"):
            missing = row["verdict"] == "missing"
            unit = str(row["unit"])
            table.add_row(
                str(row["verdict"]),
                str(row["case"]),
                *("–" if missing else show(float(row[side]), unit) for side in ("base", "head")),
                str(row["reason"])
                if missing
                else f"{row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
                "" if missing else f"{row['base_runs']:.0f}, {row['head_runs']:.0f}",
            )
        Console().print(table)
    print(f"{measure}: " + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    floors = [f"{name} {own.size} ({own.source})" for name, own in found.noise.items()]
    if any(own.source != "none" for own in found.noise.values()):
        print(f"noise between processes: {', '.join(floors)}")
    unclear = found.table[found.table["verdict"].isin(["cannot tell", "too few runs"])]
    short = unclear[unclear["runs_needed"] > 0]
    if len(short):
        have = int(short[["base_runs", "head_runs"]].min(axis=1).median())
        print(
            f"{len(short)} of {len(unclear)} unclear cases are too noisy to show twice the"
            f" threshold: half of them need {short['runs_needed'].median():.0f} runs of each side"
            f" (there are {have}), all of them {short['runs_needed'].max():.0f}"
        )
    for note in found.notes:
        say(f"note: {note}")


def _unsure(table: pd.DataFrame) -> pd.DataFrame:
    """Cases of too few runs that would seem to have changed: what to measure again."""
    few = table[(table["verdict"] == "too few runs") & ((table["low"] > 1) | (table["high"] < 1))]
    order = (few["ratio"] - 1).abs().sort_values(ascending=False).index
    return few.loc[order[:_MOST_UNSURE]]
