"""`benchsuite init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli._app import AsJson, AxisSettings, app, message, print_json
from benchsuite.errors import UsageError


@app.command(epilog="Example: benchsuite init --model mypackage.model:make -a T=64:1024:*4")
def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Top directory of a git repository.")
    ] = Path(),
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="MODEL", help="Your model, package.module:factory; repeatable."
        ),
    ] = None,
    axis: AxisSettings = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set up benchmarks in your own repository.

    Writes asv's configuration, a study with your models, and a workflow that compares pull requests
    with their base. Existing files whose content differs are not overwritten without --force.
    """
    from benchsuite.grid.axes import parse_assignment
    from benchsuite.scaffold.plan import scaffold

    axes = dict(parse_assignment(text) for text in axis or [])
    if "model" in axes:
        raise UsageError("axis 'model' cannot be set here; give each model with --model")
    planned = scaffold(directory, model or [], axes)
    existing = planned.existing()
    if existing and not force:
        raise UsageError(
            f"{', '.join(existing)} exist{'s' * (len(existing) == 1)} already; nothing was written;"
            " overwrite with --force"
        )
    written = planned.write()
    for note in planned.notes:
        message(f"note: {note}")
    if as_json:
        print_json(
            {
                "root": str(planned.root),
                "study": planned.study.name,
                "models": list(planned.study.axes["model"]),
                "written": written,
                "notes": list(planned.notes),
            }
        )
        return
    for name in written:
        print(f"wrote {name}")
    if not written:
        print("all files exist already")
    print("\nnext:")
    for name in model or []:
        print(f"  benchsuite check {name}")
    print("  git add -A && git commit -m Benchmarks")
    print("  benchsuite run benchmarks/study.toml             # here, and at any other commit")
    print(f"  benchsuite compare BASE HEAD --study {planned.study.name}")
