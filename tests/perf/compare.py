"""How often `benchsuite compare` is wrong where nothing changed, and what it finds where it did.

    python tests/perf/compare.py [--draws 400] [--cells 60]

Both sides are measured in turn, a process for each case and run. Blocks of one process spread by
4 to 8 % and are correlated. Medians of processes differ by the noise of a design:

- equal: 2 or 4 % in every case, and one process in fifty is 30 % slower;
- outlier: 2 % and in a quarter of the cases one process is 30 to 100 % slower;
- unequal: from 0.5 to 15 % by case;
- shared: 2 % and each run as a whole is off by 3 %.

Prints for each design and number of runs the share of comparisons of equal sides that call any case
changed, with its 95 % interval (Clopper & Pearson 1934): at most 5 % is promised. Beside it, from an
eighth as many draws, the share of slowed cases that is found where one case or all cases of one
model are 10 or 20 % slower, and in brackets the mean share of wrong ones among a comparison's calls
(its false discovery rate). A benchmark, not a test.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis.comparison import ALPHA, timed_rows
from benchsuite.analysis.ratio import THRESHOLD, Processes
from benchsuite.analysis.relabelling import enough_runs
from benchsuite.grid.case import Case
from benchsuite.records import Record, to_frame

SAMPLES = 20
OUTLIERS, OUTLIER = 0.02, 1.3
RUNS = (2, 3, 4, 5, 10, 15)
MODELS = ("lstm", "gru", "tcn")
Rng = np.random.Generator
Design = Callable[[Rng, int, int], "tuple[np.ndarray, np.ndarray]"]


def of_processes(rng: Rng, truth: np.ndarray) -> np.ndarray:
    """Samples of one process each, (…, samples), correlated among themselves."""
    wave = np.repeat(rng.normal(0, 0.03, (*truth.shape, SAMPLES // 4)), 4, axis=-1)
    spread = rng.uniform(0.04, 0.085, (*truth.shape, 1))
    return truth[..., None] * np.exp(wave + spread * rng.normal(size=(*truth.shape, SAMPLES)))


def of_side(rng: Rng, cells: int, runs: int, between: float) -> np.ndarray:
    """What each process is off by, (cells, runs), some by a third."""
    slow = np.where(rng.random((cells, runs)) < OUTLIERS, OUTLIER, 1.0)
    return np.exp(rng.normal(0, between, (cells, runs))) * slow


def equal(between: float) -> Design:
    """Every case alike."""
    return lambda rng, cells, runs: (
        of_side(rng, cells, runs, between),
        of_side(rng, cells, runs, between),
    )


def outlier(rng: Rng, cells: int, runs: int) -> tuple[np.ndarray, np.ndarray]:
    """A quarter of the cases have one slow process on either side."""
    both = np.exp(rng.normal(0, 0.02, (cells, 2 * runs)))
    cell = np.flatnonzero(rng.random(cells) < 0.25)
    both[cell, rng.integers(2 * runs, size=len(cell))] *= rng.uniform(1.3, 2.0, len(cell))
    return both[:, :runs], both[:, runs:]


def unequal(rng: Rng, cells: int, runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Each case has its own noise."""
    between = np.exp(rng.uniform(np.log(0.005), np.log(0.15), (cells, 1)))
    both = np.exp(between * rng.normal(size=(cells, 2 * runs)))
    return both[:, :runs], both[:, runs:]


