"""How often intervals hold the truth, on planted records whose truth is known.

    python tests/perf/coverage.py [--draws 30]

Four models over six lengths, three batches and three widths, one process a case, whose noise
differs by model from 2 to 8 %. Kinds of records:

- smooth: affine and power laws over T, normal noise;
- heavy: the same with noise of Student's t with 3 degrees of freedom, of the same variance;
- correlated: the same with samples that wander within a process by as much as processes differ;
- cliffs: two of the models are 1.6 times slower where T·B·H exceeds 2¹⁷, as beyond a cache.

Prints for each the share of 95 % intervals that hold the truth, with how many there were and, in
brackets, the binomial 95 % interval of the share itself. Draws are independent, values of one draw
are not quite: they share the floor estimated from them. Of heavy tails a floor is more often too
small than too large, which costs a point of coverage or, of slopes, four. For crossings, also how
many of the lines that cross are found to. What an exponent is where a line has a cliff is not
defined; it is left out there. A benchmark, not a test.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import defaultdict

import numpy as np
import pandas as pd
from scipy import stats

from benchsuite.analysis import advise, critical, crossovers, floor, laws, speedups
from benchsuite.analysis import spread_and_degrees as spread_of
from benchsuite.grid.case import Case
from benchsuite.records import Record, to_frame

GRID = list(itertools.product((64, 128, 256, 512, 1024, 2048), (1, 8, 32), (32, 64, 128)))
NOISE = {"lstm": 0.02, "gru": 0.05, "tcn": 0.08, "lstm_cell": 0.02}
EXPONENTS = {"gru": 0.9, "lstm_cell": 1.0}
SAMPLES = 24
CLIFF, CLIFF_AT = 1.6, 2**17
Rng = np.random.Generator


def truth(model: str, T: np.ndarray, B: np.ndarray, H: np.ndarray, *, cliffs: bool) -> np.ndarray:
    """Seconds of a step. `lstm` and `tcn` cross at T = 300 for every batch and width."""
    size = 1 + B * H / 256
    seconds = {
        "lstm": 1e-6 * T,
        "tcn": 1.5e-4 + 5e-7 * T,
        "gru": 2e-6 * T**0.9,
        "lstm_cell": 6e-6 * T,
    }[model] * size
    over = cliffs and model in {"lstm", "gru"}
    return np.where(over & (T * B * H > CLIFF_AT), CLIFF, 1.0) * seconds


def template() -> pd.DataFrame:
    """Records whose values do not count."""
    records = (
        Record(
            case=Case(model=model, seq_len=t, batch_size=b, hidden_size=h),
            measure="latency",
            unit="s",
            version="1",
            status="ok",
            value=1.0,
            samples=(1.0,) * SAMPLES,
            machine="synthetic",
        )
        for model in NOISE
        for t, b, h in GRID
    )
    return to_frame(records)


def off(rng: Rng, kind: str, sigma: np.ndarray) -> np.ndarray:
    """What each process is off by, in log units."""
    if kind == "heavy":
        return sigma * rng.standard_t(3, len(sigma)) / math.sqrt(3)
    return sigma * rng.normal(size=len(sigma))


def planted(rng: Rng, kind: str, frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """A set of records, and the true values."""
    T, B, H = (frame[n].to_numpy(float) for n in ("seq_len", "batch_size", "hidden_size"))
    true = np.empty(len(frame))
    for model in NOISE:
        own = (frame["model"] == model).to_numpy()
        true[own] = truth(model, T[own], B[own], H[own], cliffs=kind == "cliffs")
    sigma = frame["model"].map(NOISE).to_numpy(float)
    value = true * np.exp(off(rng, kind, sigma))
    walk = sigma[:, None] * np.cumsum(rng.normal(0, 0.3, (len(frame), SAMPLES)), axis=1)
    wander = walk if kind == "correlated" else 0.0
    samples = value[:, None] * np.exp(wander + rng.normal(0, 0.05, (len(frame), SAMPLES)))
    medians = np.median(samples, axis=1)
    return frame.assign(value=medians, samples=samples.tolist()), true


Inside = dict[str, list[bool]]


def values_and_ratios(records: pd.DataFrame, true: np.ndarray, inside: Inside) -> None:
    """Bands of the figures, and speed-ups over `lstm`."""
    parts = spread_of(records, floor(records, "latency"))
    half = parts[0] * critical(parts)
    apart = np.abs(np.log(records["value"].to_numpy(float) / true))
    inside["values"] += (apart <= half).tolist()
    for model in NOISE:
        own = (records["model"] == model).to_numpy()
        inside[f"values of {model}"] += (apart[own] <= half[own]).tolist()
    keys = ["seq_len", "batch_size", "hidden_size"]
    known = records.assign(true=true).set_index(["model", *keys])["true"]
    table = speedups(records)
    here = known.loc[pd.MultiIndex.from_frame(table[["model", *keys]])].to_numpy()
    reference = known.loc["lstm"].loc[pd.MultiIndex.from_frame(table[keys])].to_numpy()
    ratio = reference / here
    inside["ratios"] += ((table["low"] <= ratio) & (table["high"] >= ratio)).tolist()


def exponents(records: pd.DataFrame, inside: Inside) -> None:
    """Of the models that are power laws, and both terms of those that are affine."""
    table = laws(records, "latency")
    for model, exponent in EXPONENTS.items():
        own = table[table["model"] == model]
        held = (own["exponent_low"] <= exponent) & (own["exponent_high"] >= exponent)
        inside["exponents"] += held.tolist()
    own = table[table["model"] == "tcn"]
    size = 1 + own["batch_size"] * own["hidden_size"] / 256
    for name, value in (("overhead", 1.5e-4), ("slope", 5e-7)):
        held = (own[f"{name}_low"] <= value * size) & (own[f"{name}_high"] >= value * size)
        inside[f"{name}s of a + b·T"] += held.tolist()


def crossing(records: pd.DataFrame, inside: Inside, *, cliffs: bool) -> None:
    """Of `lstm` and `tcn`: where their true lines cross for the first and for the last time."""
    table = crossovers(records, "latency")
    table = table[table["a"].isin(["lstm", "tcn"]) & table["b"].isin(["lstm", "tcn"])]
    T = np.geomspace(64, 2048, 20_000)
    for row in table.to_dict("records"):
        B, H = (np.full(len(T), float(row[name])) for name in ("batch_size", "hidden_size"))
        one, other = (truth(model, T, B, H, cliffs=cliffs) for model in ("lstm", "tcn"))
        turns = np.flatnonzero(np.diff(np.sign(one - other)))
        if len(turns) != 1:
            inside["lines that never cross, not called crossing"].append(
                row["verdict"] != "crosses"
            )
            continue
        at, found = T[turns[0]], row["verdict"] == "crosses"
        inside["lines that cross, found"].append(found)
        if found:
            inside["crossovers"].append(row["low"] <= at * 1.001 and row["high"] >= at * 0.999)


def advice(
    rng: Rng, kind: str, records: pd.DataFrame, inside: Inside, reported: list[float]
) -> None:
    """A new measurement between the cells that were measured, and at one of them."""
    T, B, H = GRID[rng.integers(len(GRID))]
    between = (int(rng.integers(64, 2049)), int(rng.integers(1, 33)), int(rng.integers(32, 129)))
    for name, (t, b, h) in (("between cells", between), ("at a cell", (T, B, H))):
        found = advise(records, {"seq_len": t, "batch_size": b, "hidden_size": h, "mode": "infer"})
        for entry in found.ranking:
            model = entry["model"]
            at = (np.array([float(v)]) for v in (t, b, h))
            true = truth(model, *at, cliffs=kind == "cliffs")
            new = float((true * np.exp(off(rng, kind, np.array([NOISE[model]]))))[0])
            latency = entry["latency"]
            inside[f"advice {name}"].append(latency["low"] <= new <= latency["high"])
    reported.append(found.coverage)


def share(held: list[bool]) -> str:
    """A share and its binomial interval (Clopper & Pearson 1934)."""
    n, k = len(held), sum(held)
    low = stats.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    high = stats.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    return f"{k / n:6.1%} of {n:5d} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Simulate and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--draws", type=int, default=30)
    draws = options.parse_args().draws
    frame = template()
    for kind in ("smooth", "heavy", "correlated", "cliffs"):
        rng = np.random.default_rng(0)
        inside: Inside = defaultdict(list)
        reported: list[float] = []
        for draw in range(draws):
            records, true = planted(rng, kind, frame)
            values_and_ratios(records, true, inside)
            if kind != "cliffs":
                exponents(records, inside)
            crossing(records, inside, cliffs=kind == "cliffs")
            if draw % 2 == 0:
                advice(rng, kind, records, inside, reported)
        for name, held in inside.items():
            print(f"{kind:10} {name:44} {share(held)}", flush=True)
        print(f"{kind:10} {'coverage that advise reports':44} {np.mean(reported):6.1%}", flush=True)


if __name__ == "__main__":
    main()
