"""A short fuzzing of every kind of input; `make faults` runs it, with `FUZZ_SECONDS` a target."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz.py")
TARGETS = (
    *("records in report", "records in advise", "records in compare", "rows of another kind"),
    *("studies", "explanations", "traces", "parquet", "encodings", "bombs"),
)


@pytest.mark.faults
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_ends_in_a_traceback(target):
    seconds = os.environ.get("FUZZ_SECONDS", "10")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), target, "--seconds", seconds],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


def test_every_target_is_in_the_list():
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    table = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "TARGETS"
    )
    names = {key.value for key in table.value.keys if isinstance(key, ast.Constant)}
    assert names == {name for name in TARGETS if not name.startswith("records in ")}
