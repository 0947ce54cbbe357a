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
    """Columns of a measurement of 10 s, from what the kernel and the clock report."""

    def observe(*, busy=(0.0, 0.0), own=0.0, switches=0, calibrations=(1.0, 1.0)):
        readings = {
            "_clock": (100.0, 110.0),
            "_busy_seconds": busy,
            "_involuntary_switches": (0, switches),
            "calibrate": calibrations,
        }
        for name, values in readings.items():
            monkeypatch.setattr(interference, name, itertools.cycle(values).__next__)
        monkeypatch.setattr(
            interference.time, "process_time", itertools.cycle((5, 5 + own)).__next__
        )
        return interference.Interference().columns()

    return observe


@pytest.mark.parametrize(
    ("busy", "own", "others"),
    [((0, 10), 10, 0), ((0, 20), 10, 1), ((5, 18), 8, 0.5), ((0, 9.9), 10, 0)],
)
def test_cores_of_others_are_the_busy_ones_less_the_own(observed, busy, own, others):
    assert observed(busy=busy, own=own)["other_cores"] == pytest.approx(others)


def test_a_clock_that_falls_is_a_loop_that_takes_longer(observed):
    assert observed(calibrations=(1.0, 1.25))["clock_change"] == pytest.approx(-0.2)
    assert observed(switches=30)["preemptions"] == 3


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
    assert timed == {"latency", "device_time", "matmul_rate", "copy_bandwidth"}


@pytest.mark.parametrize(
    ("known", "disturbed"),
    [
        ({}, False),
        ({"other_cores": 1.0}, True),
        ({"other_cores": 0.6, "threads": 2}, True),
        ({"other_cores": 0.4, "threads": 2}, False),
        ({"other_cores": 1.0, "cores": 64}, False),
        ({"other_cores": 40.0, "cores": 64}, True),
        ({"clock_change": -0.1}, True),
        ({"clock_change": 0.1}, True),
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
        for others, change in [(1.0, 0.0), (1.4, -0.12), (0.0, -0.1)]
    ]
    assert interference.notes_on_interference(records) == [
        "3 of 3 timings were disturbed: other processes kept 1.0 to 1.4 of 2 cores busy in 2 and the"
        " clock rate changed by -12 to -10 % in 2; measure again with --fresh while the machine does"
        " nothing else"
    ]
