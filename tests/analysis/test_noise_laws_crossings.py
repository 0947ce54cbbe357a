"""Scaling, noise and crossings of a frame, against synthetic data with known truth."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from benchsuite.analysis import (
    Noise,
    critical,
    crossover_sentence,
    crossovers,
    fit_memory,
    floor,
    laws,
    median_error,
    memory_lines,
    spread,
    where,
    without_repeats,
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
    reported = np.median([median_error(s.tolist()) for s in sets])
    seen = np.std([np.log(np.median(s)) for s in sets])
    assert reported == pytest.approx(seen, rel=0.2)


def test_correlated_samples_are_not_taken_for_independent_ones():
    rng = np.random.default_rng(2)
    steps = np.repeat(rng.normal(1, 0.05, 12), 50)
    assert median_error(steps.tolist()) > 3 * 0.05 / math.sqrt(600)


@pytest.mark.parametrize("samples", [[], [1.0], None, [1.0, 1.0, 1.0], [0.0, 1.0]])
def test_exact_and_constant_values_have_no_error(samples):
    assert median_error(samples) == 0.0


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
    assert noise.degrees == pytest.approx(200)
    assert noise.between == pytest.approx(0.08, rel=0.15)


def test_the_floor_comes_from_smooth_lines_else(lines):
    curves = {f"lstm{'_cell' * (i % 2)}": lambda t, b, h: 1e-4 + 2e-6 * b * t for i in range(2)}
    frame = lines(curves, between=0.06, batches=range(1, 41))
    noise = floor(frame, "latency")
    assert noise.source == "lines"
    assert noise.between == pytest.approx(0.06, rel=0.25)
    assert (spread(frame, noise) >= noise.of(frame)[0]).all()


def test_exact_measures_and_single_cases_have_no_floor(make_record):
    exact = to_frame([make_record(measure="peak_memory", unit="B", seq_len=t) for t in range(1, 9)])
    assert floor(exact, "peak_memory") == Noise(0.0, 0.0, "none")
    one = to_frame([make_record(samples=[1.0, 1.1])])
    assert floor(one, "latency").source == "none"
    assert floor(one, "absent").source == "none"


def test_each_model_has_its_own_floor(lines):
    """Models whose values repeat within 2 and within 12 % are not lent each other's noise."""
    rng = np.random.default_rng(6)
    floors = {"lstm": 0.02, "gru": 0.05, "tcn": 0.12}
    curves = {
        model: lambda t, b, h, own=own: 2e-6 * b * t * math.exp(rng.normal(0, own))
        for model, own in floors.items()
    }
    frame = lines(curves, batches=range(1, 41))
    noise = floor(frame, "latency")
    for model, own in floors.items():
        between, degrees = noise.kinds[f"{model}, infer, cpu"]
        assert between == pytest.approx(own, rel=0.25)
        assert degrees >= 100
        sigma = spread(frame[frame["model"] == model], noise)
        assert np.median(sigma) == pytest.approx(own, rel=0.3)
    assert noise.between == noise.kinds["gru, infer, cpu"][0]
    low, high = (f"{100 * noise.kinds[f'{m}, infer, cpu'][0]:.1f} %" for m in ("lstm", "tcn"))
    assert noise.size.startswith(f"{low} to {high} depending on model and mode, median ")


def test_a_floor_is_of_all_lengths_alike(make_record):
    """Noise at long lengths counts as that at short ones does."""
    rng = np.random.default_rng(7)
    off = rng.normal(0, 0.05, (10, 6))

    def frame(off):
        return to_frame(
            make_record(seq_len=int(t), batch_size=b, value=v, samples=[v, v])
            for b, line in enumerate(off, 1)
            for t, v in zip(T, (1e-6 * T * np.exp(line)).tolist(), strict=True)
        )

    one, other = (floor(frame(own), "latency").between for own in (off, off[:, ::-1]))
    assert one == pytest.approx(other)


