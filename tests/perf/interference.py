"""How often a run calls timings disturbed: on the machine as it is, and where they are disturbed.

    python tests/perf/interference.py [TIMINGS]

Takes so many timings on the machine as it is, as many with a process that keeps a core busy, for
each core, and as many in which the clock rate falls by 20, 30 and 40 % after the case was built
(calibrations after that are multiplied). Another condition makes every tenth timing slow throughout,
in the numbers of the first. For each it prints how many a run would report, and by what; if the
machine is idle, the first line is the rate of false alarms.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

from benchsuite import Case
from benchsuite.grid.study import Budget
from benchsuite.measures import interference
from benchsuite.measures.attempt import measure
from benchsuite.sweep import suite

CASES = [
    Case(model=model, seq_len=t) for model in ("gru", "lstm", "lstm_cell", "tcn") for t in (32, 256)
]
BUDGET = Budget(min_run_time=0.2, max_run_time=0.4, warmup=0.1)
COLUMNS = ("calibration", "clock_change", "other_cores", "preemptions", "cores", "threads")
PARTS = (0.5, 0.75, 0.9, 0.95, 1.0)
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
        row = {name: record.provenance[name] for name in COLUMNS}
        os.write(to_results, json.dumps([record.started_at, record.value, row]).encode())
        os._exit(0)
    os.close(to_results)
    with os.fdopen(results, "rb") as file:
        started_at, value, row = json.loads(file.read())
    os.waitpid(child, 0)
    return SimpleNamespace(status="ok", started_at=started_at, value=value, provenance=row)


def show(name, timings, quiet):
    """Print a line for a condition; `quiet` are the timings of the first."""
    judged = interference._timings(timings)
    clock = sum(timing.departure != 0 for timing in judged)
    crowded = sum(timing.crowded for timing in judged)
    slower = statistics.median(
        math.log(timing.value / before.value) for timing, before in zip(timings, quiet, strict=True)
    )
    others = statistics.median(timing.provenance["other_cores"] for timing in timings)
    print(
        f"{name:<28} {len(interference.disturbed(timings)):>4} of {len(timings)} reported: {clock}"
        f" by clock rate, {crowded} by others ({others:.2f} cores); latency {slower:+.1%}",
        flush=True,
    )


def slow_throughout(timings, factor):
    """The timings, of which every tenth has calibrations that take longer by a factor."""
    return [
        SimpleNamespace(
            **{**vars(timing), "provenance": {**timing.provenance, "calibration": calibration}}
        )
        for number, timing in enumerate(timings)
        for calibration in [timing.provenance["calibration"] * (factor if number % 10 == 5 else 1)]
    ]


def quantiles(name, values):
    """Print some quantiles of values that are parts of one."""
    values = sorted(values)
    words = [f"{values[round(part * (len(values) - 1))]:.1%}" for part in PARTS]
    print(f"  {name}, quantiles 50, 75, 90, 95, 100 %: {', '.join(words)}")


def main():
    """Print a line for each condition."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    suite._warm_up(steps=True)  # as the process of a run that forks one for each case
    cases = [CASES[n % len(CASES)] for n in range(number)]
    quiet = [timing(case) for case in cases]
    show("as it is", quiet, quiet)
    calibrations = [timing.provenance["calibration"] for timing in quiet]
    quantiles("clock_change", [abs(timing.provenance["clock_change"]) for timing in quiet])
    quantiles("calibration over the best one", [c / min(calibrations) for c in calibrations])
    limits = interference.change_limit(calibrations), interference.level_limit(calibrations)
    print(f"  limits of the change and of the level: {limits[0]:.0%}, {limits[1]:.0%}")
    for factor in (1.2, 1.4, 1.65):
        show(f"every tenth slow by {factor:.2f}", slow_throughout(quiet, factor), quiet)
    cores = sorted(os.sched_getaffinity(0))
    for core in cores:
        with neighbours(core):
            show(f"a busy process on core {core}", [timing(case) for case in cases], quiet)
    with neighbours(*cores):
        show("a busy process on each core", [timing(case) for case in cases], quiet)
    for fall in (0.2, 0.3, 0.4):
        show(f"clock falls by {fall:.0%}", [timing(case, fall) for case in cases], quiet)


if __name__ == "__main__":
    main()
