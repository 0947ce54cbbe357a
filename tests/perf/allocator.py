"""Page faults of a step and the noise between processes, under both policies of `allocator`.

    python tests/perf/allocator.py [PROCESSES]

Measures each case in so many processes per policy (default: 8), the policies in turn so that a
slow minute of the machine falls on both. Prints per case and policy the median latency, the
coefficient of variation of the processes' medians, and the page faults of a step in each process.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

CASES = {
    "lstm train B=32 H=64 T=512": "model='lstm', batch_size=32, seq_len=512, mode='train'",
    "tcn infer B=8 H=64 T=256": "model='tcn', batch_size=8, seq_len=256",
    "conv infer B=8 H=64 T=256": "model='conv', batch_size=8, seq_len=256",
}
CHILD = """
import json
from benchsuite import Case, measure
from benchsuite.grid.study import Budget
r = measure(Case({case}, allocator={policy!r}), "latency", budget=Budget(0.3, 0.6))
print(json.dumps([r.value, r.provenance["page_faults"], r.provenance["fault_time"]]))
"""


def main() -> None:
    processes = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    found: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(processes):
        for name, case in CASES.items():
            for policy in ("default", "held"):
                code = CHILD.format(case=case, policy=policy)
                done = subprocess.run(
                    [sys.executable, "-c", code], capture_output=True, text=True, check=True
                )
                found.setdefault((name, policy), []).append(json.loads(done.stdout))
    print(f"{'case':28}{'policy':9}{'median':>10}{'CV':>8}{'share':>8}  page faults of a step")
    for (name, policy), rows in found.items():
        values, faults, costs = (list(column) for column in zip(*rows, strict=True))
        middle = statistics.median(values)
        spread = statistics.stdev(values) / statistics.mean(values)
        share = statistics.median(faults) * statistics.median(costs) / middle
        each = ", ".join(f"{count:,.0f}" for count in sorted(faults))
        print(f"{name:28}{policy:9}{middle * 1e3:7.2f} ms{spread:8.1%}{share:8.1%}  {each}")


if __name__ == "__main__":
    main()
