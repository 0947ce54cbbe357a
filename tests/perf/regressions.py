"""What is found of a planted slowdown: by asv over commits, and by `benchsuite compare`.

    python tests/perf/regressions.py [--draws 400]

Lines of fifty commits with one process each, and the noise of `compare.py`: medians of processes
differ by 2 or 4 %, one process in fifty is 30 % slower. A slowdown of 5, 10 or 20 % is planted
some commits before the end, or none. asv's own step detection and thresholds are used, with its
weights by confidence intervals. A line counts as found where asv reports a regression at the
planted commit, one off counted too; as a false alarm where it reports one anywhere else.
Prints one line per design; a benchmark, not a test.
"""

from __future__ import annotations

import argparse

import numpy as np
from asv._stats import get_weight, is_different
from asv.step_detect import detect_regressions, detect_steps
from asv_runner.statistics import compute_stats
from compare import process, side

from benchsuite.analysis import compare

COMMITS = 50
FACTORS = (1.0, 1.05, 1.10, 1.20)
THRESHOLDS = (0.05, 0.10, 0.15)
AFTER = (1, 3, 5, 10, 20)


def line(
    rng: np.random.Generator, between: float, factor: float, after: int
) -> tuple[list[float], list[float | None]]:
    """Values and asv's weights of one cell over commits, the last `after` of them slowed."""
    values, weights = [], []
    for commit in range(COMMITS):
        truth = 1e-3 * (factor if commit >= COMMITS - after else 1.0)
        value, stats = compute_stats(process(rng, truth, between).tolist(), 1)
        values.append(value)
        weights.append(get_weight(stats))
    return values, weights


def by_asv(between: float, factor: float, after: int, draws: int) -> str:
    """Share of lines found and of lines with a false alarm, by threshold."""
    rng = np.random.default_rng(0)
    found = dict.fromkeys(THRESHOLDS, 0)
    wrong = dict.fromkeys(THRESHOLDS, 0)
    for _ in range(draws):
        steps = detect_steps(*line(rng, between, factor, after))
        for threshold in THRESHOLDS:
            jumps = [jump[1] for jump in detect_regressions(steps, threshold)[2] or []]
            near = [factor > 1 and abs(at - (COMMITS - after)) <= 1 for at in jumps]
            found[threshold] += any(near)
            wrong[threshold] += not all(near)
    parts = [
        f"at {threshold:.0%}: "
        + (f"{found[threshold] / draws:4.0%} found, " if factor > 1 else "")
        + f"{wrong[threshold] / draws:5.1%} false"
        for threshold in THRESHOLDS
    ]
    planted = f"{factor - 1:.0%} slower, {after:2d} commits ago" if factor > 1 else "no change"
    return f"asv      {between:.0%} noise, {planted}: " + "; ".join(parts)


def by_continuous(between: float, factor: float, draws: int) -> str:
    """Share of cells that `asv continuous` calls slower: one process a side, factor 1.1."""
    rng = np.random.default_rng(0)
    flagged = 0
    for _ in range(draws):
        base, head = (process(rng, 1e-3 * f, between).tolist() for f in (1.0, factor))
        (old, old_stats), (new, new_stats) = (compute_stats(s, 1) for s in (base, head))
        apart = is_different(base, head, old_stats, new_stats)
        flagged += apart and (new > 1.1 * old or (factor == 1.0 and old > 1.1 * new))
    kind = f"{factor - 1:.0%} slower: {flagged / draws:4.0%} found"
    none = f"no change: {flagged / draws:5.1%} false"
    return f"asv continuous  {between:.0%} noise, {kind if factor > 1 else none}"


def by_compare(between: float, factor: float, runs: int, draws: int) -> str:
    """Share of cells called slower, and of unchanged cells called either."""
    rng = np.random.default_rng(0)
    cells = 32  # timings of the tracked grid
    hits = planted = wrong = clean = 0
    for _ in range(max(draws // cells, 4)):
        slow = rng.random(cells) < (0.25 if factor > 1 else 0.0)
        base = side(rng, cells, runs, between, np.zeros(cells, bool))
        table = compare(base, side(rng, cells, runs, between, slow, factor), "latency").table
        slower = (table["verdict"] == "slower").to_numpy()
        flagged = slower | (table["verdict"] == "faster").to_numpy()
        hits, planted = hits + slower[slow].sum(), planted + slow.sum()
        wrong, clean = wrong + flagged[~slow].sum(), clean + (~slow).sum()
    text = f"compare  {between:.0%} noise, {runs:2d} runs a side, "
    if factor > 1:
        text += f"a quarter {factor - 1:.0%} slower: {hits / planted:4.0%} found, "
    else:
        text += "no change: "
    return text + f"{wrong / clean:5.1%} false"


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=400)
    draws = options.parse_args().draws
    for between in (0.02, 0.04):
        print(by_asv(between, 1.0, 0, draws), flush=True)
        for factor in FACTORS[1:]:
            for after in AFTER:
                print(by_asv(between, factor, after, draws), flush=True)
    for between in (0.02, 0.04):
        for factor in FACTORS:
            print(by_continuous(between, factor, 5 * draws), flush=True)
    for between in (0.02, 0.04):
        for factor in FACTORS:
            for runs in (3, 4, 5, 10):
                print(by_compare(between, factor, runs, draws), flush=True)


if __name__ == "__main__":
    main()
