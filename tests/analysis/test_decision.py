"""Rooflines, the fastest model of each shape, Pareto fronts, and the figures that show them."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from benchsuite.analysis import (
    Noise,
    ceilings,
    family_crossovers,
    family_of,
    fastest,
    field_of,
    newest,
    pareto,
    roofline,
    roofline_words,
    speedups,
    unrolled_sentences,
    verdict,
)
from benchsuite.analysis.pareto import front_of
from benchsuite.catalog.models import MODELS
from benchsuite.records import to_frame
from benchsuite.report.figures.fastest import crossover_maps
from benchsuite.report.figures.figure import INK, look, looks_for
from benchsuite.report.figures.pareto import pareto_figures
from benchsuite.report.figures.roofline import roofline_figures
from benchsuite.report.figures.slices import MOST
from benchsuite.report.figures.speedup import speedup_maps
from benchsuite.report.figures.tiles import fitted, ink_on

QUIET = Noise(0.0, 0.0, "none")
FIGURES = [crossover_maps, speedup_maps, pareto_figures, roofline_figures]


def texts(figure):
    """What is written in a figure."""
    root = ElementTree.fromstring(figure.svg)
    return [t.text for t in root.iter("{http://www.w3.org/2000/svg}text")]


# --- roofline


@pytest.fixture
def machine(make_record):
    """Rows of a machine: `machine(1e9, 1e8)` FLOP/s and B/s."""

    def rows(rate=None, bandwidth=None, **own):
        for measure, unit, value in (
            ("matmul_rate", "FLOP/s", rate),
            ("copy_bandwidth", "B/s", bandwidth),
        ):
            if value:
                shape = {"seq_len": 1, "batch_size": 1, "hidden_size": 1}
                yield make_record(
                    model="machine", measure=measure, unit=unit, value=value, **shape, **own
                )

    return rows


@pytest.fixture
def case(make_record):
    """Latency, FLOPs and parameters of one case: T = 10, B = 2, I = H = O = 64."""

    def rows(latency, *, flops=1e6, parameters=1000, saved=None, **own):
        own = {"seq_len": 10, "batch_size": 2, "hidden_size": 64, **own}
        yield make_record(value=latency, provenance={"output_size": 64}, **own)
        exact = [("flops", "FLOP", flops), ("parameters", "1", parameters)]
        exact += [("saved_activations", "B", saved)] if saved else []
        for measure, unit, value in exact:
            yield make_record(measure=measure, unit=unit, value=float(value), **own)

    return rows


def test_the_bound_of_a_forward_pass_is_as_by_hand(machine, case):
    table = roofline(to_frame([*machine(1e9, 1e8), *case(4e-3)]))
    (row,) = table.to_dict("records")
    moved = 4 * (1000 + 10 * 2 * 64 + 10 * 2 * 64)  # parameters, input, output
    assert row["bytes"] == moved
    assert row["intensity"] == pytest.approx(1e6 / moved)
    assert row["achieved"] == pytest.approx(1e6 / 4e-3)
    assert row["bound"] == "arithmetic"
    assert row["bound_time"] == pytest.approx(1e-3)
    assert row["fraction"] == pytest.approx(0.25)


def test_the_memory_bound_counts_where_it_is_the_longer_one(machine, case):
    frame = to_frame([*machine(1e9, 1e6), *case(28.48e-3, dtype="float64")])
    assert not len(roofline(frame))  # these ceilings are of float32
    frame = to_frame([*machine(1e9, 1e6, dtype="float64"), *case(56.96e-3, dtype="float64")])
    (row,) = roofline(frame).to_dict("records")
    assert row["bytes"] == 2 * 14240
    assert row["bound"] == "memory"
    assert row["fraction"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("saved", "moved"),
    [
        (None, 3 * 4000 + 5120 + 5120),  # weights twice and gradients; input; output
        (2000, 3 * 4000 + 5120 + 5120 + 2000),  # less is saved than put out: the output is larger
        (9000, 3 * 4000 + 5120 + 9000 + 9000),  # the output may be among what is saved
    ],
)
def test_a_training_step_moves_gradients_and_saved_activations_too(machine, case, saved, moved):
    frame = to_frame([*machine(1e9, 1e8), *case(1.0, mode="train", saved=saved)])
    assert roofline(frame)["bytes"].tolist() == [moved]


def test_counts_hold_for_cases_they_were_not_measured_at(machine, make_record, case):
    rows = [*machine(1e9, 1e8), *machine(2e9, 1e8, num_threads=2), *case(4e-3, mode="train")]
    own = {"seq_len": 10, "hidden_size": 64, "batch_size": 2}
    rows.append(make_record(value=2e-3, mode="train", num_threads=2, seed=3, **own))
    rows.append(make_record(value=1e-3, **own))  # infer: its parameters are known, its FLOPs not
    rows.append(make_record(measure="flops", unit="FLOP", value=5e5, **own | {"batch_size": 4}))
    rows.append(make_record(value=1e-3, **own | {"batch_size": 4}))
    table = roofline(to_frame(rows))
    found = table.set_index(["mode", "batch_size", "num_threads"])
    assert found.loc[("train", 2, 1), "fraction"] == pytest.approx(0.25)
    assert found.loc[("train", 2, 2), "fraction"] == pytest.approx(0.25)
    assert found.loc[("infer", 4, 1), "fraction"] == pytest.approx(0.5)
    assert len(table) == 3


def test_a_fraction_above_one_stays_and_is_reported(machine, case):
    table = roofline(to_frame([*machine(1e9, 1e8), *case(5e-4)]))
    assert table["fraction"].tolist() == [pytest.approx(2.0)]
    assert any("1 of 1 cases are above the bound, up to 200%" in w for w in roofline_words(table))


def test_without_ceilings_or_counts_there_is_no_roofline(machine, case, make_record):
    for rows in (
        [*case(1.0)],
        [*machine(rate=1e9), *case(1.0)],
        [*machine(1e9, 1e8), make_record()],
        [*machine(1e9, 1e8), make_record(status="oom")],
    ):
        frame = to_frame(rows)
        assert not len(roofline(frame))
        assert roofline_words(roofline(frame)) == []
        assert list(roofline_figures(frame)) == []


def test_the_interval_holds_the_noise_of_latency_and_of_the_ceiling(make_record, case):
    steady = [1.0, 1.0, 1.0]
    own = {"model": "machine", "seq_len": 1, "batch_size": 1, "hidden_size": 1}
    rows = [r for r in case(4e-3) if r.measure != "latency"]
    rows.append(
        make_record(
            value=4e-3, samples=[4e-3] * 3, seq_len=10, batch_size=2, provenance={"output_size": 64}
        )
    )
    rows.append(make_record(measure="matmul_rate", value=1e9, samples=[1e9] * 3, **own))
    rows.append(make_record(measure="copy_bandwidth", value=1e9, samples=steady, **own))
    (row,) = roofline(to_frame(rows), noise=Noise(0.1, 20, "repeats")).to_dict("records")
    half = 1.96 * math.hypot(0.1, 0.1)
    assert row["high"] == pytest.approx(0.25 * math.exp(half))
    assert row["low"] == pytest.approx(0.25 * math.exp(-half))
    tops = ceilings(to_frame(rows), noise=Noise(0.1, 20, "repeats"))
    assert tops["matmul_rate_high"].tolist() == [pytest.approx(1e9 * math.exp(0.196))]


def test_a_ceiling_below_tf32_has_a_note(machine, case):
    def frame(**flags):
        rows = [*machine(1e9, 1e8, device="cuda"), *case(4e-3, device="cuda")]
        return to_frame(
            [r.replace(provenance={**r.provenance, **flags}) for r in rows if r.value is not None]
        )

    reported = roofline_words(roofline(frame(tf32_cudnn=True, tf32_matmul=False)))
    assert any("TF32" in sentence for sentence in reported)
    reported = roofline_words(roofline(frame(tf32_cudnn=True, tf32_matmul=True)))
    assert not any("TF32" in sentence for sentence in reported)


def test_words_name_model_batch_and_the_best_shape(machine, case):
    rows = [*machine(1e9, 1e12)]
    for batch, latencies in ((1, (0.1, 0.05, 0.04)), (32, (0.004, 0.003, 0.002))):
        for t, latency in zip((10, 20, 30), latencies, strict=True):
            rows += case(latency, batch_size=batch, seq_len=t)
    words = roofline_words(roofline(to_frame(rows)))
    assert words[0] == (
        "infer: `lstm` reaches 2% (B=1) to 33% (B=32) of the roofline (median of 3 cases);"
        " best 50% at T=30, B=32, H=64."
    )
    table = roofline(to_frame(rows))
    both = pd.concat([table, table.assign(model="gru")], ignore_index=True)
    assert roofline_words(both, most=1)[1] == "1 more lines are in the table."


# --- fastest, families, speed-ups, fields


@pytest.fixture
def grid(make_record):
    """A frame: `grid({"lstm": f, …}, …)`, f of (T, B, H) gives seconds, a status, or None."""

    def build(functions, *, lengths=(64, 128, 256), batches=(1, 8), widths=(32,), more=(), **own):
        rows = list(more)
        for model, function in functions.items():
            for t in lengths:
                for b in batches:
                    for h in widths:
                        found = function(t, b, h)
                        at = {"seq_len": t, "batch_size": b, "hidden_size": h, **own}
                        if isinstance(found, str):
                            rows.append(make_record(model=model, status=found, reason="x", **at))
                        elif found is not None:
                            rows.append(make_record(model=model, value=found, **at))
        return to_frame(rows)

    return build


def test_the_fastest_its_margin_and_models_without_a_value(grid):
    frame = grid(
        {
            "lstm": lambda t, b, h: 1e-3 * t,
            "tcn": lambda t, b, h: "oom" if b == 8 else 5e-4 * t,
            "conv": lambda t, b, h: "timeout" if b == 8 else 4e-4 * t if t < 256 else None,
        }
    )
    table = fastest(frame, noise=QUIET).set_index(["batch_size", "seq_len"])
    one = table.loc[(1, 64)]
    assert (one["model"], one["runner_up"], one["models"]) == ("conv", "tcn", 3)
    assert one["ratio"] == pytest.approx(1.25)
    assert one["separable"]
    assert table.loc[(1, 256), "model"] == "tcn"  # conv is not in the study there
    alone = table.loc[(8, 64)]
    assert (alone["model"], alone["runner_up"]) == ("lstm", "")
    assert alone["without"] == "tcn oom, conv timeout"
    assert math.isnan(alone["ratio"])


def test_a_tie_is_a_difference_within_the_noise(make_record):
    samples = np.array([0.99, 1.0, 1.01])
    rows = [
        make_record(model=model, value=value, samples=(value * samples).tolist())
        for model, value in (("lstm", 1.0), ("gru", 1.1), ("tcn", 1.2), ("conv", 2.0))
    ]
    (row,) = fastest(to_frame(rows), noise=Noise(0.1, 20, "repeats")).to_dict("records")
    assert row["ties"] == "gru, tcn"
    assert not row["separable"]
    (row,) = fastest(to_frame(rows), noise=Noise(0.01, 20, "repeats")).to_dict("records")
    assert row["ties"] == ""


def test_nothing_but_failures_is_a_row_too(grid):
    table = fastest(grid({"lstm": lambda t, b, h: "oom"}, lengths=(64,), batches=(1,)))
    assert table[["model", "without", "models"]].to_numpy().tolist() == [["", "lstm oom", 0]]


def test_families_cross_where_their_best_models_do(grid):
    frame = grid(
        {
            "lstm": lambda t, b, h: 1e-6 * t,
            "gru": lambda t, b, h: 3e-6 * t,
            "tcn": lambda t, b, h: 2e-4,  # below lstm's from T = 200 on
            "conv": lambda t, b, h: 9e-4,
            "my.module:other": lambda t, b, h: 1e-9,
        },
        lengths=(64, 128, 256, 512),
        batches=(1,),
    )
    (row,) = family_crossovers(frame, noise=QUIET).to_dict("records")
    assert (row["a"], row["b"], row["verdict"]) == ("recurrence", "convolution", "crosses")
    assert row["low"] <= 200 <= row["high"]


def test_fields_are_those_of_the_model_at_its_length(make_record):
    own = {"measure": "receptive_field", "unit": "step", "hidden_size": 32}
    rows = [
        make_record(model="tcn", value=125.0, **own),
        make_record(
            model="lstm",
            status="skipped",
            reason="unbounded: the whole past",
            provenance={"unbounded": True},
            **own,
        ),
        make_record(model="conv", status="failed", reason="broken", **own),
        *(make_record(model=m, hidden_size=64) for m in ("tcn", "lstm", "conv", "gru")),
        make_record(model="tcn", seq_len=512),
    ]
    frame = to_frame(rows)
    timed = frame[frame["measure"] == "latency"]
    found = field_of(frame, timed).tolist()
    assert found[:2] == [125.0, math.inf]
    assert math.isnan(found[2])
    assert found[3] == math.inf  # a recurrence, although not measured
    assert math.isnan(found[4])


def test_a_speed_up_is_the_reference_over_the_model(grid):
    frame = grid(
        {
            "tcn": lambda t, b, h: 2.0 if t < 256 else "crashed",
            "lstm": lambda t, b, h: 1.0 if b == 1 else "oom",
            "conv": lambda t, b, h: 0.25,
        }
    )
    table = speedups(frame).set_index(["model", "batch_size", "seq_len"])
    assert set(table["reference"]) == {"lstm"}
    assert table.loc[("tcn", 1, 64), "speedup"] == pytest.approx(0.5)
    assert table.loc[("conv", 1, 64), "speedup"] == pytest.approx(4)
    assert table.loc[("tcn", 1, 256), "status"] == "crashed"
    assert table.loc[("conv", 8, 64), "reference_status"] == "oom"
    assert table["speedup"].notna().sum() == 2 + 3


# --- Pareto


def test_the_front_is_where_more_time_buys_less_error():
    latency = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 0.5])
    error = np.array([0.5, 0.6, 0.1, 0.099, 0.05, math.nan])
    assert front_of(latency, error).tolist() == [True, False, True, False, True, False]
    assert front_of(np.array([1.0, 1.0]), np.array([2.0, 1.0])).tolist() == [False, True]


@pytest.fixture
def trained(make_record):
    """Latency of both modes and an error of lstm, tcn (fails) and conv at T = 64, B = 32."""
    rows = []
    for model, seconds, error in (("lstm", 1.0, 0.5), ("tcn", 2.0, None), ("conv", 3.0, 0.1)):
        at = {"model": model, "seq_len": 64, "batch_size": 32, "hidden_size": 32}
        rows += [
            make_record(mode=m, value=seconds * s, **at) for m, s in (("infer", 1), ("train", 3))
        ]
        given = {"measure": "delay_error", "unit": "1", "mode": "train", **at}
        rows.append(
            make_record(value=error, **given)
            if error
            else make_record(status="failed", reason="diverged", **given)
        )
        rows.append(make_record(value=seconds, **at | {"seq_len": 128}))
    return to_frame(rows)


def test_time_and_error_join_on_the_same_case_in_any_mode(trained):
    table = pareto(trained, "delay_error")
    assert table["seq_len"].unique().tolist() == [64]
    assert len(table) == 6
    reported = table[table["mode"] == "train"].set_index("model")
    assert reported["latency"].to_dict() == {"lstm": 3.0, "tcn": 6.0, "conv": 9.0}
    assert reported["front"].to_dict() == {"lstm": True, "tcn": False, "conv": True}
    assert reported.loc["tcn", "reason"] == "diverged"
    assert len(pareto(trained, "sine_error")) == 0
    other = trained.assign(match="params").where(trained["measure"] == "latency", trained)
    assert len(pareto(other, "delay_error")) == 0


def test_the_pareto_figure_shows_fields_fronts_and_failures(trained):
    (figure,) = pareto_figures(trained)
    written = texts(figure)
    assert "H=32 failed" in written
    assert "lstm: unbounded" in written
    assert "conv: field not known" in written
    assert "tcn H=32 failed: diverged" in figure.alt
    assert (
        "train: the front is lstm H=32 (3 s, error 0.5, field unbounded), conv H=32" in figure.alt
    )
    assert len(figure.data) == 6


# --- figures


@pytest.fixture
def mixed(grid, machine):
    """Three models; tcn runs out of memory at the longest, nobody has a value at B = 8 there."""
    return grid(
        {
            "lstm": lambda t, b, h: "oom" if (t, b) == (256, 8) else 1e-3 * t,
            "tcn": lambda t, b, h: "oom" if t == 256 else 5e-4 * t,
            "conv": lambda t, b, h: None if t == 256 or h == 64 else 2.5e-4 * t,
        },
        widths=(32, 64),
        more=[*machine(1e9, 1e8)],
    )


def test_the_map_shows_winners_margins_and_failures(mixed):
    (figure,) = crossover_maps(mixed)
    written = texts(figure)
    # T = 64 and 128, both batches: conv at H = 32, tcn at H = 64, each twice as fast as the next.
    assert written.count("conv") == 4
    assert written.count("2.0×") == 8
    # T = 256: at B = 1 lstm alone beside a tcn without a value, at B = 8 nobody.
    assert written.count("lstm") == 2
    assert written.count("oom") == 2
    assert written.count("2 oom") == 2
    for model in ("conv", "tcn", "lstm"):
        assert look(model)[0].lower() in figure.svg
    assert figure.data["model"].value_counts().to_dict() == {"conv": 4, "tcn": 4, "lstm": 2, "": 2}
    assert "No model has a value in 2 of 12 shapes." in figure.alt
    assert figure.title == "Fastest model: infer, cpu, float32; match=width"


def test_cells_outside_the_study_are_hatched(grid):
    whole = {"lstm": lambda t, b, h: 1.0, "tcn": lambda t, b, h: 2.0}
    holes = {
        m: lambda t, b, h, f=f: None if t == 64 and b == 8 else f(t, b, h) for m, f in whole.items()
    }
    for kind in (crossover_maps, speedup_maps):
        (with_holes,), (without,) = kind(grid(holes)), kind(grid(whole))
        assert "<pattern" in with_holes.svg
        assert "<pattern" not in without.svg


def test_the_map_of_those_that_see_all_leaves_out_the_short_sighted(grid, make_record):
    fields = [
        make_record(model=m, measure="receptive_field", unit="step", value=v, seq_len=t)
        for t in (64, 128, 256)
        for m, v in (("conv", 9.0), ("tcn", 509.0))
    ]
    models = {"lstm": 3.0, "tcn": 2.0, "conv": 1.0}
    frame = grid({m: lambda t, b, h, v=v: v for m, v in models.items()}, more=fields)
    seeing, every = crossover_maps(frame)
    assert set(every.data["model"]) == {"conv"}
    assert set(seeing.data["model"]) == {"tcn"}
    assert "Left out where the field is shorter than the sequence: conv." in seeing.caption
    assert every.title.startswith(
        "Fastest model, including models that do not see the whole sequence: "
    )
    assert "models with shorter fields are included (conv)." in every.caption
    assert every.name != seeing.name


def test_t_star_is_marked_and_tabled(grid):
    two = {"lstm": lambda t, b, h: 1e-6 * t, "tcn": lambda t, b, h: 2e-4}
    (figure,) = crossover_maps(grid(two, lengths=(64, 128, 256, 512), batches=(1,)))
    assert figure.table["T*"].tolist() == [pytest.approx(200, rel=0.3)]
    assert "recurrence is lower up to T" in figure.table.iloc[0, -1]
    assert "T*" in figure.caption


def test_the_heat_map_shows_ratios_and_failures(mixed):
    (figure,) = speedup_maps(mixed)
    written = texts(figure)
    assert written.count("2.0") == 8  # tcn
    assert written.count("4.0") == 4  # conv, at H = 32 only
    assert written.count("oom") == 4  # tcn at T = 256
    bluest = to_hex(mpl.colormaps["PuOr"](1.0))  # conv: as far as the scale reaches
    assert bluest in figure.svg
    assert "4 cases have no value." in figure.alt


def test_the_roofline_shows_the_measured_ceilings(machine, case):
    rows = [*machine(2e9, 4e8)]
    for t in (10, 20, 40):
        rows += case(4e-3 * t, seq_len=t, flops=1e5 * t)
        rows += case(4e-3 * t, seq_len=t, flops=1e5 * t, mode="train")
    (figure,) = roofline_figures(to_frame(rows))
    written = texts(figure)
    assert written.count("2 GFLOP/s") == 2
    assert written.count("400 MB/s") == 2
    assert {"infer", "train", "lstm"} <= set(written)
    assert "can exceed the bound (0 of 6 do)" in figure.caption
    assert len(figure.data) == 6
    assert figure.table["cases"].tolist() == [3, 3]


@pytest.mark.parametrize("figures", FIGURES)
def test_any_page_and_any_frame_will_do(figures, grid, make_record, mixed, trained, machine, case):
    """One model, no value, models from outside, nothing of the kind: a figure or none, no error."""
    long = "some.package:a_model_of_a_very_long_name"
    rooms = [*machine(1e9, 1e8), *case(4e-3)]
    for frame in (
        to_frame([make_record()]),
        to_frame([make_record(measure="parameters", unit="1")]),
        grid({"lstm": lambda t, b, h: "oom", "tcn": lambda t, b, h: "failed"}),
        grid(
            {long: lambda t, b, h: 1.0, "x.y:z": lambda t, b, h: 2.0}, lengths=(64,), batches=(1,)
        ),
        to_frame(rooms),
        mixed,
        trained,
    ):
        chosen = newest(frame)
        for figure in figures(chosen):
            assert "match=" in figure.title
            assert re.search(r"n = \d+", figure.caption)
            assert len(figure.data)
            # Ink is the page's, and nothing is written in the viewer's default black.
            root = ElementTree.fromstring(figure.svg)
            for text in root.iter("{http://www.w3.org/2000/svg}text"):
                assert "fill:" in text.get("style")
            assert INK not in figure.inline()


@pytest.mark.parametrize("figures", FIGURES)
def test_the_same_records_give_the_same_figure(figures, machine, case, trained):
    frame = newest(trained if figures is pareto_figures else to_frame(_lines(machine, case)))
    once, again = ([figure.svg for figure in figures(frame)] for _ in range(2))
    assert once
    assert once == again


def _lines(machine, case):
    """Records that each of the figures has something to show of."""
    yield from machine(1e9, 1e8)
    for model, latency in (("lstm", 4e-3), ("tcn", 5e-3)):
        for length in (8, 16):
            yield from case(latency, model=model, seq_len=length)


def test_what_is_too_much_to_draw_is_stated_and_in_the_data(grid):
    many = {"lstm": lambda t, b, h: 1.0, "tcn": lambda t, b, h: 2.0}
    frame = grid(many, lengths=range(2, 14), batches=range(1, 11), widths=range(1, 8))
    (figure,) = crossover_maps(frame)
    assert "Drawn: 8 of 12 T, 6 of 10 B, 4 of 7 H; the data file has all." in figure.caption
    assert len(figure.data) == 12 * 10 * 7
    assert {"H=1", "H=7"} <= set(texts(figure))


@pytest.fixture
def threads(grid):
    """Three models at six numbers of threads, the fastest of which depends on them."""
    return pd.concat(
        [
            grid(
                {
                    "lstm": lambda t, b, h: 1e-6 * t,
                    "tcn": lambda t, b, h, n=n: 1e-4 / n + 1e-7 * b * t,
                    "conv": lambda t, b, h: "oom" if t > 128 else 2e-6 * t,
                },
                num_threads=n,
            )
            for n in (1, 2, 4, 8, 16, 32)
        ],
        ignore_index=True,
    )


def test_a_figure_computes_what_the_whole_table_has(threads):
    """Only the rows that are drawn are compared; the others do not matter for them."""
    cells, ratios = fastest(threads), speedups(threads)
    lines = family_crossovers(threads)
    for kind, whole in ((crossover_maps, cells), (speedup_maps, ratios)):
        figures = list(kind(threads))
        assert len(figures) == MOST
        for figure, number in zip(figures, (1, 2), strict=True):
            same = whole[whole["num_threads"] == number].reset_index(drop=True)
            pd.testing.assert_frame_equal(figure.data.reset_index(drop=True), same)
            if figure.table is not None:
                crossed = lines[lines["num_threads"] == number]
                assert figure.table["T*"].tolist() == pytest.approx(
                    crossed["seq_len"].round().tolist(), nan_ok=True
                )


def test_the_sentences_of_a_verdict_have_a_limit(threads):
    found = verdict(threads)
    assert len(found.sentences()) == 6
    *first, rest = found.sentences(most=2)
    assert len(first) == 2
    assert rest == "4 more kinds of cases (of other num_threads) are in the table only."
    assert found.cells["num_threads"].nunique() == 6


def test_other_axes_give_figures_of_their_own_up_to_a_limit(make_record):
    rows = [
        make_record(model=m, num_threads=n, mode=mode)
        for m in ("lstm", "tcn")
        for n in (1, 2, 4)
        for mode in ("infer", "train")
    ]
    figures = list(crossover_maps(to_frame(rows)))
    assert len({f.name for f in figures}) == MOST
    assert "infer, cpu, float32, num_threads=1; match=width" in figures[0].title
    assert (
        f"{6 - MOST} more such figures (for other mode, num_threads) are left out"
        in figures[-1].caption
    )
    assert "left out" not in figures[0].caption


# --- tiles


def contrast(one, other):
    """WCAG 2.2 contrast ratio of two colours."""

    def luminance(colour):
        c = np.array(to_rgb(colour))
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_on_every_tile_can_be_read():
    colours = [look(model)[0] for model in [*MODELS.names(), "a.b:c", "x.y:z"]]
    colours += [to_hex(mpl.colormaps["PuOr"](x)) for x in np.linspace(0, 1, 101)]
    assert min(contrast(colour, ink_on(colour)) for colour in colours) >= 4.5


def test_names_fit_their_tiles():
    assert fitted("lstm", 8, 40) == ["lstm"]
    assert fitted("lstm_fused", 6, 40) == ["lstm_", "fused"]
    assert fitted("package.module:mine", 6, 40) == ["mine"]
    assert fitted("package.module:conv", 6, 40) == [":conv"]  # not the built-in one
    assert all(len(part) <= 9 for part in fitted("a.b:an_unreasonably_long_name", 6, 40))


# --- one's own model


def seen(make_record, model, steps=None):
    """The record of a field: so many steps, or unbounded."""
    own = {"model": model, "measure": "receptive_field", "unit": "step", "seq_len": 64}
    if steps:
        return make_record(**own, value=float(steps))
    return make_record(
        **own, status="skipped", reason="unbounded: the whole past", provenance={"unbounded": True}
    )


def test_a_family_follows_from_the_field(make_record):
    frame = to_frame(
        [
            seen(make_record, "my:gru"),
            seen(make_record, "my:cnn", 600),
            make_record(model="my:other"),
            make_record(
                model="my:broken", measure="receptive_field", status="skipped", reason="none"
            ),
        ]
    )
    wanted = {
        "my:gru": "recurrent",
        "my:cnn": "convolutional",
        "my:other": "outside",
        "my:broken": "outside",
        "tcn": "convolutional",
        "lstm": "recurrent",
    }
    assert {model: family_of(model, frame) for model in wanted} == wanted


def test_ones_own_model_competes_under_its_name(grid, make_record):
    models = {
        "lstm": lambda t, b, h: 3e-6 * t,
        "my:gru": lambda t, b, h: 1e-6 * t,
        "tcn": lambda t, b, h: 5e-4,
        "my:cnn": lambda t, b, h: 2e-4,
        "my:other": lambda t, b, h: 1e-9,
    }
    fields = [seen(make_record, "my:gru"), seen(make_record, "my:cnn", 4000)]
    fields += [
        make_record(model="my:cnn", measure="receptive_field", unit="step", value=4000.0, seq_len=t)
        for t in (128, 256, 512)
    ]
    frame = grid(models, lengths=(64, 128, 256, 512), batches=(1,), more=fields)
    found = verdict(frame)
    assert set(found.cells["recurrent"]) == {"my:gru"}
    assert set(found.cells["convolutional"]) == {"my:cnn"}
    assert "my:gru" in found.sentences()[0]
    assert found.outside == ("my:other",)
    limits = " ".join(found.limits())
    assert "Not judged, as the family is not known: my:other." in limits
    assert "--measure receptive_field" in limits
    assert "[families]" in limits
    (row,) = family_crossovers(frame, noise=QUIET).to_dict("records")
    assert row["low"] <= 200 <= row["high"]
    figure = next(iter(crossover_maps(frame)))
    assert figure.table["T*"].tolist() == [pytest.approx(200, rel=0.3)]


def test_a_study_names_the_family_of_a_model_from_outside(make_record):
    named = make_record(model="my:scan", provenance={"family": "linear"})
    frame = to_frame([named, seen(make_record, "my:scan", 600)])
    assert family_of("my:scan", frame) == "linear"


def test_three_families_are_compared_pair_by_pair(grid, make_record):
    """A linear recurrence between lstm and tcn, which cross each other."""
    models = {"lstm": lambda t, b, h: 3e-6 * t, "tcn": lambda t, b, h: 5e-4}
    scan = [
        make_record(
            model="my:scan",
            seq_len=t,
            batch_size=1,
            hidden_size=32,
            value=1e-6 * t,
            provenance={"family": "linear"},
        )
        for t in (64, 128, 256, 512)
    ]
    frame = grid(models, lengths=(64, 128, 256, 512), batches=(1,), more=scan)
    found = verdict(frame)
    pairs = found.cells.groupby(["a", "b"], sort=False)["winner"].unique().map(list).to_dict()
    assert pairs == {
        ("recurrent", "linear"): ["linear"],
        ("recurrent", "convolutional"): ["recurrent", "convolutional"],
        ("linear", "convolutional"): ["linear", "convolutional"],
    }
    assert found.fastest_of("linear") == {"my:scan"}
    assert found.unjudged == 0
    assert found.sentences() == [
        "infer, at equal width: linear recurrence, run as my:scan, is fastest in 3 of 4 shapes (at"
        " T = 64 to 256): in the median 3.0 times as fast as the next family's best, lstm (library)"
        " in 2 of 3; convolution, run as tcn (library), in 1 (at T = 512): 1.02 times as fast as the"
        " next family's best, my:scan."
    ]
    words = found.pair_sentences()
    assert [sentence.partition(", infer")[0] for sentence in words] == [
        "recurrence and linear recurrence",
        "recurrence and convolution",
        "linear recurrence and convolution",
    ]
    assert "linear recurrence (my:scan) is faster in 4 of 4 shapes: 3.0 times as fast" in words[0]
    crossed = family_crossovers(frame, noise=QUIET)
    assert crossed[["a", "b"]].to_numpy().tolist() == [
        ["recurrence", "linear recurrence"],
        ["recurrence", "convolution"],
        ["linear recurrence", "convolution"],
    ]
    assert crossed["verdict"].tolist() == ["b always", "crosses", "crosses"]
    figure = next(iter(crossover_maps(frame)))
    assert "Best linear recurrence and best convolution, 1 lines over T" in figure.alt
    assert "the best recurrence and the best convolution" in figure.caption
    assert len(figure.table) == 3


def test_the_fastest_of_three_families_may_not_be_distinguished(grid):
    """At T = 64 two families are equal; parameters and the baseline are named."""
    models = {
        "lstm": lambda t, b, h: 4e-6 * t,
        "lru_loop": lambda t, b, h: 9e-6 * t,
        "lru_native": lambda t, b, h: 1e-6 * t,
        "tcn": lambda t, b, h: 64e-6 if t == 64 else 2e-6 * t,
    }
    found = verdict(grid(models))
    (sentence,) = found.sentences()
    assert sentence == (
        "infer, at equal width: linear recurrence, run as lru_native, is fastest in 4 of 6 shapes"
        " (at T = 128 and 256): in the median 2.0 times as fast as the next family's best, tcn"
        " (library); in 2 of 6 the two fastest families cannot be distinguished."
    )
    assert len(found.pair_sentences()) == 3
    assert found.ranked["next"].tolist()[2:] == ["tcn"] * 4


def test_two_families_are_compared_and_one_is_not(grid):
    def equal(t, b, h):
        return 1e-6 * t

    two = verdict(grid({"lru_native": equal, "lru_scan": equal, "tcn": lambda t, b, h: 3e-6 * t}))
    assert two.sentences() == [
        "infer, at equal width: linear recurrence (lru_native) is faster in 6 of 6 shapes: 3.0"
        " times as fast in the median, 3.0 times at most."
    ]
    assert two.pair_sentences() == []
    one = verdict(grid({"lru_native": equal, "lru_scan": equal}))
    assert (one.sentences(), one.pair_sentences(), len(one.ranked)) == ([], [], 0)


def test_without_an_unrolled_recurrence_there_is_no_sentence_on_one(grid):
    """The library's kernel alone: leaving it out leaves no recurrence to be judged."""
    library = {"provenance": {"looped": False}}
    frame = pd.concat(
        [
            grid({"lstm": lambda t, b, h: 3e-6 * t}, **library),
            grid({"lru_native": lambda t, b, h: 1e-6 * t, "tcn": lambda t, b, h: 2e-6 * t}),
        ],
        ignore_index=True,
    )
    assert unrolled_sentences(frame, verdict(frame)) == []
    loop = grid({"lstm_fused": lambda t, b, h: 9e-6 * t}, provenance={"looped": True})
    both = pd.concat([frame, loop], ignore_index=True)
    sentences = unrolled_sentences(both, verdict(both))
    assert len(sentences) == 2
    assert all("recurrence (lstm_fused)" not in sentence for sentence in sentences)
    assert sentences[0].startswith(
        "Recurrence unrolled in Python, without a library's kernel; recurrence and linear"
        " recurrence, infer, at equal width: linear recurrence (lru_native) is faster"
    )


