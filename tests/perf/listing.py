"""How long commands take to find the studies of a home that has many.

    python tests/perf/listing.py [COUNT]

Makes a home of 10,000 measured studies and prints what it takes to list their names, to name them in
an error, and to find the last one (`benchsuite advise` without a study). A benchmark, not a test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchsuite.cli._sources import measured_studies
from benchsuite.records import FILE_NAME


def main() -> None:
    """Make the home, and print times."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as home:
        for number in range(count):
            (place := Path(home) / f"study{number}").mkdir()
            (place / FILE_NAME).write_text("[]\n")
        began = time.perf_counter(), time.process_time()
        names = measured_studies(Path(home))
        took = time.perf_counter() - began[0], time.process_time() - began[1]
        print(f"{len(names):,} studies listed: {took[0]:.2f} s, {took[1]:.2f} s of processor")
        print(f"  load {os.getloadavg()[0]:.1f}, limit for 10,000: 1 s")
        for words in (["--version"], ["report", "absent"], ["advise", "-a", "T=8"]):
            began = time.perf_counter(), os.times()
            done = subprocess.run(
                [sys.executable, "-m", "benchsuite", *words],
                env={**os.environ, "BENCHSUITE_HOME": home},
                capture_output=True,
                text=True,
            )
            took = time.perf_counter() - began[0]
            now = os.times()
            busy = sum(now[2:4]) - sum(began[1][2:4])
            text = (done.stdout + done.stderr).strip().splitlines()[-1][:60]
            print(f"benchsuite {' '.join(words)}: {took:.2f} s, {busy:.2f} s of processor: {text}…")


if __name__ == "__main__":
    main()
