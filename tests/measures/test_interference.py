"""What else the machine did during a measurement: columns, and the line in a run's balance."""

from __future__ import annotations

import itertools

import pytest

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures import interference
from benchsuite.measures.attempt import measure
from benchsuite.records.schema import SCHEMA

COLUMNS = {"calibration", "preemptions", "other_cores", "clock_change"}
QUIET = {"cores": 2, "threads": 1, "calibration": 1e-4, "other_cores": 0.1, "clock_change": 0.01}


@pytest.fixture
def observed(monkeypatch):
    """Columns of a measurement of 10 s, from what the kernel and the clock report.

    Calibrations are two before it and those after, of which the last one goes on.
    """

    def observe(*, busy=(0.0, 0.0), own=0.0, switches=0, calibrations=(1.0, 1.0, 1.0)):
        readings = {
            "_clock": (100.0, 110.0),
            "_busy_seconds": busy,
            "_involuntary_switches": (0, switches),
        }
        for name, values in readings.items():
            monkeypatch.setattr(interference, name, itertools.cycle(values).__next__)
        times = itertools.chain(calibrations, itertools.repeat(calibrations[-1]))
        monkeypatch.setattr(interference, "calibrate", times.__next__)
        monkeypatch.setattr(interference, "_sleep", lambda _: None)
        monkeypatch.setattr(
            interference.time, "process_time", itertools.cycle((5, 5 + own)).__next__
        )
        watch = interference.Interference()
        watch.start()
        return watch.columns()

    return observe


@pytest.mark.parametrize(
    ("busy", "own", "others"),
    [((0, 10), 10, 0), ((0, 20), 10, 1), ((5, 18), 8, 0.5), ((0, 9.9), 10, 0)],
)
def test_cores_of_others_are_the_busy_ones_less_the_own(observed, busy, own, others):
    assert observed(busy=busy, own=own)["other_cores"] == pytest.approx(others)


def test_a_clock_that_falls_is_a_loop_that_takes_longer(observed):
    assert observed(calibrations=(1.0, 1.0, 1.25))["clock_change"] == pytest.approx(-0.2)
    assert observed(calibrations=(1.0, 1.0, 0.8))["clock_change"] == pytest.approx(0.25)
    assert observed(switches=30)["preemptions"] == 3


@pytest.mark.parametrize(
    "calibrations",
    [
        (1.0, 1.0, 2.0, 2.0, 1.0),  # half as fast for some hundredths of a second, after
        (2.0, 1.0, 1.0),  # before
        (1.0, 2.0, 1.02),
        (1.0, 1.2, 1.1),  # no one knows whether it rose or fell
    ],
)
def test_a_change_that_some_calibrations_do_not_show_does_not_count(observed, calibrations):
    assert abs(observed(calibrations=calibrations)["clock_change"]) < 0.03


def test_the_change_is_what_all_calibrations_have_in_common(observed):
    columns = observed(calibrations=(1.0, 1.1, 1.6, 1.5, 1.4, 1.5))
    assert columns["clock_change"] == pytest.approx(1.1 / 1.4 - 1)
    assert columns["calibration"] == 1.0


def test_without_the_kernel_s_counters_the_column_is_absent(observed):
    assert "other_cores" not in observed(busy=(None, None))


def test_a_timing_has_the_columns_and_a_count_has_not():
    case = Case(model="lstm", seq_len=4, hidden_size=4)
    timed = measure(case, "latency", budget=Budget(min_run_time=0.01, warmup=0.0)).provenance
    assert set(timed) >= COLUMNS
    assert timed["calibration"] > 0
    assert timed["other_cores"] >= 0
    counted = measure(case, "parameters").provenance
    assert not set(counted) & COLUMNS
    assert set(SCHEMA) >= COLUMNS


def test_every_measure_of_time_is_observed():
    timed = {spec.name for spec in MEASURES if interference.is_timed(spec)}
    assert timed == {
        *("latency", "step_latency", "device_time", "matmul_rate", "copy_bandwidth"),
        *("first_call", "compile_time", "load_time"),
    }


