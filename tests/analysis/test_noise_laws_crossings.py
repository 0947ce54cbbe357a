"""What the frame says of scaling, noise and crossings, against synthetic data with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchsuite.analysis import (
    Noise,
    crossover_sentence,
    crossover_surface,
    crossovers,
    fit_law,
    fit_memory,
    floor,
    laws,
    memory_lines,
    spread,
    within,
)
from benchsuite.records import to_frame
from benchsuite.report.page import write_report

T = np.array([64.0, 128, 256, 512, 1024, 2048])


def samples_around(rng, value, count=12, cv=0.07):
    """Correlated samples of one process: a slow wave and noise of each block."""
    wave = np.cumsum(rng.normal(0, cv / 3, count))
    return (value * np.exp(wave - np.median(wave) + rng.normal(0, cv / 2, count))).tolist()


@pytest.fixture
def lines(make_record):
    """Build a frame: `lines({"lstm": f, …}, between=0.05)`, f of (T, B, H)."""

    def build(functions, *, between=0.0, seed=0, lengths=T, batches=(1, 8), **own):
        rng = np.random.default_rng(seed)
        rows = []
        for model, function in functions.items():
            for batch in batches:
                for t in lengths:
                    value = function(float(t), batch, 64) * math.exp(rng.normal(0, between))
                    samples = samples_around(rng, value)
                    rows.append(
                        make_record(
                            model=model,
                            seq_len=int(t),
                            batch_size=batch,
                            value=float(np.median(samples)),
                            samples=samples,
                            **own,
                        )
                    )
        return to_frame(rows)

    return build


# --- noise


def test_the_error_of_one_process_is_that_of_its_blocks():
    rng = np.random.default_rng(1)
    sets = [rng.normal(1, 0.05, 200) for _ in range(300)]
    told = np.median([within(s.tolist()) for s in sets])
    seen = np.std([np.log(np.median(s)) for s in sets])
    assert told == pytest.approx(seen, rel=0.2)


def test_correlated_samples_are_not_taken_for_independent_ones():
    rng = np.random.default_rng(2)
    steps = np.repeat(rng.normal(1, 0.05, 12), 50)
    assert within(steps.tolist()) > 3 * 0.05 / math.sqrt(600)


@pytest.mark.parametrize("samples", [[], [1.0], None, [1.0, 1.0, 1.0], [0.0, 1.0]])
def test_exact_and_constant_values_have_no_error(samples):
    assert within(samples) == 0.0


def test_the_floor_comes_from_repeats_where_there_are_some(make_record):
    rng = np.random.default_rng(3)
    rows = []
    for t in range(1, 101):
        for attempt in range(3):
            value = t * math.exp(rng.normal(0, 0.08))
            samples = [value * f for f in (0.999, 1.0, 1.001)]
            rows.append(make_record(seq_len=t, value=value, samples=samples, started_at=attempt))
    noise = floor(to_frame(rows), "latency")
    assert noise.source == "repeats"
    assert noise.degrees == 200
    assert noise.between == pytest.approx(0.08, rel=0.15)


def test_the_floor_comes_from_smooth_lines_else(lines):
    curves = {f"lstm{'_cell' * (i % 2)}": lambda t, b, h: 1e-4 + 2e-6 * b * t for i in range(2)}
    frame = lines(curves, between=0.06, batches=range(1, 41))
    noise = floor(frame, "latency")
    assert noise.source == "lines"
    assert noise.between == pytest.approx(0.06, rel=0.25)
    assert (spread(frame, noise) >= noise.between).all()


def test_exact_measures_and_single_cases_have_no_floor(make_record):
    exact = to_frame([make_record(measure="peak_memory", unit="B", seq_len=t) for t in range(1, 9)])
    assert floor(exact, "peak_memory") == Noise(0.0, 0.0, "none")
    one = to_frame([make_record(samples=[1.0, 1.1])])
    assert floor(one, "latency").source == "none"
    assert floor(one, "absent").source == "none"


# --- laws


def test_intervals_of_a_law_cover():
    """a, b and p of many noisy lines: 95 % intervals hold the truth in at least 90 % of them."""
    a, b, sigma = 3e-4, 2e-6, np.full(T.size, 0.06)
    rng = np.random.default_rng(4)
    hits = np.zeros(2)
    power = 0
    for seed in range(200):
        noise = np.exp(rng.normal(0, sigma))
        law = fit_law(T, (a + b * T) * noise, sigma, seed)
        hits += [law.overhead[1] <= a <= law.overhead[2], law.slope[1] <= b <= law.slope[2]]
        law = fit_law(T, 1e-6 * T**0.8 * noise, sigma, seed)
        power += law.exponent[1] <= 0.8 <= law.exponent[2]
    assert (hits / 200 >= 0.9).all()
    assert 0.9 <= power / 200 <= 0.995


@pytest.mark.parametrize(
    ("t", "regime", "at"),
    [
        (1e-3 + 1e-8 * T, "flat", math.nan),
        (1e-6 + 1e-6 * T, "linear", math.nan),
        (1e-4 + 4e-7 * T, "flat → linear", 250),
        (1e-9 * T**2, "super-linear", math.nan),
        (3e-7 * T + 5e-10 * T**2, "linear → super-linear", 200),
        (np.full(T.size, 1e-3), "flat", math.nan),
    ],
)
def test_regimes(t, regime, at):
    exact = fit_law(T, t, np.zeros(T.size))
    assert exact.regime == regime
    assert exact.changes_at[0] == pytest.approx(at, nan_ok=True)
    noisy = fit_law(T, t, np.full(T.size, 0.02))
    assert noisy.regime == regime
    if at > 0:
        assert noisy.changes_at[1] <= at <= noisy.changes_at[2]


def test_noise_alone_makes_no_bend():
    rng = np.random.default_rng(5)
    t = 1e-6 * T * np.exp(rng.normal(0, 0.1, (60, T.size)))
    bent = sum("super" in fit_law(T, row, np.full(T.size, 0.1)).regime for row in t)
    assert bent <= 6


def test_laws_of_few_lengths():
    zero = np.zeros(2)
    assert fit_law(T[:1], T[:1], zero[:1]) is None
    law = fit_law(np.array([100.0, 200.0]), np.array([3.0, 5.0]), zero)
    assert law.overhead == pytest.approx((1, 1, 1))
    assert law.slope == pytest.approx((0.02, 0.02, 0.02))


def test_laws_of_a_frame(lines, make_record):
    frame = lines({"lstm": lambda t, b, h: 1e-6 * b * t, "tcn": lambda t, b, h: 2e-6 * b * t})
    found = laws(frame, "latency")
    assert len(found) == 4
    assert found["slope"].tolist() == pytest.approx([1e-6, 8e-6, 2e-6, 1.6e-5], rel=0.15)
    assert (found["regime"] == "linear").all()
    failed = to_frame([make_record(status="failed", seq_len=t) for t in (1, 2)])
    assert laws(failed, "latency").empty
    assert laws(to_frame([make_record()]), "latency").empty


# --- memory


def test_memory_is_exact_where_it_is():
    line = fit_memory(np.array([200.0, 400, 800]), np.array([10_358_336.0, 20_393_536, 40_463_936]))
    assert (line.slope, line.exact) == (50_176, True)
    assert line.largest_seq_len(40_463_936) == 800
    assert line.largest_seq_len(40_463_935) == 799
    assert line.largest_seq_len(1.0) == 0


def test_memory_that_is_no_line_says_so():
    line = fit_memory(np.array([1.0, 2, 4, 8]), np.array([100.0, 300, 500, 900]))
    assert not line.exact
    assert (line.slope, line.low, line.high) == (100, 100, 200)
    assert line.largest_seq_len(1300) == 10  # the steepest slope from the longest length on
    assert fit_memory(np.array([1.0]), np.array([1.0])) is None
    flat = fit_memory(np.array([1.0, 2, 4]), np.array([7.0, 7, 7]))
    assert flat.largest_seq_len(8) is None
    assert flat.largest_seq_len(6) == 0


def test_memory_lines_of_a_frame(make_record):
    rows = [
        make_record(measure="peak_memory", unit="B", seq_len=t, batch_size=b, value=100.0 + b * t)
        for t in (8, 16, 32)
        for b in (1, 4)
    ]
    table = memory_lines(to_frame(rows), memory=1000)
    assert table["slope"].tolist() == [1, 4]
    assert table["exact"].all()
    assert table["largest_seq_len"].tolist() == [900, 225]


# --- crossings


def crossing(lines, **own):
    """Lines that cross at T = 300 for B = 1, and at 37.5, out of range, for B = 8."""
    return lines(
        {"lstm": lambda t, b, h: 1e-6 * b * t, "tcn": lambda t, b, h: 1.5e-4 + 5e-7 * b * t}, **own
    )


def test_a_crossing_is_found(lines):
    table = crossovers(crossing(lines, between=0.01), "latency")
    one, eight = table[table["batch_size"] == 1].iloc[0], table[table["batch_size"] == 8].iloc[0]
    assert one["verdict"] == "crosses"
    assert one["low"] < 300 < one["high"]
    assert one["seq_len"] == pytest.approx(300, rel=0.1)
    assert crossover_sentence(one).startswith("lstm is lower up to T = ")
    assert crossover_sentence(one).endswith("tcn beyond")
    assert eight["verdict"] == "b always"
    assert np.isnan(eight["seq_len"])
    assert crossover_sentence(eight).startswith("never: tcn is lower than lstm at every")


def test_the_interval_of_a_crossing_covers(lines):
    """150 lines of one truth, each with its own noise."""
    curves = {"lstm": lambda t, b, h: 1e-6 * t, "tcn": lambda t, b, h: 1.5e-4 + 5e-7 * t}
    frame = lines(curves, between=0.05, batches=range(1, 151))
    table = crossovers(frame, "latency")
    found = table[table["verdict"] == "crosses"]
    assert len(found) > 130
    assert ((found["low"] <= 300) & (found["high"] >= 300)).mean() >= 0.93
    assert (found["high"] / found["low"]).median() < 2


def test_equal_models_are_not_separable(lines):
    same = {m: lambda t, b, h: 1e-6 * b * t for m in ("lstm", "gru", "tcn")}
    table = crossovers(lines(same, between=0.05, batches=range(1, 41)), "latency")
    assert len(table) == 120
    assert (table["verdict"] != "not separable").mean() <= 0.05


def test_exact_lines_cross_between_two_lengths(make_record):
    rows = [
        make_record(model=m, measure="peak_memory", unit="B", seq_len=t, value=float(f(t)))
        for m, f in (
            ("lstm", lambda t: 10 * t),
            ("tcn", lambda t: 500 + 5 * t),
            ("gru", lambda t: 10 * t),
        )
        for t in (50, 90, 120, 200)
    ]
    table = crossovers(to_frame(rows), "peak_memory").set_index(["a", "b"])
    row = table.loc[("lstm", "tcn")]
    assert row["verdict"] == "crosses"
    assert [row["low"], row["high"]] == pytest.approx([90, 120])
    assert row["seq_len"] == pytest.approx(100, rel=0.02)
    assert table.loc[("lstm", "gru"), "verdict"] == "not separable"


def test_repeated_crossings_are_told(make_record):
    values = {"lstm": [1.0, 2.0, 1.0], "tcn": [2.0, 1.0, 2.0]}
    rows = [
        make_record(model=m, measure="peak_memory", unit="B", seq_len=t, value=v)
        for m, own in values.items()
        for t, v in zip((1, 2, 4), own, strict=True)
    ]
    row = crossovers(to_frame(rows), "peak_memory").iloc[0]
    assert row["verdict"] == "crosses repeatedly"
    told = crossover_sentence(row)
    assert told == "more than once: lstm is lower at T = 1, 4; tcn is lower at T = 2"


def test_a_model_missing_in_half_the_grid_is_compared_where_it_is(lines):
    frame = crossing(lines, between=0.01)
    half = frame[(frame["model"] == "lstm") | (frame["batch_size"] == 1) & (frame["seq_len"] < 400)]
    table = crossovers(half, "latency")
    assert table["batch_size"].tolist() == [1]
    assert table["n"].tolist() == [3]


def test_failures_duplicates_and_single_cells(make_record):
    failed = [make_record(model=m, status="failed") for m in ("lstm", "tcn")]
    assert crossovers(to_frame(failed), "latency").empty
    cell = [
        make_record(model=m, value=v, samples=[v] * 9) for m, v in (("lstm", 1.0), ("tcn", 2.0))
    ]
    table = crossovers(to_frame([*cell, *cell]), "latency")
    assert table["n"].tolist() == [1]
    assert table["verdict"].tolist() == ["a always"]


def test_the_surface_of_crossings(lines):
    table = crossovers(crossing(lines, between=0.005), "latency")
    surface = crossover_surface(table, "tcn", "lstm")
    assert surface.loc[1, 64] == pytest.approx(300, rel=0.1)
    assert np.isnan(surface.loc[8, 64])
    with pytest.raises(ValueError, match="narrow the table"):
        crossover_surface(table.assign(batch_size=1), "lstm", "tcn")


def test_the_report_says_where_lines_cross(lines, tmp_path):
    written = write_report(crossing(lines, between=0.005), tmp_path)
    page = written["index"].read_text()
    assert "Where the lines cross" in page
    assert "lstm is lower up to T = " in page
    told = "latency, infer: tcn is below lstm at every length in 1 of 2 lines; lstm and tcn cross"
    assert told in written["summary"].read_text()
    assert len(written["crossovers"].read_text().splitlines()) == 3
