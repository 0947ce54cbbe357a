"""How much of a sweep's clock goes into measuring, and how a training step grows with T.

    python tests/perf/overhead.py [--study quick]

Runs the study in a separate directory and prints one line per figure; a benchmark, not a test.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchsuite.analysis import laws, newest
from benchsuite.records import load_records


def benchsuite(home: str, *words: str) -> str:
    """Standard output of a command of the suite."""
    done = subprocess.run(
        [sys.executable, "-m", "benchsuite", *words, "--home", home],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--study", default="quick")
    study = options.parse_args().study
    with tempfile.TemporaryDirectory() as home:
        began = time.monotonic()
        balance = json.loads(benchsuite(home, "run", study, "--json"))
        benchsuite(home, "report", study)
        whole = time.monotonic() - began
        inside = balance["measure_seconds"] + balance["setup_seconds"]
        print(
            f"{study}: {balance['cases']} cases; run {balance['wall_seconds']:.1f} s on the clock,"
            f" {balance['measure_seconds']:.1f} s measuring + {balance['setup_seconds']:.1f} s"
            f" setting up: ratio {balance['wall_seconds'] / inside:.3f} (limit 1.3)"
        )
        print(f"{study}: run and report {whole:.1f} s (limit 180 s for quick)")
        line = ["-a", "model=lstm_cell", "-a", "mode=train", "-a", "seq_len=128:2048:*2"]
        line += ["-a", "batch_size=8", "-a", "hidden_size=64", "--measure", "latency"]
        benchsuite(home, "run", "default", *line, "--name", "line")
        fit = laws(newest(load_records(Path(home) / "line")), "latency").iloc[0]
        print(
            f"lstm_cell, training step, B=8, H=64, T=128..2048: latency grows as"
            f" T^{fit['exponent']:.3f} (95 % {fit['exponent_low']:.3f} to {fit['exponent_high']:.3f}; limit 1 ± 0.15)"
        )


if __name__ == "__main__":
    main()