def shared(rng: Rng, cells: int, runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Each run is faster or slower as a whole."""
    both = np.exp(rng.normal(0, 0.03, 2 * runs) + rng.normal(0, 0.02, (cells, 2 * runs)))
    return both[:, :runs], both[:, runs:]


DESIGNS: dict[str, Design] = {
    "equal, 2 %": equal(0.02),
    "equal, 4 %": equal(0.04),
    "outlier": outlier,
    "unequal": unequal,
    "shared": shared,
}


def template(cells: int, runs: int) -> pd.DataFrame:
    """Records of one side whose values do not count."""
    cases = [
        Case(model=MODELS[cell % 3], seq_len=64 << (cell // 3 % 6), batch_size=1 + cell // 18)
        for cell in range(cells)
    ]
    records = [
        Record(
            case=case,
            measure="latency",
            unit="s",
            version="1",
            status="ok",
            value=1.0,
            samples=(1.0,) * SAMPLES,
            machine="synthetic",
            run=str(run),
            started_at=float(run),
        )
        for case in cases
        for run in range(runs)
    ]
    return to_frame(records)


def side(
    rng: Rng, cells: int, runs: int, between: float, slow: np.ndarray, planted: float = 1.1
) -> pd.DataFrame:
    """Records of one side of the design "equal", some cases slowed."""
    truth = of_side(rng, cells, runs, between) * np.where(slow, planted, 1.0)[:, None]
    flat = of_processes(rng, truth).reshape(-1, SAMPLES)
    return template(cells, runs).assign(value=np.median(flat, axis=1), samples=flat.tolist())


def process(rng: Rng, truth: float, between: float) -> np.ndarray:
    """Samples of one process of the design "equal"."""
    return np.asarray(of_processes(rng, truth * of_side(rng, 1, 1, between))[0, 0])


def calls(
    rng: Rng, design: Design, runs: int, slow: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which cases of one comparison are called slower, and which are called at all.

    The part of `compare` that decides, without the frame that it reads records from.
    """
    base, head = design(rng, len(slow), runs)
    head = head * np.where(slow, factor, 1.0)[:, None]
    logs = [np.log(np.median(of_processes(rng, truth), axis=-1)) for truth in (base, head)]
    exact = np.zeros(runs)  # with repeats, what a process is sure of by itself does not count
    pairs = [
        (Processes(one, exact), Processes(other, exact)) for one, other in zip(*logs, strict=True)
    ]
    names = [str(cell) for cell in range(len(slow))]
    table, _ = timed_rows(names, pairs, ALPHA, THRESHOLD)
    verdict = table["verdict"].to_numpy()
    return verdict == "slower", np.isin(verdict, ["slower", "faster"])


def false_alarms(design: Design, cells: int, runs: int, draws: int) -> str:
    """Share of comparisons of equal sides that call anything."""
    rng = np.random.default_rng(runs)
    none = np.zeros(cells, bool)
    wrong = sum(bool(calls(rng, design, runs, none, 1.0)[1].any()) for _ in range(draws))
    low = stats.beta.ppf(0.025, wrong, draws - wrong + 1) if wrong else 0.0
    high = stats.beta.ppf(0.975, wrong + 1, draws - wrong) if wrong < draws else 1.0
    return f"{wrong:3d} of {draws} = {wrong / draws:5.1%} ({low:4.1%} to {high:5.1%})"


def power(design: Design, cells: int, runs: int, draws: int) -> str:
    """Shares of what was planted that are found, and of wrong calls."""
    parts = []
    for many, factor in ((False, 1.1), (False, 1.2), (True, 1.1), (True, 1.2)):
        rng = np.random.default_rng(100 + runs)
        slow = (np.arange(cells) % 3 == 1) if many else (np.arange(cells) == 7)
        found = planted = 0
        wrong = 0.0
        for _ in range(draws):
            slower, any_call = calls(rng, design, runs, slow, factor)
            found, planted = found + int(slower[slow].sum()), planted + int(slow.sum())
            wrong += float((any_call & ~slower | slower & ~slow).sum() / max(any_call.sum(), 1))
        parts.append(f"{found / planted:4.0%} ({wrong / draws:3.0%})")
    return "  ".join(f"{part:>11}" for part in parts)


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--cells", type=int, default=60)
    options.add_argument("--draws", type=int, default=400)
    own = options.parse_args()
    print(f"{own.cells} cases of 3 models; found (wrong among calls): one case, one model")
    print(
        f"{'':12} runs  any call, nothing changed         10 %         20 %         10 %        20 %"
    )
    for name, design in DESIGNS.items():
        for runs in RUNS:
            wrong = false_alarms(design, own.cells, runs, own.draws)
            found = "too few runs"
            if enough_runs(runs, runs, ALPHA):
                found = power(design, own.cells, runs, max(own.draws // 8, 1))
            print(f"{name:12} {runs:4d}  {wrong:34} {found}", flush=True)


if __name__ == "__main__":
    main()
