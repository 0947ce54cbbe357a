"""Does the order of cases change what is measured? Sorted order against shuffled ones.

    python tests/perf/order.py [ROUNDS]

Measures a few cases by latency, each in a separate process, in sorted and in shuffled order in turn,
each of them first in every other round (so that a drift of the machine is on both sides). Prints for
each case the median ratio of a round, shuffled over sorted, with its standard error over rounds, and
the mean over cases with its 95 % interval over rounds: cases of one pass share the machine's state,
so only rounds are independent. The order makes no difference if that interval includes one.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys

from scipy.stats import t

from benchsuite.grid.case import Case

MODELS, LENGTHS = ("conv", "gru", "lstm", "tcn"), (32, 256)
#: Imports first and forks for each case, as the forkserver of a run does.
CHILD = """
import json, os, sys
from benchsuite import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.attempt import measure
from benchsuite.sweep import suite
suite._warm_up(steps=True)
for settings in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        budget = Budget(min_run_time=0.2, max_run_time=0.4, warmup=0.1)
        record = measure(Case(**settings), "latency", budget=budget)
        print(json.dumps([settings["model"], settings["seq_len"], record.value]), flush=True)
        os._exit(0)
    os.wait()
"""


def measured(cases: list[Case]) -> dict[tuple[str, int], float]:
    """Latency of each case, measured in this order."""
    words = [{"model": case.model, "seq_len": case.seq_len} for case in cases]
    command = [sys.executable, "-c", CHILD, json.dumps(words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {(m, t): seconds for m, t, seconds in map(json.loads, done.stdout.splitlines())}


def main() -> None:
    """Print a line for each case and one for all."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    cases = [Case(model=model, seq_len=length) for model in MODELS for length in LENGTHS]
    logs: dict[str, dict[tuple[str, int], list[float]]] = {"sorted": {}, "shuffled": {}}
    for number in range(rounds):
        shuffled = random.Random(number).sample(cases, len(cases))
        orders = [("sorted", cases), ("shuffled", shuffled)]
        for order, sequence in orders if number % 2 == 0 else orders[::-1]:
            for key, seconds in measured(sequence).items():
                logs[order].setdefault(key, []).append(math.log(seconds))
    differences = []
    print(f"{rounds} rounds of {len(cases)} cases; ratio: shuffled / sorted")
    for key, values in logs["sorted"].items():
        of_rounds = [x - y for x, y in zip(logs["shuffled"][key], values, strict=True)]
        differences.append(of_rounds)
        error = 1.2533 * statistics.stdev(of_rounds) / math.sqrt(rounds)
        ratio = math.exp(statistics.median(of_rounds))
        print(f"{key[0]:>6} T={key[1]:<5} {ratio:.3f} ± {error:.1%}")
    means = [statistics.fmean(of_cases) for of_cases in zip(*differences, strict=True)]
    half = float(t.ppf(0.975, rounds - 1)) * statistics.stdev(means) / math.sqrt(rounds)
    mean = statistics.fmean(means)
    low, high = math.exp(mean - half), math.exp(mean + half)
    print(f"all: {math.exp(mean):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
