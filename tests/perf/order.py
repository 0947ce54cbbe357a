"""Does the order of cases change what is measured? Sorted order against shuffled ones.

    python tests/perf/order.py [ROUNDS]

Measures a few cases by latency, each in a separate process, in sorted and in shuffled order in turn,
each of them first in every other round (so that a drift of the machine is on both sides). Prints for
each case the ratio of the medians, shuffled over sorted, beside its standard error from the spread
between rounds of the same order. The order makes no difference if about one ratio of twenty is
further than two standard errors from one.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys

from benchsuite.grid.case import Case

MODELS, LENGTHS = ("conv", "gru", "lstm", "tcn"), (32, 256)
#: Imports first and forks for each case, as the forkserver of a run does.
CHILD = """
import json, os, sys
import torch
from benchsuite import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.attempt import measure
torch.set_num_threads(1)
for settings in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if os.fork() == 0:
        budget = Budget(min_run_time=0.2, warmup=0.1)
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
    cases = [Case(model=model, seq_len=t) for model in MODELS for t in LENGTHS]
    logs: dict[str, dict[tuple[str, int], list[float]]] = {"sorted": {}, "shuffled": {}}
    for number in range(rounds):
        shuffled = random.Random(number).sample(cases, len(cases))
        orders = [("sorted", cases), ("shuffled", shuffled)]
        for order, sequence in orders if number % 2 == 0 else orders[::-1]:
            for key, seconds in measured(sequence).items():
                logs[order].setdefault(key, []).append(math.log(seconds))
    differences, beyond = [], 0
    print(f"{rounds} rounds of {len(cases)} cases; ratio: median shuffled / median sorted")
    for key, values in logs["sorted"].items():
        others = logs["shuffled"][key]
        difference = statistics.median(others) - statistics.median(values)
        # Standard deviation of one process around its order's median, by the pooled quartiles.
        centred = [x - statistics.median(own) for own in (values, others) for x in own]
        spread = statistics.quantiles(centred, n=4)
        deviation = (spread[2] - spread[0]) / 1.349
        error = 1.2533 * deviation * math.sqrt(2 / rounds)
        differences.append(difference)
        beyond += abs(difference) > 2 * error
        print(
            f"{key[0]:>6} T={key[1]:<5} {math.exp(difference):.3f}"
            f"  (spread of one process {deviation:.1%}, of the ratio {error:.1%})"
        )
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    print(f"all: {math.exp(mean):.3f} ± {2 * error:.3f} (two standard errors over cases)")
    print(f"further than two standard errors from one: {beyond} of {len(differences)}")


if __name__ == "__main__":
    main()