@pytest.mark.parametrize(
    ("known", "disturbed"),
    [
        ({}, False),
        ({"other_cores": 1.0}, True),
        ({"other_cores": 0.6, "threads": 2}, True),
        ({"other_cores": 0.4, "threads": 2}, False),
        ({"other_cores": 1.0, "cores": 64}, False),
        ({"other_cores": 40.0, "cores": 64}, True),
        ({"clock_change": -0.3}, True),
        ({"clock_change": 0.3}, True),
        ({"clock_change": 0.2}, False),  # of so few timings
        ({"other_cores": None}, False),
    ],
)
def test_a_disturbed_timing_is_counted(make_record, known, disturbed):
    records = [make_record(provenance={**QUIET, **known}), make_record(provenance=QUIET)]
    notes = interference.notes_on_interference(records)
    assert [note.startswith("1 of 2 timings were disturbed: ") for note in notes] == [
        True
    ] * disturbed


def test_the_note_gives_the_ranges(make_record):
    records = [
        make_record(provenance={**QUIET, "other_cores": others, "clock_change": change})
        for others, change in [(1.0, 0.0), (1.4, -0.32), (0.0, -0.3)]
    ]
    assert interference.notes_on_interference(records) == [
        "3 of 3 timings were disturbed: other processes kept 1.0 to 1.4 of 2 cores busy in 2 and the"
        " clock rate was off by -32 to -30 % in 2; measure again with --fresh while the machine does"
        " nothing else"
    ]


@pytest.mark.parametrize(("spread", "changes"), [(0.001, 3), (0.05, 1)])
def test_a_clock_that_always_varies_is_reported_where_it_is_unusual(make_record, spread, changes):
    """Of 20 timings three show -10 %, +10 % and -50 %; the rate varies from one to the next."""
    records = [
        make_record(
            started_at=1e9 + n,
            provenance={
                **QUIET,
                "calibration": 1e-4 * (1 + spread * (n % 2)),
                "clock_change": {3: -0.1, 7: 0.1, 11: -0.5}.get(n, 0.0),
            },
        )
        for n in range(20)
    ]
    (note,) = interference.notes_on_interference(records[::-1])
    assert note.startswith(f"{changes} of 20 timings were disturbed: the clock rate was off by -50")


@pytest.mark.parametrize(
    ("spread", "fall", "reported"),
    [
        (0.01, 0.2, True),
        (0.01, 0.05, False),
        (0.1, 0.2, False),
        (0.1, 0.4, True),
        (0.0, -0.2, True),
    ],
)
def test_a_clock_that_falls_in_the_course_of_a_run_is_reported(make_record, spread, fall, reported):
    """It fell between two timings, so none of them has seen it."""
    records = [
        make_record(
            started_at=1e9 + n,
            provenance={
                **QUIET,
                "calibration": 1e-4 * (1 + spread * (n % 3)) / (1 - fall * (n >= 14)),
                "clock_change": 0.0,
            },
        )
        for n in range(24)
    ]
    notes = interference.notes_on_interference(records[::-1])
    than = "lower" if fall > 0 else "higher"
    shift = (
        f"the clock rate was {abs(fall):.0%} {than} in the last third of the run than in the first;"
        " timings of the two do not compare"
    )
    assert notes[-1:] == [shift] * reported


def test_a_timing_that_was_slow_throughout_was_disturbed(make_record):
    """Both of its calibrations are slow, as those of no other of the run."""
    calibrations = [1e-4 * (1 + 0.04 * (n % 3)) for n in range(24)]
    calibrations[7] = 1.65e-4
    records = [
        make_record(started_at=1e9 + n, provenance={**QUIET, "calibration": calibration})
        for n, calibration in enumerate(calibrations)
    ]
    assert interference.disturbed(records) == [records[7]]
    (note,) = interference.notes_on_interference(records)
    assert note.startswith("1 of 24 timings were disturbed: the clock rate was off by -37 % in 1;")
