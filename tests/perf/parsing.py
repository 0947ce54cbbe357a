"""How long a trace of 100 MB takes to parse and explain, and how much memory.

    python tests/perf/parsing.py [--megabytes 100]

Repeats the events of a small real trace until the file is that large; a benchmark, not a test.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

_CHILD = """
import resource, sys, time
from benchsuite.profiling.explain import explain
from benchsuite.profiling.trace_frame import load_frame
start = time.perf_counter()
frame = load_frame(sys.argv[1])
parsed = time.perf_counter() - start
explain(frame)
whole = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{len(frame):,} rows; parsed in {parsed:.1f} s, explained in {whole:.1f} s (limit 15 s),")
print(f"most memory of the process {peak:.2f} GiB (limit 2 GiB)")
"""


def enlarged(events: list[dict], size: int) -> list[dict]:
    """The events one after another, with new ids, until their JSON has that size."""
    span = max(event.get("ts", 0) for event in events) + 1
    repeats = -(-size // len(json.dumps(events)))
    return [{**event, "ts": event["ts"] + k * span} for k in range(repeats) for event in events]


def main() -> None:
    """Make the file and parse it in a separate process."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--megabytes", type=int, default=100)
    size = options.parse_args().megabytes * 1_000_000
    from benchsuite import Case
    from benchsuite.profiling.recorder import record
    from benchsuite.profiling.trace_file import read_trace

    with tempfile.TemporaryDirectory() as directory:
        case = Case(model="lstm_cell", mode="train", seq_len=16)
        content = read_trace(record(case, Path(directory)).trace)
        content["traceEvents"] = enlarged(content["traceEvents"], size)
        file = Path(directory) / "large.json"
        file.write_text(json.dumps(content))
        print(f"a trace of {file.stat().st_size / 1e6:.0f} MB:", flush=True)
        subprocess.run([sys.executable, "-c", _CHILD, str(file)], check=True)


if __name__ == "__main__":
    main()