def test_looks_differ():
    own = [f"my.module:model_{k}" for k in range(6)]
    with looks_for([*own, "lstm"]):
        looks = [look(model) for model in [*MODELS.names(), *own]]
        assert len(set(looks)) == len(looks)
        assert not {look(model)[0] for model in MODELS.names()} & {look(model)[0] for model in own}
        assert len({look(model)[1] for model in own}) == len(own)


# --- what a sentence holds for


def sized(make_record, model, value, **own):
    return make_record(model=model, measure="parameters", unit="1", value=value, **own)


def test_the_verdict_states_what_was_equal_and_how_many_parameters(grid, make_record):
    sizes = [
        sized(make_record, model, value, seq_len=t, hidden_size=32, match=match, mode="train")
        for t in (64, 128, 256)
        for match, values in (("width", (100.0, 520.0)), ("params", (100.0, 98.0)))
        for model, value in zip(("lstm", "tcn"), values, strict=True)
    ]
    frames = [
        grid({"lstm": lambda t, b, h: t, "tcn": lambda t, b, h, k=k: k * t}, match=match, more=more)
        for match, k, more in (("width", 5.7, sizes), ("params", 2.0, ()))
    ]
    found = verdict(pd.concat(frames, ignore_index=True))
    width, params = found.sentences()
    assert width.startswith(
        "infer, at equal width, where the convolution has 5.2 times the parameters:"
        " recurrence (lstm) is faster in 6 of 6 shapes: 5.7 times as fast"
    )
    assert params.startswith("infer, at equal parameters, where parameters are equal within 2%:")
    assert "Parameters were not measured" not in " ".join(found.limits())
    bare = verdict(frames[1])
    assert bare.sentences()[0].startswith("infer, at equal parameters: ")
    assert "Parameters were not measured" in " ".join(bare.limits())


