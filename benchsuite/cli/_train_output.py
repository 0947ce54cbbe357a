"""What `benchsuite train` leaves behind: scores, pictures and a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchsuite.errors import UsageError

if TYPE_CHECKING:
    from benchsuite.learning.scores import Continuation

#: Scores that are left to the JSON: the error once more, and a detail that needs the width.
_NOT_SHOWN = ("open_loop_mse", "phase_followed")


def save(path: Path, text: str) -> None:
    """Write a file of text, its directory first.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another place with -o or --home"
        ) from error


def write(
    directory: Path, document: dict[str, Any], loops: dict[str, Continuation | None]
) -> dict[str, str]:
    """Scores and pictures; their paths by name."""
    from benchsuite.report.figures import learning_curves

    files = {"results": directory / "results.json"}
    save(files["results"], json.dumps(document, indent=1, allow_nan=False))
    done = [run for run in document["runs"] if run["status"] == "ok"]
    what = _told(document)
    if done:
        files["curves"] = directory / "curves.svg"
        found = [
            learning_curves.Curve(
                run["model"],
                f"{run['model']}, width {run['width']}: {run['error']:.3g}"
                if run["status"] == "ok"
                else f"{run['model']}: {run['status']}",
                [point["step"] for point in run.get("curve", [])],
                [point["error"] for point in run.get("curve", [])],
            )
            for run in document["runs"]
        ]
        save(
            files["curves"],
            learning_curves.curves(found, document["baselines"], f"Learning {what}"),
        )
    paths = [
        learning_curves.Path(
            run["model"],
            _loop_label(run),
            loop.observed_RT[0],
            loop.generated_RS[0],
            loop.truth_RS[0],
        )
        for run in done
        if (loop := loops[run["model"]]) is not None
    ]
    if paths:
        files["closed_loop"] = directory / "closed-loop.svg"
        save(files["closed_loop"], learning_curves.closed_loop(paths, f"Going on alone: {what}"))
    return {name: str(path) for name, path in files.items()}


def _told(document: dict[str, Any]) -> str:
    """The task and its sizes, the match among them, for titles."""
    options = "".join(f", {name}={value}" for name, value in document["options"].items())
    return (
        f"{document['task']}{options}, T={document['seq_len']}, B={document['batch_size']};"
        f" match={document['match']}"
    )


def _loop_label(run: dict[str, Any]) -> str:
    nrmse, drift = (run["scores"][name] for name in ("closed_loop_nrmse", "phase_drift"))
    return (
        f"{run['model']}: closed-loop NRMSE {'out of bounds' if nrmse is None else f'{nrmse:.2g}'},"
        f" phase {'lost' if drift is None else f'drift {drift:+.2g} steps per 1000'}"
    )


def show(document: dict[str, Any]) -> None:
    """Scores beside baselines, for people."""
    from rich.table import Table

    from benchsuite.cli._console import SafeConsole

    rows = _rows(document)
    table = Table(
        title=_told(document), title_justify="left", box=None, pad_edge=False, collapse_padding=True
    )
    for name, *cells in zip(*rows, strict=True):
        justify: Literal["left", "right"] = "left" if name == "model" else "right"
        least = max(map(len, [*name.split(), *cells]))  # names fold at spaces, numbers never
        table.add_column(name, justify=justify, min_width=least)
    for cells in rows[1:]:
        table.add_row(*cells)
    SafeConsole().print(table)
    for path in document["files"].values():
        print(path)


def _rows(document: dict[str, Any]) -> list[list[str]]:
    """The names of the columns, a row per model and a row per baseline."""
    from benchsuite.units import show_clock

    runs = document["runs"]
    extra = list(dict.fromkeys(name for run in runs for name in run.get("scores", {})))
    extra = [name for name in extra if name not in _NOT_SHOWN]
    names = ["model", "width", "parameters", "steps", "time", "error", *extra]
    rows = [[name.replace("_", " ") for name in names]]
    for run in runs:
        known = {**run, **run.get("scores", {})}
        known["time"] = show_clock(run["seconds"]) if "seconds" in run else None
        known.setdefault("error", run["status"])
        rows.append([_cell(known.get(name)) for name in names])
    for name, error in document["baselines"].items():
        rows.append([f"({name})", *["–"] * 4, _cell(error), *["–"] * len(extra)])
    return rows


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
