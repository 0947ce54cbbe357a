"""A new model, task, measure or engine takes a file and one line of the catalog.

The walks of CONTRIBUTING.md, taken in a copy of the package: what was added has to show in `list`,
the documentation's tables, asv's benchmarks, the records and the report.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

import benchsuite

PACKAGE = Path(benchsuite.__file__).parent


@dataclass(frozen=True)
class Walk:
    """What is added: its name, the new file with its text, and the catalog's file with its line."""

    name: str
    file: str
    text: str
    catalog: str
    line: str


WALKS = {
    "model": Walk(
        "doubling",
        "models/doubling.py",
        """
        import torch
        from torch import Tensor, nn


        class Doubling(nn.Module):
            def __init__(self, input_size: int, hidden_size: int) -> None:
                super().__init__()
                self.weight = nn.Parameter(2.0 * torch.eye(input_size, hidden_size))

            def forward(self, x_BTF: Tensor) -> Tensor:
                return x_BTF @ self.weight


        def doubling(input_size: int, hidden_size: int) -> Doubling:
            return Doubling(input_size, hidden_size)
        """,
        "models",
        'ModelSpec("doubling", "convolutional", f"{_M}.doubling:doubling", "twice its input"),',
    ),
    "task": Walk(
        "echo",
        "tasks/echo.py",
        """
        from benchsuite.tasks.delay import delay


        def echo(*, seq_len, batch_size, seed):
            return delay(seq_len=seq_len, batch_size=batch_size, seed=seed, lag=1)
        """,
        "tasks",
        'TaskSpec("echo", "1", f"{_T}.echo:echo", "the last input again", {"seq_len": 16}),',
    ),
    "measure": Walk(
        "output_bytes",
        "measures/output_bytes.py",
        """
        from benchsuite.measures.reading import Reading


        def output_bytes(workload, budget):
            return Reading(value=workload.module(workload.x_BTF).nbytes)
        """,
        "measures",
        'MeasureSpec("output_bytes", "B", "1", "lower", f"{_MM}.output_bytes:output_bytes",'
        ' "bytes of the output"),',
    ),
    "engine": Walk(
        "twice",
        "runtime/engines/twice.py",
        """
        class Twice:
            def unavailable(self):
                return ""

            def prepare(self, module, x_BTF, *, train):
                return lambda x: (module(x), module(x))[1]
        """,
        "engines",
        'EngineSpec("twice", f"{_E}.twice:Twice", "runs it two times"),',
    ),
}
STUDY = """
measures = ["output_bytes", "echo_error"]
min_run_time = 0.01
max_run_time = 0.02

[axes]
model = ["doubling", "conv"]
seq_len = [16]
batch_size = [2]
hidden_size = [4]
mode = ["train"]
engine = ["twice"]
"""


class Extended:
    """A copy of the package with one of each added."""

    def __init__(self, root: Path) -> None:
        self.root = root
        copy = root / "benchsuite"
        shutil.copytree(PACKAGE, copy)  # with what is compiled
        for walk in WALKS.values():
            (copy / walk.file).write_text(textwrap.dedent(walk.text).lstrip())
            catalog = copy / "catalog" / f"{walk.catalog}.py"
            before, opening, after = catalog.read_text().partition("    [\n")
            assert opening, f"{catalog.name} opens its table in another way"
            catalog.write_text(f"{before}{opening}        {walk.line}\n{after}")
        (root / "study.toml").write_text(STUDY)

    def python(self, *words: str) -> str:
        """Standard output of `python WORDS` with the copy in front of the installed package."""
        environment = {**os.environ, "PYTHONPATH": str(self.root)}
        done = subprocess.run(
            [sys.executable, *words], cwd=self.root, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    return Extended(tmp_path_factory.mktemp("extended"))


@pytest.fixture(scope="module")
def listed(extended):
    """What `list` prints: its JSON document, and the documentation's tables."""
    document, tables = (
        extended.python("-m", "benchsuite", "list", form) for form in ("--json", "--markdown")
    )
    return json.loads(document), tables


@pytest.mark.parametrize("kind", WALKS)
def test_list_and_the_documentations_tables_show_it(listed, kind):
    document, tables = listed
    name = WALKS[kind].name
    assert name in {row["name"] for row in document[f"{kind}s"]}
    assert f"| {name} |" in tables


def test_asv_gets_a_benchmark_of_each_measure(extended):
    code = (
        "import os; os.environ['BENCHSUITE_STUDY'] = 'study.toml'\n"
        "from benchsuite.sweep.suite import benchmark_classes\n"
        "found = benchmark_classes(os.path.abspath('benchmarks/measures.py'))\n"
        "print(sorted(found), [c.params for c in found.values()])"
    )
    printed = extended.python("-c", code)
    assert "['EchoError', 'OutputBytes']" in printed
    assert "doubling" in printed


def test_records_and_report_have_them(extended):
    words = ("--name", "two", "--home", "home")
    extended.python("-m", "benchsuite", "run", "study.toml", *words)
    lines = (extended.root / "home/two/records.jsonl").read_text().splitlines()
    ok = [row for row in map(json.loads, lines) if row["status"] == "ok"]
    assert {(row["model"], row["measure"], row["engine"]) for row in ok} == {
        (model, measure, "twice")
        for model in ("doubling", "conv")
        for measure in ("output_bytes", "echo_error")
    }
    out = extended.python("-m", "benchsuite", "report", "two", "--home", "home")
    page = Path(out.strip().splitlines()[-1]).read_text("utf-8")
    assert all(walk.name in page for walk in WALKS.values())


def test_the_documentations_tables_are_those_of_the_catalog(run_command):
    written = (PACKAGE.parent / "docs/catalog.md").read_text("utf-8")
    printed = run_command("list", "--markdown")[1]
    assert written.partition("## ")[2] == printed.partition("## ")[2], "run `make docs`"
