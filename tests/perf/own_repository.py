"""Your own repository, from nothing to a slowdown that is found.

    python tests/perf/own_repository.py [--rounds 5] [--keep]

A package with one small model, `benchsuite init`, two commits of which the second does the model's
work three times, the steps of the generated workflow, word for word, and plain `asv run` and
`asv publish`. Prints what happened and how long it took; takes minutes. Exit code 1 if the slowdown
is not found, or anything else is called slower.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import yaml

import benchsuite

MODEL = """\
from torch import nn


class Stacked(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)
        self.outer = nn.Linear(hidden_size, hidden_size)

    def forward(self, x, state=None):
        for _ in range(WORK):
            y, end = self.inner(x, state)
        return self.outer(y), end


WORK = 1


def make(input_size, hidden_size):
    return Stacked(input_size, hidden_size)
"""
PROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "mypkg"
version = "0.1"
dependencies = ["torch"]
"""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--keep", action="store_true", help="leave the repository there")
    given = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="own-repository-"))
    try:
        return find_slowdown(place, given.rounds)
    finally:
        if given.keep:
            print(f"kept: {place}")
        else:
            shutil.rmtree(place)


def find_slowdown(place: Path, rounds: int) -> int:
    variables = environment(place)
    repository = place / "mypkg"

    def run(*words: str, expected: int | None = 0, **more: str) -> str:
        began = time.perf_counter()
        done = subprocess.run(
            words,
            cwd=repository,
            env={**variables, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        shown = " ".join(words) if words[0] != "bash" else f"(workflow: {more['STEP']})"
        print(f"\n$ {shown}    [{time.perf_counter() - began:.1f} s, rc {done.returncode}]")
        print(done.stdout.strip()[-6000:])
        if expected is not None and done.returncode != expected:
            raise SystemExit(f"exit code {expected} was expected")
        return done.stdout.strip()

    package = repository / "src" / "mypkg"
    package.mkdir(parents=True)
    (repository / "pyproject.toml").write_text(PROJECT)
    (repository / ".gitignore").write_text("*.egg-info/\n")
    (package / "__init__.py").touch()
    (package / "model.py").write_text(MODEL)
    run("git", "init", "-q", "-b", "main", ".")
    run("python", "-m", "pip", "install", "-q", "--no-deps", "-e", ".")
    run("benchsuite", "check", "mypkg.model:make")
    axes = ("-a", "seq_len=64,256", "-a", "batch_size=1", "-a", "mode=infer")
    run("benchsuite", "init", "--model", "mypkg.model:make", *axes)
    base = commit(run, "Model and benchmarks")
    (package / "model.py").write_text(MODEL.replace("WORK = 1", "WORK = 3"))
    head = commit(run, "Three times the work")
    run("git", "clone", "-q", "--bare", ".", str(place / "origin.git"))
    run("git", "remote", "add", "origin", str(place / "origin.git"))
    run("git", "push", "-q", "--force", "origin", f"{base}:refs/heads/main")
    run("git", "fetch", "-q", "origin")

    workflow = yaml.safe_load((repository / ".github/workflows/benchmark.yml").read_text())
    steps = {step.get("name"): step for step in workflow["jobs"]["compare"]["steps"]}
    runner = {
        "STUDY": workflow["jobs"]["compare"]["env"]["STUDY"],
        "ROUNDS": str(rounds),
        **{"HEAD": head, "BASE": base, "TARGET": "main", "COLUMNS": "100"},
        "RUNNER_TEMP": str(place),
        "GITHUB_ENV": str(place / "env"),
        "GITHUB_STEP_SUMMARY": str(place / "summary"),
    }
    run("bash", "-e", "-c", steps["Measure"]["run"], STEP="Measure", **runner)
    assert (place / "env").read_text().strip() == f"BASE={base}"
    run("bash", "-e", "-c", steps["Compare"]["run"], STEP="Compare", expected=1, **runner)
    print((repository / "summary.md").read_text())
    found = run("benchsuite", "compare", base, head, "--study", "mypkg", "--json", expected=1)
    slower = {row["case"] for row in json.loads(found)["cases"] if row["verdict"] == "slower"}

    for counted in ("flops", "peak_memory"):
        words = ("--study", "mypkg", "--measure", counted)
        run("benchsuite", "compare", base, head, *words, expected=1)

    run("python", "-m", "asv", "machine", "--yes")
    for name in (base, head):
        run("git", "checkout", "-q", "--force", name)
        run(
            *("python", "-m", "asv", "run", "--environment", "existing:same"),
            *("--set-commit-hash", name, "--record-samples"),
        )
    run("python", "-m", "asv", "publish")
    pages = sorted((repository / ".asv/html/graphs").rglob("*Latency*.json"))
    print(f"asv published {len(pages)} graphs of latency")
    run("git", "status", "--short")

    missed = {case for case in expected_cases() if case not in slower}
    others = slower - set(expected_cases())
    print(f"\nslower: {sorted(slower)}; missed: {sorted(missed)}; wrongly called: {sorted(others)}")
    return 1 if missed or others else 0


def expected_cases() -> list[str]:
    return [f"mypkg.model:make-T{seq_len}-B1-H64-infer-cpu" for seq_len in (64, 256)]


def commit(run, message: str) -> str:
    run("git", "add", "-A")
    run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", message)
    return run("git", "rev-parse", "HEAD")


def environment(place: Path) -> dict[str, str]:
    """A virtual environment that sees this one's packages, so that nothing is installed here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    binaries = place / "venv" / "bin"
    outer = [Path(benchsuite.__file__).parent.parent, sysconfig.get_path("purelib")]
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (place / "venv/lib" / python / "site-packages/outer.pth").write_text("\n".join(map(str, outer)))
    script = binaries / "benchsuite"
    script.write_text('#!/bin/sh\nexec python -m benchsuite "$@"\n')
    script.chmod(0o755)
    left = {k: v for k, v in os.environ.items() if not k.startswith(("BENCHSUITE_", "PYTHONPATH"))}
    return {**left, "PATH": f"{binaries}:{os.environ['PATH']}", "HOME": str(place)}


if __name__ == "__main__":
    sys.exit(main())
