"""What `benchsuite compare` finds, on synthetic records with this kind of machine's noise.

    python tests/perf/compare.py [--cells 96] [--draws 10]

Blocks of one process spread by 5–9 % and are correlated; medians of processes differ by a few
per cent more, with an occasional process that is 30 % slower. A/A: both sides are the same, and every
flag is wrong. Planted: 10 % slower in a part of the cells. Prints one line per design; a
benchmark, not a test.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import pandas as pd

from benchsuite.analysis import compare
from benchsuite.grid.case import Case
from benchsuite.records import Record, to_frame

PLANTED = 1.10
OUTLIERS, OUTLIER = 0.02, 1.3


def side(
    rng: np.random.Generator,
    cells: int,
    runs: int,
    between: float,
    slow: np.ndarray,
    planted: float = PLANTED,
) -> pd.DataFrame:
    """Records of one side: `runs` processes of each cell, twenty samples each."""
    records = []
    for cell in range(cells):
        case = Case(
            model=("lstm", "gru", "tcn")[cell % 3],
            seq_len=64 << (cell // 3 % 6),
            batch_size=1 + cell // 18,
        )
        truth = (1e-6 * case.seq_len + 1e-4) * (planted if slow[cell] else 1.0)
        for run in range(runs):
            samples = process(rng, truth, between)
            records.append(
                Record(
                    case=case,
                    measure="latency",
                    unit="s",
                    version="1",
                    status="ok",
                    value=float(np.median(samples)),
                    samples=tuple(samples.tolist()),
                    machine="synthetic",
                    run=str(run),
                    started_at=float(run),
                )
            )
    return to_frame(records)


def process(rng: np.random.Generator, truth: float, between: float) -> np.ndarray:
    """Samples of one process: off by its own factor, and correlated among themselves."""
    value = truth * math.exp(rng.normal(0, between))
    value *= OUTLIER if rng.random() < OUTLIERS else 1.0
    wave = np.repeat(rng.normal(0, 0.03, 5), 4)
    return value * np.exp(wave + rng.normal(0, rng.uniform(0.04, 0.085), 20))


def design(cells: int, draws: int, runs: int, between: float, share: float) -> str:
    """One line: the share of cells flagged where nothing changed and where 10 % was planted."""
    rng = np.random.default_rng(0)
    clean = planted = wrong = hits = 0
    needed = []
    for _ in range(draws):
        slow = rng.random(cells) < share
        base = side(rng, cells, runs, between, np.zeros(cells, bool))
        table = compare(base, side(rng, cells, runs, between, slow), "latency").table
        told = table["verdict"].isin(["faster", "slower"]).to_numpy()
        found = (table["verdict"] == "slower").to_numpy()
        clean, wrong = clean + (~slow).sum(), wrong + told[~slow].sum()
        planted, hits = planted + slow.sum(), hits + found[slow].sum()
        needed += table.loc[table["runs_needed"] > 0, "runs_needed"].tolist()
    parts = [f"{runs:2d} runs a side, {between:.0%} between processes, {share:.0%} slowed:"]
    if clean:
        parts.append(f"{wrong / clean:.2%} of {clean} unchanged cells flagged;")
    if planted:
        parts.append(f"{hits / planted:.1%} of {planted} slowed cells flagged;")
    parts.append(f"asks for {np.median(needed):.0f} runs" if needed else "asks for no more")
    return " ".join(parts)


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, default=96)
    options.add_argument("--draws", type=int, default=6)
    own = options.parse_args()
    for between in (0.02, 0.04):
        for runs in (1, 3, 5, 10, 15):
            for share in (0.0, 0.25):
                print(design(own.cells, own.draws, runs, between, share), flush=True)


if __name__ == "__main__":
    main()
