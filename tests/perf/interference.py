"""How often the balance of a run calls timings disturbed: on an idle machine, and where they are.

    python tests/perf/interference.py [TIMINGS]

Takes so many timings on the machine as it is, as many with a process that keeps a core busy, for
each core, and as many in which the clock rate falls by 10, 20 and 30 % after the case was built
(calibrations after that are multiplied). For each it prints how many a run would report, and by
what; the first line is the rate of false alarms, if the machine is idle.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from contextlib import contextmanager

import torch

from benchsuite import Case
from benchsuite.grid.study import Budget
from benchsuite.measures import interference
from benchsuite.measures.attempt import measure

CASES = [
    Case(model=model, seq_len=t) for model in ("gru", "lstm", "lstm_cell", "tcn") for t in (32, 256)
]
BUDGET = Budget(min_run_time=0.2, max_run_time=1.0, warmup=0.1)
BUSY = "import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"


@contextmanager
def neighbours(*cores):
    """A busy process on each of the cores."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY.format(core=core)]) for core in cores]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def timing(case, fall=0.0):
    """Columns of one timing in a forked process, as in a run; calibrations fall after two."""
    results, to_results = os.pipe()
    child = os.fork()
    if child == 0:
        calibrate, calls = interference.calibrate, iter(range(10**6))
        interference.calibrate = lambda: calibrate() / (1 - fall if next(calls) >= 2 else 1)
        record = measure(case, "latency", budget=BUDGET)
        row = {**record.provenance, "value": record.value, "at": record.started_at}
        names = ("calibration", "clock_change", "other_cores", "preemptions", "cores", "threads")
        os.write(to_results, json.dumps({n: row[n] for n in (*names, "value", "at")}).encode())
        os._exit(0)
    os.close(to_results)
    with os.fdopen(results, "rb") as file:
        row = json.loads(file.read())
    os.waitpid(child, 0)
    return row


def show(name, rows, quiet):
    """Print a line for a condition; `quiet` are the timings of the first."""
    limit = interference.change_limit([row["calibration"] for row in rows])
    clock = [abs(row["clock_change"]) > limit for row in rows]
    crowded = [interference.crowded(row) for row in rows]
    either = sum(a or b for a, b in zip(clock, crowded, strict=True))
    slower = statistics.median(
        math.log(row["value"] / before["value"]) for row, before in zip(rows, quiet, strict=True)
    )
    others = statistics.median(row["other_cores"] for row in rows)
    print(
        f"{name:<28} {either:>4} of {len(rows)} reported: {sum(clock)} by clock rate (limit"
        f" {limit:.0%}), {sum(crowded)} by others ({others:.2f} cores); latency {slower:+.1%},"
        f" preemptions {statistics.median(row['preemptions'] for row in rows):.0f}/s",
        flush=True,
    )


def main():
    """Print a line for each condition."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 64
    torch.set_num_threads(1)
    cases = [CASES[n % len(CASES)] for n in range(number)]
    quiet = [timing(case) for case in cases]
    show("as it is", quiet, quiet)
    changes = sorted(abs(row["clock_change"]) for row in quiet)
    levels = sorted(row["calibration"] for row in quiet)
    parts = (0.5, 0.75, 0.9, 0.95, 1.0)
    words = [f"{changes[round(part * (number - 1))]:.1%}" for part in parts]
    print(f"  clock_change, quantiles 50, 75, 90, 95, 100 %: {', '.join(words)}")
    words = [f"{levels[round(part * (number - 1))] / levels[0]:.2f}" for part in parts]
    print(f"  calibration over the best one, the same quantiles: {', '.join(words)}")
    cores = sorted(os.sched_getaffinity(0))
    for core in cores:
        with neighbours(core):
            show(f"a busy process on core {core}", [timing(case) for case in cases], quiet)
    with neighbours(*cores):
        show("a busy process on each core", [timing(case) for case in cases], quiet)
    for fall in (0.1, 0.2, 0.3):
        show(f"clock falls by {fall:.0%}", [timing(case, fall) for case in cases], quiet)


if __name__ == "__main__":
    main()