def test_a_critical_value_is_as_sure_as_the_parts():
    known = (np.array([0.1]), np.array([np.inf]))
    guessed = (np.array([0.1]), np.array([5.0]))
    exact = (np.array([0.0]), np.array([np.inf]))
    assert critical(known, known)[0] == pytest.approx(1.960, abs=1e-3)
    assert critical(guessed, exact)[0] == pytest.approx(2.571, abs=1e-3)
    assert critical(guessed, guessed)[0] == pytest.approx(2.228, abs=1e-3)  # ten degrees
    assert np.isfinite(critical(exact, exact)[0])


def test_critical_values_of_many_are_those_of_each():
    """Many are looked up in a table."""
    degrees = np.append(np.geomspace(0.3, 1e6, 5000), np.inf)
    many = critical((np.ones(len(degrees)), degrees))
    each = np.concatenate([critical((np.ones(100), part)) for part in np.split(degrees[:5000], 50)])
    assert many[:-1] == pytest.approx(each, rel=1e-11)
    assert many[-1] == pytest.approx(1.959963984540054)


def test_repeated_rows_are_left_out_as_pandas_does():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 5, 99), "b": rng.choice([*"xyz"], 99), "c": 1.0})
    last = without_repeats(frame, ["a", "b"])
    pd.testing.assert_frame_equal(last, frame.drop_duplicates(["a", "b"], keep="last"))
    assert without_repeats(last, ["a", "b"]) is last
    assert where(frame, frame["c"] > 0) is frame


# --- laws


def laws_of(make_record, values, noise=0.0):
    """Laws of rows of values over `T`, whose noise is known."""
    frame = to_frame(
        make_record(seq_len=int(t), batch_size=line, value=v, samples=[v, v])
        for line, row in enumerate(values, 1)
        for t, v in zip(T, np.asarray(row).tolist(), strict=True)
    )
    return laws(frame, "latency", noise=Noise(noise, 0.0, "none"))


def test_intervals_of_a_law_cover(make_record):
    """a, b and p of many noisy lines: 95 % intervals hold the truth in 95 % of them."""
    a, b, count = 3e-4, 2e-6, 400
    noise = np.exp(np.random.default_rng(4).normal(0, 0.06, (count, T.size)))
    found = laws_of(make_record, (a + b * T) * noise, 0.06)
    for name, truth in (("overhead", a), ("slope", b)):
        held = (found[f"{name}_low"] <= truth) & (found[f"{name}_high"] >= truth)
        assert 0.92 <= held.mean() <= 0.98
    found = laws_of(make_record, 1e-6 * T**0.8 * noise, 0.06)
    held = (found["exponent_low"] <= 0.8) & (found["exponent_high"] >= 0.8)
    assert 0.93 <= held.mean() <= 0.975


def test_intervals_of_an_exponent_cover_where_the_floor_is_estimated(lines):
    """From few lines the floor is itself uncertain, and models differ in theirs."""
    held = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        curves = {
            model: lambda t, b, h, own=own, rng=rng: 2e-6 * b * t * math.exp(rng.normal(0, own))
            for model, own in {"lstm": 0.02, "gru": 0.04, "tcn": 0.12}.items()
        }
        found = laws(lines(curves, batches=(1, 8), seed=1000 + seed), "latency")
        held += ((found["exponent_low"] <= 1) & (found["exponent_high"] >= 1)).tolist()
    assert np.mean(held) >= 0.93


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
def test_regimes(make_record, t, regime, at):
    exact = laws_of(make_record, [t]).iloc[0]
    assert exact["regime"] == regime
    assert exact["changes_at"] == pytest.approx(at, nan_ok=True)
    noisy = laws_of(make_record, [t], 0.02).iloc[0]
    assert noisy["regime"] == regime
    if at > 0:
        assert noisy["changes_at_low"] <= at <= noisy["changes_at_high"]


def test_noise_alone_makes_no_bend(make_record):
    rng = np.random.default_rng(5)
    found = laws_of(make_record, 1e-6 * T * np.exp(rng.normal(0, 0.1, (60, T.size))), 0.1)
    assert found["regime"].str.contains("super").sum() <= 6


