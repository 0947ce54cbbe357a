"""`benchsuite check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from benchsuite.cli._app import AsJson, AxisSetting, app, print_json

if TYPE_CHECKING:
    from benchsuite.contract import Finding
    from benchsuite.grid.axes import Value

#: Axes that a factory can be called with.
_AXES = ("input_size", "hidden_size", "num_layers", "bidirectional", "seq_len")


@app.command(epilog="Example: benchsuite check mypackage.model:make -a hidden_size=16")
def check(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="package.module:factory, or a name of `benchsuite list models`."
        ),
    ],
    axis: AxisSetting = None,
    as_json: AsJson = False,
) -> None:
    """Check that your model meets the suite's requirements.

    Runs the model at small sizes for a few seconds and reports what passes, what fails and how to
    adapt it. Exit code 1 means that a check failed.
    """
    import dataclasses

    given = _given(axis or [])
    import torch

    from benchsuite.contract import check_model, sizes_for

    torch.set_num_threads(1)
    sizes = sizes_for(model, **given)
    findings = check_model(model, sizes)
    passed = all(finding.status != "fail" for finding in findings)
    if as_json:
        print_json(
            {
                "model": model,
                "passed": passed,
                "sizes": dataclasses.asdict(sizes),
                "findings": [dataclasses.asdict(finding) for finding in findings],
            }
        )
    else:
        _show(model, findings)
    if not passed:
        raise typer.Exit(1)


def _given(axis: list[str]) -> dict[str, Value]:
    from benchsuite.grid.axes import parse_single

    return parse_single(axis, _AXES, "axis of a factory", "check takes")


def _show(model: str, findings: list[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    from benchsuite.cli._output import console

    styles = {"pass": "green", "note": "yellow", "fail": "bold red", "skipped": "dim"}
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("status", "check", "observed"):
        table.add_column(column, overflow="fold", no_wrap=column != "observed")
    for finding in findings:
        observed = Text(finding.observed)
        if finding.fix:
            observed.append(f"\n→ {finding.fix}", "bold")
        table.add_row(Text(finding.status, styles[finding.status]), finding.check, observed)
    console().print(table, highlight=False)
    words = {"pass": "passed", "note": "noted", "fail": "failed", "skipped": "skipped"}
    counts = {s: sum(finding.status == s for finding in findings) for s in words}
    print(f"{model}: " + ", ".join(f"{n} {words[s]}" for s, n in counts.items() if n))
