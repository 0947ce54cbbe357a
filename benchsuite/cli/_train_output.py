"""The results of `benchsuite train`: files of scores and pictures, and a table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchsuite.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

#: Scores that only the JSON has: the error a second time, and a detail too wide for a table.
_NOT_SHOWN = ("open_loop_mse", "phase_followed")


@dataclass(frozen=True, slots=True)
class Loop:
    """The first row of a closed loop: arrays of values, one for each timestep.

    Attributes:
        observed: Outputs at the observed timesteps.
        generated: Generated outputs.
        truth: True values at the generated timesteps.
    """

    observed: np.ndarray
    generated: np.ndarray
    truth: np.ndarray


def save(path: Path, text: str) -> None:
    """Write a text file; create its directory if necessary.

    Raises:
        UsageError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another directory with -o or --home"
        ) from error


def write(
    directory: Path, document: dict[str, Any], loops: dict[str, Loop | None]
) -> dict[str, str]:
    """Write scores and pictures; return their paths by name."""
    from benchsuite.report.figures import learning_curves

    files = {"results": directory / "results.json"}
    save(files["results"], json.dumps(document, indent=1, allow_nan=False))
    done = [run for run in document["runs"] if run["status"] == "ok"]
    title = _title(document)
    if done:
        files["curves"] = directory / "curves.svg"
        lines = [
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
            learning_curves.curves(lines, document["baselines"], f"Learning {title}"),
        )
    paths = [
        learning_curves.Path(
            run["model"],
            _loop_label(run),
            loop.observed,
            loop.generated,
            loop.truth,
        )
        for run in done
        if (loop := loops[run["model"]]) is not None
    ]
    if paths:
        files["closed_loop"] = directory / "closed-loop.svg"
        save(files["closed_loop"], learning_curves.closed_loop(paths, f"Closed loop: {title}"))
    return {name: str(path) for name, path in files.items()}


def _title(document: dict[str, Any]) -> str:
    """The task, its options and sizes, and the match."""
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
    """Print the scores of models and baselines as a table."""
    from rich.table import Table

    from benchsuite.cli._output import console

    rows = _rows(document)
    table = Table(
        title=_title(document),
        title_justify="left",
        box=None,
        pad_edge=False,
        collapse_padding=True,
    )
    for name, *cells in zip(*rows, strict=True):
        justify: Literal["left", "right"] = "left" if name == "model" else "right"
        least = max(map(len, [*name.split(), *cells]))  # heads fold at spaces, numbers never
        table.add_column(name, justify=justify, min_width=least)
    for cells in rows[1:]:
        table.add_row(*cells)
    console().print(table)
    for path in document["files"].values():
        print(path)


def _rows(document: dict[str, Any]) -> list[list[str]]:
    """Heads of the columns, then a row per model and per baseline."""
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