def test_laws_of_few_lengths(make_record):
    assert laws(to_frame([make_record()]), "latency").empty
    two = to_frame([make_record(seq_len=t, value=v) for t, v in ((100, 3.0), (200, 5.0))])
    law = laws(two, "latency").iloc[0]
    ends = ("", "_low", "_high")
    assert [law[f"overhead{end}"] for end in ends] == pytest.approx([1, 1, 1])
    assert [law[f"slope{end}"] for end in ends] == pytest.approx([0.02, 0.02, 0.02])


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


def test_memory_that_is_not_a_line_has_a_note():
    line = fit_memory(np.array([1.0, 2, 4, 8]), np.array([100.0, 300, 500, 900]))
    assert not line.exact
    assert (line.slope, line.low, line.high) == (100, 100, 200)
    assert line.largest_seq_len(1300) == 10  # the steepest slope from the longest length on
    assert fit_memory(np.array([1.0]), np.array([1.0])) is None
    flat = fit_memory(np.array([1.0, 2, 4]), np.array([7.0, 7, 7]))
    assert flat.largest_seq_len(8) is None
    assert flat.largest_seq_len(6) == 0


def test_the_heap_is_nearly_a_line():
    """`lstm_cell` in training, B=1, H=32: tables that double leave it off a line by 0.03 %."""
    T = np.array([64.0, 128, 256, 512, 1024, 2048])
    size = np.array([1_971_912.0, 3_895_224, 7_737_672, 15_419_704, 30_793_616, 61_552_048])
    line = fit_memory(T, size)
    assert line.linear
    assert not line.exact
    assert line.slope == pytest.approx(30_026, abs=1)
    assert line.largest_seq_len(10 * size[-1]) == pytest.approx(20_480, rel=0.005)
    assert not fit_memory(T, size * [1, 1, 1.03, 1, 1, 1]).linear


def test_heaps_within_the_tolerance_do_not_cross(make_record):
    rows = [
        make_record(model=m, measure=measure, unit="B", seq_len=t, value=v)
        for measure in ("peak_memory", "tensor_memory")
        for m, values in (("lstm", [1000.0, 2000.0]), ("tcn", [1005.0, 1990.0]))
        for t, v in zip((64, 128), values, strict=True)
    ]
    verdicts = [
        crossovers(to_frame(rows), measure)["verdict"].tolist()
        for measure in ("peak_memory", "tensor_memory")
    ]
    assert verdicts == [["not separable"], ["crosses"]]


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


def test_repeated_crossings_are_reported(make_record):
    values = {"lstm": [1.0, 2.0, 1.0], "tcn": [2.0, 1.0, 2.0]}
    rows = [
        make_record(model=m, measure="peak_memory", unit="B", seq_len=t, value=v)
        for m, own in values.items()
        for t, v in zip((1, 2, 4), own, strict=True)
    ]
    row = crossovers(to_frame(rows), "peak_memory").iloc[0]
    assert row["verdict"] == "crosses repeatedly"
    reported = crossover_sentence(row)
    assert reported == "more than once: lstm is lower at T = 1, 4; tcn is lower at T = 2"


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


def test_a_crossing_at_a_step_is_held_by_the_gap(lines):
    """A ratio that jumps between two lengths crosses anywhere between them."""
    curves = {
        "lstm": lambda t, b, h: 1e-6 * t * (1.6 if t > 130 else 1),  # crosses right after T = 130
        "tcn": lambda t, b, h: 1.5e-4 + 5e-7 * t,
    }
    row = crossovers(lines(curves, batches=(1,), between=0.005), "latency").iloc[0]
    assert row["verdict"] == "crosses"
    assert row["low"] <= 136 <= row["high"]


def test_the_report_lists_where_lines_cross(lines, tmp_path):
    written = write_report(crossing(lines, between=0.005), tmp_path)
    page = written["index"].read_text()
    assert "<h2>Crossings</h2>" in page
    assert "lstm is lower up to T = " in page
    summary = written["summary"].read_text()
    assert "latency, infer: tcn is lower than lstm at every length in 1 of 2 lines" in summary
    assert "lstm and tcn cross in 1 of 2 lines, at T = " in summary
    assert len(written["crossovers"].read_text().splitlines()) == 3
