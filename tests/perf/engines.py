"""What each engine gives for a model, as ratios to eager PyTorch within one process.

    python tests/perf/engines.py [MODEL …] [-a AXIS=VALUE …] [--engines NAME …]

Every engine's step and the eager one take blocks in turn, ABBA, so that a slow minute of the machine
falls on both; the ratio of a pair of blocks is one sample. Printed are the eager time, the median
ratio with the lowest and highest of the pairs, the error against float64 relative to the greatest
output, and the seconds to compile or export and load. A benchmark, not a test.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

PAIRS, BLOCK_SECONDS = 11, 0.05


def main() -> None:
    from benchsuite.catalog.engines import ENGINES
    from benchsuite.errors import Unsupported
    from benchsuite.grid.axes import AXES, parse_single
    from benchsuite.grid.case import Case
    from benchsuite.runtime.workload import Workload

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", default=["lstm", "gru", "tcn"])
    parser.add_argument("-a", dest="axes", action="append", default=[])
    parser.add_argument("--engines", nargs="+", default=[e.name for e in ENGINES][1:])
    given = parser.parse_args()
    axes = parse_single(["T=128", "B=1", "H=64"], AXES, "axis", "this takes")
    axes.update(parse_single(given.axes, AXES, "axis", "this takes"))
    print(f"load {os.getloadavg()[0]:.1f}, {axes}")
    for model in given.models:
        eager = Workload(Case(model=model, **axes))
        for name in given.engines:
            engine = Workload(Case(model=model, engine=name, **axes))
            try:
                engine.build()
            except Unsupported as reason:
                print(f"{model:12} {name:17} skipped: {reason}")
                continue
            base, ratios = compared(eager.step, engine.step)
            facts = engine.provenance()
            print(
                f"{model:12} {name:17} eager {base * 1e3:.3f} ms, ratio"
                f" {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}),"
                f" error {facts['engine_error']:.1e} ({facts['engine_precision']}),"
                f" prepared in {facts['preparation']:.2f} s",
                flush=True,
            )


def compared(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, list[float]]:
    """Seconds of the first step, and ratios of the second to it."""
    counts = []
    for step in (one, other):
        step()
        count = 1
        while (spent := _seconds(step, count)) < BLOCK_SECONDS / 2:
            count = max(count + 1, int(count * BLOCK_SECONDS / max(spent, 1e-6)))
        counts.append(count)
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(PAIRS):
        for index in (0, 1) if pair % 2 else (1, 0):
            step = (one, other)[index]
            times[index].append(_seconds(step, counts[index]) / counts[index])
    return statistics.median(times[0]), [b / a for a, b in zip(*times, strict=True)]


def _seconds(step: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        step()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
