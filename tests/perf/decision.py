"""Seconds of processor time that the figures of a decision take for a large frame.

python tests/perf/decision.py [models' shapes, default 25600]
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np

from benchsuite.analysis import newest
from benchsuite.catalog.models import MODELS
from benchsuite.grid.case import Case
from benchsuite.records import Record, to_frame
from benchsuite.report.figures.fastest import crossover_maps
from benchsuite.report.figures.pareto import pareto_figures
from benchsuite.report.figures.roofline import roofline_figures
from benchsuite.report.figures.speedup import speedup_maps

MEASURES = {
    "latency": "s",
    "peak_memory": "B",
    "parameters": "1",
    "flops": "FLOP",
    "saved_activations": "B",
    "delay_error": "1",
    "state_size": "B",
    "receptive_field": "step",
}


def rows(count):
    """Records of about so many cases, eight measures each."""
    rng = np.random.default_rng(0)
    powers = [2**n for n in range(5, 13)]
    grid = itertools.product(
        ("infer", "train"),
        ("float32", "float64"),
        (1, 2),
        powers[:5],
        powers,
        powers,
        MODELS.names(),
    )
    own = {"study": "perf", "machine": "here", "version": "1", "status": "ok"}
    for mode, dtype, threads, h, b, t, model in itertools.islice(grid, count):
        case = Case(
            model=model,
            mode=mode,
            dtype=dtype,
            num_threads=threads,
            hidden_size=h,
            batch_size=b,
            seq_len=t,
        )
        for measure, unit in MEASURES.items():
            value = 1e-6 * t * b**0.5 * h * rng.lognormal(0, 0.1)
            samples = tuple(value * rng.lognormal(0, 0.02, 20)) if measure == "latency" else ()
            yield Record(case=case, measure=measure, unit=unit, value=value, samples=samples, **own)
    for dtype, threads in itertools.product(("float32", "float64"), (1, 2)):
        case = Case(model="machine", dtype=dtype, num_threads=threads)
        for measure, unit in (("matmul_rate", "FLOP/s"), ("copy_bandwidth", "B/s")):
            yield Record(case=case, measure=measure, unit=unit, value=1e11, **own)


def main():
    """Print them."""
    frame = newest(to_frame(rows(int(sys.argv[1]) if len(sys.argv) > 1 else 25_600)))
    print(f"{len(frame):,} records")
    for figures in (crossover_maps, speedup_maps, pareto_figures, roofline_figures):
        start = time.process_time()
        drawn = list(figures(frame))
        size = sum(len(figure.svg) for figure in drawn)
        print(
            f"{figures.__name__:18} {time.process_time() - start:5.1f} s,"
            f" {len(drawn)} figures, {size / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