def test_every_match_has_its_maps(grid):
    both = pd.concat(
        [
            grid({"lstm": lambda t, b, h: t, "tcn": lambda t, b, h: 2 * t}, match=match, mode=mode)
            for match in ("width", "params")
            for mode in ("infer", "train")
        ],
        ignore_index=True,
    )
    for kind in (crossover_maps, speedup_maps):
        titles = [figure.title for figure in kind(both)]
        assert len(titles) == 4
        assert ["match=params" in title for title in titles] == [False, False, True, True]


def test_one_timestep_is_not_judged(grid):
    frame = grid(
        {"lstm": lambda t, b, h: 2e-6 * t, "tcn": lambda t, b, h: 1e-6 * t},
        lengths=(1, 64, 128),
        batches=(1,),
    )
    found = verdict(frame)
    assert found.cells["seq_len"].tolist() == [64, 128]
    assert found.streams == 1
    assert "1 shapes of one timestep" in " ".join(found.limits())
    for kind in (crossover_maps, speedup_maps):
        (figure,) = kind(frame)
        assert 1 not in set(figure.data["seq_len"])


def test_a_bound_within_the_ceilings_noise_is_mixed(make_record, case):
    def near(rate):
        spread = np.linspace(0.9, 1.1, 9)
        for measure, unit, value in (
            ("matmul_rate", "FLOP/s", rate),
            ("copy_bandwidth", "B/s", 1e8),
        ):
            yield make_record(
                model="machine",
                measure=measure,
                unit=unit,
                value=value,
                seq_len=1,
                batch_size=1,
                hidden_size=1,
                samples=(value * spread).tolist(),
            )

    even = 1e6 / (14240 / 1e8)  # FLOP/s at which this case needs both for as long
    bounds = {
        k: roofline(to_frame([*near(k * even), *case(1.0)]))["bound"].iloc[0]
        for k in (0.2, 1.01, 5.0)
    }
    assert bounds == {0.2: "arithmetic", 1.01: "mixed", 5.0: "memory"}
