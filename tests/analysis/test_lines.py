"""Lines over sequence length are analysed all at once: the same as one by one, by other means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from benchsuite.analysis import Noise, critical, crossovers, laws, memory_lines, spread
from benchsuite.records import to_frame

NOISE = Noise(0.05, 10.0, "repeats")


@pytest.fixture(scope="module")
def frame():
    """Three models on 24 lines of two to seven lengths, in no order; some values are exact."""
    from benchsuite.grid.case import Case

    rng = np.random.default_rng(0)
    rows = []
    for batch in range(1, 25):
        lengths = rng.permutation(64 << np.arange(7))[: rng.integers(2, 8)]
        for model, overhead, slope in (("lstm", 2e-5, 2e-6), ("tcn", 4e-4, 6e-7), ("gru", 0, 2e-6)):
            for length in lengths:
                true = overhead * batch**0.5 + slope * length ** rng.uniform(0.9, 1.1)
                count = int(rng.integers(0, 16)) if batch > 3 else 0
                samples = (true * np.exp(rng.normal(0, 0.05, count))).tolist()
                case = Case(model=model, seq_len=int(length), batch_size=batch)
                rows.append(
                    {
                        **{**case.as_dict(), "case": case.id, "measure": "latency", "unit": "s"},
                        **{"uid": str(len(rows)), "status": "ok", "schema": 1, "machine": "here"},
                        **{"value": float(np.median(samples)) if count else true},
                        **({"samples": samples} if count else {}),
                    }
                )
    rng.shuffle(rows)
    return to_frame(rows)


def each_line(frame):
    for (batch, model), rows in frame.groupby(["batch_size", "model"], sort=False):
        ordered = rows.sort_values("seq_len")
        yield batch, model, ordered["seq_len"].to_numpy(float), ordered["value"].to_numpy(float)


def test_spread(frame):
    for found, samples in zip(spread(frame, NOISE), frame["samples"], strict=True):
        own, between = 0.0, 0.0
        if isinstance(samples, list) and len(samples) > 1:
            between = NOISE.between
            count = len(samples) if len(samples) < 8 else min(12, len(samples) // 2)
            size = len(samples) // count
            blocks = [np.median(samples[k * size : (k + 1) * size]) for k in range(count)]
            own = np.std(np.log(blocks), ddof=1) / np.sqrt(count)
        assert found == pytest.approx(np.hypot(own, between), rel=1e-12)


def test_power_laws(frame):
    """Least squares in log-log; the interval is that of a linear function of the log values."""
    table = laws(frame, "latency", noise=NOISE)
    sigma_of = frame.assign(sigma=spread(frame, NOISE)).set_index(
        ["batch_size", "model", "seq_len"]
    )["sigma"]
    for row, (batch, model, T, value) in zip(
        table.to_dict("records"), each_line(frame), strict=True
    ):
        assert (row["batch_size"], row["model"], row["n"]) == (batch, model, len(T))
        fit = stats.linregress(np.log(T), np.log(value))
        x = np.log(T)
        weight = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        sigma = np.array([sigma_of[batch, model, int(t)] for t in T])
        timed = (sigma >= NOISE.between).all()
        t = stats.t.ppf(0.975, NOISE.degrees) if timed else None
        half = np.sqrt(((weight * sigma) ** 2).sum()) * (t or 1.0)
        if not timed and sigma.any():
            continue  # exact and timed values on one line
        reported = [row[name] for name in ("exponent", "exponent_low", "exponent_high", "factor")]
        expected = [fit.slope, fit.slope - half, fit.slope + half, np.exp(fit.intercept)]
        assert reported == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_laws_are_the_least_squares_that_are_not_negative(frame):
    table = laws(frame, "latency", noise=NOISE)
    for row, (batch, model, T, value) in zip(
        table.to_dict("records"), each_line(frame), strict=True
    ):
        assert (row["batch_size"], row["model"], row["n"]) == (batch, model, len(T))
        scale = T.max()
        expected = optimize.nnls(np.column_stack([1 / value, T / scale / value]), np.ones(len(T)))[
            0
        ]
        reported = [row["overhead"], row["slope"] * scale]
        assert reported == pytest.approx(expected.tolist(), rel=1e-7, abs=1e-12)


@pytest.mark.parametrize("function", [laws, crossovers, memory_lines])
def test_a_line_alone_gives_what_it_gives_among_others(frame, function):
    own = {"noise": NOISE} if function in {laws, crossovers} else {}
    frame = frame.sort_values(["batch_size", "model"], kind="stable")
    together = function(frame, "latency", **own)
    alone = [function(rows, "latency", **own) for _, rows in frame.groupby("batch_size")]
    by = ["batch_size", *(name for name in ("model", "a", "b") if name in together)]
    pd.testing.assert_frame_equal(
        *(table.sort_values(by, ignore_index=True) for table in (together, pd.concat(alone)))
    )


def test_crossings(frame):
    """T* is where a weighted straight line through the lengths between the clear sides is zero."""
    crossed = 0
    for batch, rows in frame.groupby("batch_size"):
        values = rows.assign(sigma=spread(rows, NOISE)).set_index(["model", "seq_len"]).sort_index()
        one, other = values.loc["lstm"], values.loc["tcn"]
        T = one.index.to_numpy(float)
        ratio = np.log(one["value"].to_numpy() / other["value"].to_numpy())
        parts = [
            (own["sigma"].to_numpy(), np.where(own["n_samples"] > 1, NOISE.degrees, np.inf))
            for own in (one, other)
        ]
        sigma = np.maximum(np.hypot(parts[0][0], parts[1][0]), 1e-12)
        sigma *= critical(*parts)
        table = crossovers(rows[rows["model"] != "gru"], "latency", noise=NOISE)
        (row,) = table.to_dict("records")
        sign = -1 if row["a"] == "tcn" else 1
        below = [", ".join(f"{t:g}" for t in T[s * ratio / sigma < -1]) for s in (sign, -sign)]
        assert [row["a_below"], row["b_below"]] == below
        if row["verdict"] != "crosses":
            assert np.isnan([row["seq_len"], row["low"], row["high"]]).all()
            continue
        crossed += 1
        last = np.flatnonzero(ratio / sigma > 1)[0]
        first = np.flatnonzero(ratio[:last] / sigma[:last] < -1)[-1]
        part = slice(first, last + 1)
        slope, level = np.polyfit(np.log(T[part]), ratio[part], 1, w=1 / sigma[part])
        at = np.clip(np.exp(-level / slope), row["low"], row["high"])
        assert row["seq_len"] == pytest.approx(at, rel=1e-9)
        ordered = np.array([T[first], row["low"], row["seq_len"], row["high"], T[last]])
        assert (np.diff(ordered) >= -1e-9 * T[last]).all()
        if batch <= 3:  # exact
            assert [row["low"], row["high"]] == pytest.approx([T[first], T[last]])
    assert crossed > 5
