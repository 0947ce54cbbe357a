"""A throw-away git repository with asv's results of many commits, without measuring anything."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.study import Study
from benchsuite.grid.study_file import load_study
from benchsuite.history.thresholds import settings


def benchmark_name(measure: str) -> str:
    """What asv calls a measure, where the benchmark module is called `measures`."""
    words = "".join(part.capitalize() for part in measure.split("_"))
    return f"measures.{words}.track_{measure}"


ENVIRONMENT = "existing-py_usr_bin_python3"
MACHINE = {
    "machine": "synthetic",
    "os": "Linux 6.1",
    "arch": "x86_64",
    "cpu": "a processor",
    "num_cpu": "2",
    "ram": "8000000000",
}
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

#: (measure, point, commit's number) → value
Value = Callable[[str, Mapping[str, Any], int], Any]


def plausible(measure: str, point: Mapping[str, Any], commit: int) -> float:
    """Something that grows with the sequence, the same at each commit; nothing on CUDA."""
    if point["device"] == "cuda":
        return math.nan  # as asv keeps what was skipped
    unit = {"s": 1e-5, "B": 1024.0}.get(MEASURES.get(measure).unit, 1.0)
    return unit * int(point["seq_len"]) * int(point["batch_size"])


def make(path: Path, commits: int, value: Value = plausible, study: Study | None = None) -> Path:
    """A repository with an asv.conf.json and results of `commits` commits, a day apart.

    Returns:
        The configuration.
    """
    study = (study or load_study("tracked")).with_device("cpu")
    path.mkdir(parents=True, exist_ok=True)
    hashes = _commits(path, commits)
    results = path / "results"
    _write(results / "benchmarks.json", _benchmarks(study) | {"version": 2})
    _write(results / MACHINE["machine"] / "machine.json", {**MACHINE, "version": 1})
    for number, commit in enumerate(hashes):
        file = results / MACHINE["machine"] / f"{commit[:8]}-{ENVIRONMENT}.json"
        _write(file, _results(study, commit, number, value))
    shown = {"project": "synthetic", "branches": ["HEAD"], "html_dir": "html", **settings()}
    configuration = path / "asv.conf.json"
    _write(configuration, {"version": 1, "repo": ".", "results_dir": "results", **shown})
    return configuration


def _write(file: Path, data: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data), encoding="utf-8")


def _commits(path: Path, commits: int) -> list[str]:
    git = ["git", "-C", str(path), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "init", "-q", str(path)], check=True)
    for number in range(commits):
        date = (START + datetime.timedelta(days=number)).isoformat()
        subprocess.run(
            [*git, "commit", "-q", "--allow-empty", "-m", f"change {number}"],
            check=True,
            env={**os.environ, "GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date},
        )
    log = subprocess.run(
        [*git, "rev-list", "--reverse", "HEAD"], check=True, capture_output=True, text=True
    )
    return log.stdout.split()


def _benchmarks(study: Study) -> dict[str, Any]:
    return {
        benchmark_name(name): {
            "name": benchmark_name(name),
            "pretty_name": name,
            "code": "",
            "params": [[repr(v) for v in values] for values in study.params_of(name).values()],
            "param_names": list(study.params),
            "type": "time" if MEASURES.get(name).unit == "s" else "track",
            "unit": {"s": "seconds", "B": "bytes"}.get(MEASURES.get(name).unit, "count"),
            "version": MEASURES.get(name).version,
        }
        for name in study.measures
    }


def _results(study: Study, commit: str, number: int, value: Value) -> dict[str, Any]:
    date = int((START + datetime.timedelta(days=number)).timestamp() * 1000)
    rows = {}
    for name in study.measures:
        axes = study.params_of(name)
        points = (
            dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())
        )
        values = [value(name, point, number) for point in points]
        params = [[repr(v) for v in options] for options in axes.values()]
        rows[benchmark_name(name)] = [values, params, MEASURES.get(name).version, date, 1.0]
    return {
        "version": 2,
        "commit_hash": commit,
        "env_name": ENVIRONMENT,
        "date": date,
        "params": {**MACHINE, "python": "3.13"},
        "python": "3.13",
        "requirements": {},
        "env_vars": {},
        "result_columns": ["result", "params", "version", "started_at", "duration"],
        "results": rows,
        "durations": {},
    }
