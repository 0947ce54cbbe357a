"""How long `benchsuite publish` takes for a history of the tracked grid.

    python tests/perf/publish.py [--commits 50]

Results are made up in a throw-away git repository: noise of 3 % between processes, one step. A
benchmark, not a test.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from pathlib import Path

import history

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.study_file import load_study
from benchsuite.history.publish import publish


def main() -> None:
    """Make the history, publish it, print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--commits", type=int, default=50)
    commits = options.parse_args().commits
    noise = random.Random(0)

    def value(measure, point, commit):
        exact = history.plausible(measure, point, commit)
        if MEASURES.get(measure).unit != "s":
            return exact
        return exact * math.exp(noise.gauss(0, 0.03)) * (1.2 if commit >= commits // 2 else 1)

    study = load_study("tracked")
    points = sum(len(study.with_device("cpu").cases(name)) for name in study.measures)
    with tempfile.TemporaryDirectory() as scratch:
        configuration = history.make(Path(scratch) / "project", commits, value)
        began = time.perf_counter()
        site = publish(configuration, Path(scratch) / "site")
        seconds = time.perf_counter() - began
        size = sum(f.stat().st_size for f in site.index.parent.rglob("*") if f.is_file())
    print(
        f"{site.commits} commits of {len(study.measures)} measures, {points} values a commit:"
        f" {seconds:.1f} s, {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
