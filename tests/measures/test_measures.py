"""Measures against known figures, exactly where they are exact."""

from __future__ import annotations

import mmap
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
import torch

from benchsuite import allocator, measure
from benchsuite.catalog.measures import MEASURES
from benchsuite.catalog.models import MACHINE, MODELS
from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.grid.study_file import load_study
from benchsuite.measures import machine
from benchsuite.measures.faults import fault_time, page_faults
from benchsuite.measures.heap import heap
from benchsuite.measures.machine import copy, product
from benchsuite.measures.memory import tensors
from benchsuite.measures.timing import time_step, warm_up
from benchsuite.records import RecordFile, read_rows
from benchsuite.runtime import count as counting
from benchsuite.runtime.build import Sizes
from benchsuite.runtime.match import matched, solve
from benchsuite.runtime.workload import Workload, prepare
from benchsuite.sweep import processes

NAMES = [spec.name for spec in MODELS if spec.family != "outside" and spec.execution != "Triton"]
#: Executions whose every timestep adds operations, so that counting takes long.
LOOPS = {"Python loop", "stacked loop", "fused loop", "library"}
SHORT = Budget(min_run_time=0.01, max_run_time=0.05)


class FakeClock:
    """Advances only when a test advances it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_timing_reads_the_injected_clock_exactly():
    clock, durations = FakeClock(), iter([0.5, 0.3, 0.1] + [0.25, 0.75] * 100)
    calls = []

    def step():
        calls.append(1)
        clock.now += next(durations)

    budget = Budget(min_run_time=1.0, max_run_time=4.0)
    reading = time_step(step, clock, num_threads=1, budget=budget)
    # torch's Timer runs once to size its blocks (0.5 s > 0.05 s: blocks of one step), then samples.
    assert reading.number == 1
    assert reading.samples[:4] == pytest.approx((0.3, 0.1, 0.25, 0.75))
    assert sum(reading.samples) > 4.0  # the spread never settles: timed until max_run_time
    assert len(calls) == len(reading.samples) + 1
    assert reading.value == statistics.median(reading.samples)
    assert reading.warning.startswith("unstable: IQR is ")


def test_timing_stops_when_the_samples_settle():
    clock = FakeClock()

    def step():
        clock.now += 0.25

    reading = time_step(
        step, clock, num_threads=1, budget=Budget(min_run_time=1.0, max_run_time=60)
    )
    assert reading.samples == (0.25,) * 4
    assert reading.value == 0.25
    assert reading.warning.startswith("few: 4 samples")
    more = time_step(step, clock, num_threads=1, budget=Budget(min_run_time=1.5, max_run_time=60))
    assert (len(more.samples), more.warning) == (6, "")


def test_short_steps_are_timed_in_blocks():
    clock = FakeClock()

    def step():
        clock.now += 1e-6

    reading = time_step(step, clock, 1, Budget(min_run_time=0.001, max_run_time=1))
    assert reading.number >= 50
    assert reading.value == pytest.approx(1e-6)


def test_warm_up_lasts_as_long_as_asked():
    clock = FakeClock()
    calls = []

    def step():
        calls.append(clock.now)
        clock.now += 0.2

    warm_up(step, 1.0, clock)
    assert len(calls) in {5, 6}
    warm_up(step, 0.0, clock)
    assert len(calls) in {5, 6}


@pytest.mark.parametrize(
    ("module", "peaks"),
    [
        ("LSTM", {200: 10_358_336, 400: 20_393_536, 800: 40_463_936}),
        ("GRU", {200: 5_324_808, 400: 10_649_608}),
        ("RNN", {200: 2_869_256, 400: 5_736_456}),
    ],
)
def test_tensor_memory_of_torchs_layers(module, peaks):
    """REFERENCES: forward and backward, B=8, H=64; slopes 50,176, 26,624 and 14,336 B a step."""
    layer = getattr(torch.nn, module)(64, 64, batch_first=True)
    for seq_len, peak in peaks.items():
        x = torch.randn(8, seq_len, 64)

        def step(x=x):
            layer(x)[0].square().mean().backward()
            layer.zero_grad(set_to_none=True)

        step()
        assert tensors(step).peak == peak


def test_tensor_memory_of_a_case_is_that_of_the_bare_layer():
    case = Case(model="lstm", mode="train", seq_len=200, batch_size=8)
    assert measure(case, "tensor_memory").value == 10_358_336


def test_tensor_memory_is_the_highest_point_and_not_the_sum():
    def step():
        for _ in range(3):
            torch.empty(1000, dtype=torch.uint8)

    assert 1000 <= tensors(step).peak < 1200


def test_tensors_that_a_step_leaves_behind_are_counted():
    kept = []
    found = tensors(lambda: kept.append(torch.empty(1000)))
    assert found.left == found.peak >= 4000


def test_the_heap_is_more_than_tensors():
    def step():
        del bytearray(5_000_000)[:]

    assert 5_000_000 <= heap(step).peak < 5_010_000
    assert tensors(step).peak == 0


def test_what_was_there_before_is_not_subtracted():
    before = [bytearray(3_000_000) for _ in range(2)]

    def step():
        if before:
            before.pop()
        del bytearray(2_000_000)[:]

    found = heap(step)
    assert not before
    assert 2_000_000 <= found.peak < 2_010_000
    assert found.left < 10_000


def test_blocks_count_with_what_the_allocator_grants():
    """A request of 1,001 bytes takes 1,016 of glibc's heap."""
    kept = []

    def step():
        kept.clear()
        kept.extend(np.empty(1_001, np.uint8) for _ in range(1_000))

    assert 1_001_000 < heap(step).left < 1_150_000


def test_autograds_nodes_count():
    """REFERENCES: of an eight-Linear cell about 28 KB a timestep, none of it tensors."""
    case = Case(model="lstm_cell", mode="train", seq_len=64, hidden_size=16)
    peak, own = (measure(case, name).value for name in ("peak_memory", "tensor_memory"))
    assert own + 25_000 * 64 < peak < own + 32_000 * 64


def test_the_heap_is_the_same_within_its_tolerance():
    case = Case(model="gru", mode="train", seq_len=32, batch_size=2, hidden_size=8)
    values = [measure(case, "peak_memory").value for _ in range(3)]
    # Blocks that libraries keep for themselves come and go: some kilobytes in any case.
    least = min(values)
    assert max(values) <= least * (1 + MEASURES.get("peak_memory").tolerance) + 16_384


class KeepsItsState(torch.nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.layer = torch.nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, x):
        y, _ = self.layer(x)
        self.last = y.detach().clone()
        return y


def keeps_its_state(input_size, hidden_size):
    return KeepsItsState(input_size, hidden_size)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_model_that_keeps_its_state_has_its_memory_measured(mode):
    case = Case(model=f"{__name__}:keeps_its_state", mode=mode, seq_len=64, batch_size=4)
    kept = 64 * 4 * 64 * 4
    for name in ("peak_memory", "tensor_memory"):
        record = measure(case, name)
        assert record.status == "ok", record.reason
        reported = int(re.search("retained: ([0-9,]+) B", record.warning)[1].replace(",", ""))
        assert kept <= reported < kept + 10_000
        assert record.value > 2 * kept
    assert not measure(Case(model="lstm", mode=mode, seq_len=64), "peak_memory").warning


@pytest.mark.parametrize("model", NAMES)
@pytest.mark.parametrize("name", ["tensor_memory", "saved_activations"])
def test_memory_is_the_same_every_time(model, name):
    case = Case(model=model, mode="train", seq_len=16, batch_size=2, hidden_size=8)
    values = {measure(case, name).value for _ in range(2)}
    assert len(values) == 1
    assert values.pop() > 0


@pytest.mark.parametrize("model", NAMES)
def test_saved_activations_are_affine_in_time(model):
    """Exact, linear in T: second differences vanish at equal depth.

    oneDNN's LSTM rounds its workspace up to pages, which does not show at lengths of 200; kernels
    that keep the state of every sixteenth timestep round up to that.
    """
    lengths, batch, width = ((200, 400, 600), 8, 64) if model == "lstm" else ((48, 52, 56), 2, 8)
    if model in {"s4d_native", "selective_native"}:
        lengths = (48, 64, 80)

    def bytes_at(seq_len):
        shape = {"seq_len": seq_len, "batch_size": batch, "hidden_size": width}
        return measure(Case(model=model, mode="train", **shape), "saved_activations").value

    a, b, c = (bytes_at(t) for t in lengths)
    assert c - b == b - a > 0


def test_saved_activations_by_hand():
    """relu keeps its output (B·T·H floats); the second convolution's input is that same tensor."""
    case = Case(model="conv", mode="train", seq_len=10, batch_size=2, hidden_size=4)
    padded, output = 2 * 4 * (10 + 2) * 4, 2 * 4 * 10 * 4
    assert measure(case, "saved_activations").value == 4 * (padded + output)


def test_nothing_is_saved_in_inference():
    assert measure(Case(model="tcn", seq_len=16), "saved_activations").value == 0


@pytest.mark.parametrize(
    ("model", "gates"),
    [("lstm", 4), ("gru", 3), ("lstm_cell", 4), ("gru_cell", 3), ("lstm_fused", 4)],
)
@pytest.mark.parametrize("seq_len", [7, 40])
def test_flops_of_recurrent_layers(model, gates, seq_len):
    """2·g·H·(I+H)·T·B; 40 timesteps are confirmed by shorter ones, 7 are counted."""
    sizes = Sizes(5, 6, 1, bidirectional=False, seq_len=seq_len)
    found = counting.flops(model, sizes, batch_size=3, train=False)
    assert found.total == 2 * gates * 6 * (5 + 6) * seq_len * 3


def test_flops_of_a_training_step():
    """Backward: twice the forward products, less the input's gradient and the first state's."""
    sizes = Sizes(5, 6, 1, bidirectional=False, seq_len=40)
    gates, h, i, steps, batch = 4, 6, 5, 40, 3
    forward = 2 * gates * h * (i + h) * steps * batch
    weights = forward
    state = 2 * gates * h * h * (steps - 1) * batch
    found = counting.flops("lstm", sizes, batch_size=batch, train=True)
    assert found.total == forward + weights + state


def test_flops_of_a_convolution():
    """2·k·C_in·C_out·T·B per layer (T outputs each: padded on the left)."""
    sizes = Sizes(5, 6, 1, bidirectional=False, seq_len=50)
    layers = 2 * 3 * 6 * (5 + 6 + 6 + 6)
    assert counting.flops("conv", sizes, batch_size=2, train=False).total == layers * 50 * 2


@pytest.mark.parametrize("model", NAMES)
def test_extrapolated_counts_equal_counted_ones(model, monkeypatch):
    length = 40
    if MODELS.get(model).execution in LOOPS:
        length = 12
        monkeypatch.setattr(counting, "SHORT", (3, 4, 9))
    sizes = Sizes(4, 4, 1, bidirectional=False, seq_len=length)
    module = counting.build_on_meta(model, sizes)
    monkeypatch.setattr(counting, "AFFORDABLE", 0)
    for train in (False, True):
        whole, _ = counting._count(module, 4, 2, length, train=train)
        expected = counting.Count(whole, extrapolated=True, short=whole)
        if MODELS.get(model).execution == "FFT":  # transforms are not proportional to the length
            expected = counting.Count(whole)
        assert counting.flops(model, sizes, batch_size=2, train=train) == expected


class Blocks(torch.nn.Module):
    """Work in blocks of 64 timesteps; the last one is filled up, or the rest is not worked on."""

    def __init__(self, input_size, hidden_size, *, fill):
        super().__init__()
        self.layer, self.fill = torch.nn.Linear(input_size, hidden_size), fill
        self.again = torch.nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        steps = x.shape[1]
        if self.fill:
            x = torch.nn.functional.pad(x, (0, 0, 0, -steps % 64))
            return torch.cat([self.layer(block) for block in x.split(64, 1)], 1)[:, :steps]
        y = self.layer(x)
        whole = steps // 64 * 64
        return torch.cat([self.again(self.again(y[:, :whole])), y[:, whole:]], 1)


def filled_blocks(input_size, hidden_size):
    return Blocks(input_size, hidden_size, fill=True)


def whole_blocks(input_size, hidden_size):
    return Blocks(input_size, hidden_size, fill=False)


@pytest.mark.parametrize("seq_len", [65, 1024, 4096])
@pytest.mark.parametrize("model", ["filled_blocks", "whole_blocks"])
def test_work_in_blocks_is_counted_at_the_length_asked_for(model, seq_len):
    case = Case(model=f"{__name__}:{model}", seq_len=seq_len, hidden_size=6, input_size=6)
    record = measure(case, "flops")
    products = {
        "filled_blocks": -(-seq_len // 64) * 64,
        "whole_blocks": seq_len + 2 * (seq_len // 64 * 64),
    }
    assert record.value == 2 * 6 * 6 * products[model]
    assert record.provenance["extrapolated"] is False


def test_a_count_that_is_too_expensive_to_confirm_is_extrapolated_and_marked():
    long = measure(Case(model="lstm", seq_len=4096, hidden_size=4, input_size=4), "flops")
    assert (long.value, long.provenance["extrapolated"]) == (2 * 4 * 4 * 8 * 4096, True)
    short = measure(Case(model="lstm", seq_len=100, hidden_size=4, input_size=4), "flops")
    assert (short.value, short.provenance["extrapolated"]) == (2 * 4 * 4 * 8 * 100, False)
    assert "extrapolated" not in measure(Case(model="lstm", seq_len=4), "parameters").provenance


def test_a_length_between_shows_what_the_shortest_ones_hide(monkeypatch):
    """Where the length asked for is unaffordable, but 65 is not."""
    monkeypatch.setattr(counting, "AFFORDABLE", 30)
    sizes = Sizes(6, 6, 1, bidirectional=False, seq_len=4096)
    found = counting.flops(f"{__name__}:filled_blocks", sizes, batch_size=1, train=False)
    assert found == counting.Count(2 * 36 * 4096, short=2 * 36 * 64)


def test_flops_are_matched_at_the_cases_length():
    """Three products a timestep in whole blocks, of which short sequences show one."""
    case = Case(model=f"{__name__}:whole_blocks", seq_len=1024, hidden_size=24, input_size=24)
    case = case.replace(match="flops")
    sizes, match = matched(case)
    width = sizes.hidden_size
    flops = 2 * (24 * width + 2 * width * width) * 1024
    assert match.deviation == pytest.approx(flops / (2 * 4 * 24 * 48 * 1024) - 1)
    assert abs(match.deviation) < 0.03
    assert not match.extrapolated
    assert measure(case, "flops").value == flops


def quadratic(seq_len):
    """Work that grows with the square of the length: no line predicts it."""

    class Attention(torch.nn.Module):
        def forward(self, x):
            return x @ x.mT @ x

    return Attention()


def test_work_that_is_not_linear_is_counted_whole():
    sizes = Sizes(4, 4, 1, bidirectional=False, seq_len=50)
    found = counting.flops(f"{__name__}:quadratic", sizes, batch_size=1, train=False)
    assert found == counting.Count(2 * 2 * 50 * 50 * 4)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("lstm", 4 * 6 * (5 + 6) + 8 * 6),  # two biases
        ("lstm_cell", 4 * 6 * (5 + 6) + 8 * 6),
        ("lstm_peephole", 4 * 6 * (5 + 6) + 8 * 6 + 3 * 36),
        ("lstm_peephole_diag", 4 * 6 * (5 + 6) + 8 * 6 + 3 * 6),
        ("gru", 3 * 6 * (5 + 6) + 6 * 6),
        ("gru_cell", 3 * 6 * (5 + 6) + 6 * 6),
        ("conv", 3 * 6 * (5 + 6 + 6 + 6) + 4 * 6),
    ],
)
def test_parameters(model, count):
    assert measure(Case(model=model, input_size=5, hidden_size=6), "parameters").value == count


def test_state_size():
    def bytes_of(model, **axes):
        case = Case(model=model, batch_size=2, hidden_size=8, seq_len=13, **axes)
        return measure(case, "state_size").value

    assert bytes_of("lstm") == bytes_of("lstm_cell") == 2 * 2 * 8 * 4
    assert bytes_of("gru", num_layers=3, dtype="float64") == 3 * 2 * 8 * 8
    assert bytes_of("conv") == 4 * 2 * 2 * 8 * 4  # four layers of (k-1)·C·B floats
    assert bytes_of("tcn") == 2 * 2 * (1 + 2) * 2 * 8 * 4  # two blocks, two convolutions each
    assert bytes_of("tcn_separable") == bytes_of("tcn")
    assert bytes_of("wavenet") == (1 + 2 + 4 + 8) * 2 * 8 * 4  # four layers of two taps
    record = measure(Case(model="longconv", seq_len=13), "state_size")
    assert (record.status, "no Conv1d layers" in record.reason) == ("skipped", True)
    record = measure(Case(model="gru", bidirectional=True), "state_size")
    assert (record.status, "cannot be streamed" in record.reason) == ("skipped", True)


@pytest.mark.parametrize("match", ["params", "flops"])
@pytest.mark.parametrize("model", NAMES)
def test_the_matched_width_is_the_nearest(model, match):
    small = match == "flops" and MODELS.get(model).execution in LOOPS
    hidden, length = (12, 12) if small else (32, 64)
    sizes = Sizes(hidden // 2, hidden, 1, bidirectional=False, seq_len=length)
    found = solve(model, sizes, match)

    def at(w, name=model):
        s = Sizes(hidden // 2, w, 1, bidirectional=False, seq_len=length)
        if match == "params":
            return counting.parameters(counting.build_on_meta(name, s))
        if MODELS.get(name).execution == "FFT":  # not proportional to the length
            return counting.flops(name, s, batch_size=1, train=False).total
        return counting.flops_of_short(name, s)

    target, reached = at(hidden, "lstm"), at(found.width)
    assert found.deviation == pytest.approx(reached / target - 1)
    for other in (found.width - 1, found.width + 1):
        assert abs(at(other) - target) >= abs(reached - target)


def test_a_match_is_recorded():
    record = measure(Case(model="tcn", seq_len=64, hidden_size=32, match="params"), "parameters")
    assert record.provenance["width"] < 32
    reference = measure(Case(model="lstm", seq_len=64, hidden_size=32), "parameters")
    assert record.value / reference.value - 1 == pytest.approx(record.provenance["match_deviation"])


@pytest.mark.parametrize(
    ("axes", "kernel"),
    [
        ({"model": "lstm"}, ("oneDNN", False)),
        ({"model": "lstm", "dtype": "float64"}, ("ATen", False)),  # oneDNN has no float64 LSTM
        ({"model": "gru"}, ("ATen", False)),
        ({"model": "lstm_cell"}, ("ATen", True)),
        ({"model": "lstm_fused"}, ("ATen", True)),
    ],
)
def test_the_kernel_that_ran_is_recorded(axes, kernel):
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch is built without oneDNN")
    workload = Workload(Case(**axes, seq_len=8))
    workload.build()
    assert (workload.kernel, workload.looped) == kernel


def test_small_convolutions_take_another_library_than_large_ones():
    small = Workload(Case(model="conv", seq_len=8, hidden_size=8))
    large = Workload(Case(model="conv", seq_len=1024, hidden_size=64, batch_size=4))
    small.build()
    large.build()
    assert {small.kernel, large.kernel} <= {"ATen", "oneDNN", "ATen + oneDNN"}
    assert large.kernel == "oneDNN"


@pytest.mark.parametrize(
    ("mode", "dtype"), [("infer", "float32"), ("train", "float64"), ("train", "bfloat16")]
)
@pytest.mark.parametrize("model", NAMES)
def test_every_model_is_measured_in_every_mode_and_dtype(model, mode, dtype):
    case = Case(model=model, mode=mode, dtype=dtype, seq_len=6, hidden_size=8)
    record = measure(case, "latency", budget=SHORT)
    assert (record.status, record.reason) == ("ok", "")
    assert record.value > 0
    assert record.provenance["threads"] == 1


def test_a_workload_is_built_once_per_process():
    case = Case(model="lstm", seq_len=4)
    assert prepare(case) is prepare(case.replace())


def test_training_leaves_nothing_alive_between_steps():
    workload = Workload(Case(model="lstm", mode="train", seq_len=4))
    workload.step()
    assert all(p.grad is None for p in workload.module.parameters())


@pytest.mark.parametrize("name", MEASURES.names())
def test_a_device_that_is_not_there_is_a_skip_with_a_reason(name):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    mode = MEASURES.get(name).modes[0]
    record = measure(Case(model="lstm", mode=mode, device="cuda"), name)
    assert record.status == "skipped"
    assert "device cuda is not available on this machine" in record.reason
    assert record.value is None


def test_a_case_that_cannot_fit_is_refused_before_it_allocates():
    began = time.perf_counter()
    record = measure(
        Case(model="lstm", hidden_size=65536, batch_size=1024, seq_len=65536), "latency"
    )
    assert record.status == "oom"
    assert record.reason.startswith("refused: parameters, input and output alone need ")
    assert time.perf_counter() - began < 30


class Eats(torch.nn.Module):
    def forward(self, x):
        return x + torch.empty(1 << 31, dtype=torch.uint8)[:1]


def eats_with_little_memory():
    with mock.patch("benchsuite.host.free_memory", return_value=1 << 30):
        processes.limit_memory()
    return measure(Case(model=f"{__name__}:Eats", seq_len=4), "latency").status


def test_allocations_fail_before_the_machine_does(in_child):
    """In a child, as in a sweep: beyond the limit a tensor is refused, and the status is oom."""
    assert in_child(eats_with_little_memory) == "oom"


def test_a_value_that_is_not_finite_is_a_failure(monkeypatch):
    from benchsuite.measures import structure
    from benchsuite.measures.reading import Reading

    monkeypatch.setattr(structure, "parameters", lambda *_: Reading(value=float("inf")))
    record = measure(Case(model="lstm"), "parameters")
    assert record.status == "failed"
    assert "not a finite number" in record.reason


def test_an_unknown_measure_is_an_error():
    with pytest.raises(UsageError, match="unknown measure 'latensy': did you mean 'latency'"):
        measure(Case(model="lstm"), "latensy")


def test_a_record_is_on_disk_before_and_after(tmp_path):
    file = RecordFile(tmp_path / "records.jsonl")
    record = measure(Case(model="lstm", seq_len=4), "parameters", file=file, study="s", run="r")
    rows = list(read_rows(file.path))
    assert [row["status"] for row in rows] == ["started", "ok"]
    assert rows[0]["uid"] == rows[1]["uid"] == record.uid
    assert rows[1]["value"] == record.value
    assert (rows[1]["study"], rows[1]["run"]) == ("s", "r")


def test_an_interrupt_is_noted_and_goes_on_up(tmp_path, monkeypatch):
    from benchsuite.measures import structure

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(structure, "parameters", interrupt)
    file = RecordFile(tmp_path / "records.jsonl")
    with pytest.raises(KeyboardInterrupt):
        measure(Case(model="lstm"), "parameters", file=file)
    assert [row.get("reason") for row in read_rows(file.path)] == [None, "interrupted"]


def test_the_machine_is_measured_once_per_device_dtype_and_threads():
    study = load_study("quick").with_device("cpu").derive({"dtype": ["float32", "float64"]})
    cases = study.cases("matmul_rate")
    assert [case.dtype for case in cases] == ["float32", "float64"]
    assert {case.model for case in cases} == {MACHINE}
    assert {(case.seq_len, case.batch_size, case.hidden_size) for case in cases} == {(1, 1, 1)}
    assert MACHINE not in {case.model for case in study.cases()}


@pytest.mark.parametrize(("name", "what"), [("matmul_rate", product), ("copy_bandwidth", copy)])
def test_a_ceiling_is_work_over_time(name, what, monkeypatch):
    monkeypatch.setitem(machine._SIDE, "cpu", 64)
    monkeypatch.setitem(machine._BYTES, "cpu", 1 << 16)
    case = Case(model=MACHINE, seq_len=1, batch_size=1, hidden_size=1, dtype="float64")
    record = measure(case, name, budget=Budget(min_run_time=0.02, max_run_time=0.05))
    assert record.status == "ok", record.reason
    assert record.value == pytest.approx(np.median(record.samples))
    step, work = what(torch.device("cpu"), torch.float64)
    assert work == (2 * 64**3 if name == "matmul_rate" else 2 << 16)
    step()
    assert 1e6 < record.value < 1e14


def test_no_study_takes_the_machine_for_a_model():
    with pytest.raises(UsageError, match="machine"):
        load_study("quick").derive({"model": [MACHINE]})


# --- page faults and the allocator


def test_pages_that_are_taken_and_given_back_are_counted():
    size = 300 * mmap.PAGESIZE

    def step():
        with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as region:
            region.madvise(mmap.MADV_NOHUGEPAGE)
            region[:] = bytes(size)

    assert 300 <= page_faults(step) < 1000
    assert page_faults(lambda: None) < 5
    assert 0 < fault_time() < 1e-3


def test_every_record_of_a_step_has_its_faults_and_its_malloc():
    timed = measure(Case(model="lstm", seq_len=8), "latency", budget=SHORT).provenance
    assert timed["page_faults"] >= 0
    assert timed["fault_time"] > 0
    assert timed["malloc"]
    assert "page_faults" not in measure(Case(model="lstm", seq_len=8), "flops").provenance


def takes_pages():
    blocks = [np.ones(1 << 22) for _ in range(3)]
    blocks += [np.ones(1 << n) for n in range(10, 20)]


def policies():
    """What a process finds that uses both policies of the allocator."""
    plain = page_faults(takes_pages)
    case = Case(model="lstm", seq_len=8)
    held = measure(case.replace(allocator="held"), "peak_memory")
    takes_pages()  # which the heap then keeps
    kept = page_faults(takes_pages)
    after = measure(case, "peak_memory")
    return plain, held.status, kept, after.status, after.reason


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="sets glibc's malloc")
def test_a_held_heap_takes_no_pages(in_child):
    plain, held, kept, after, reason = in_child(policies)
    assert plain > 1000 > 100 > kept
    assert (held, after) == ("ok", "skipped")
    assert "in another process" in reason


@pytest.mark.parametrize(
    ("environment", "words"),
    [({"MALLOC_ARENA_MAX": "1"}, "MALLOC_ARENA_MAX=1"), ({}, " ".join(platform.libc_ver()))],
)
def test_the_allocators_settings_are_recorded(environment, words):
    code = "from benchsuite.allocator import description; print(description())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert words in done.stdout


def test_holding_needs_an_allocator_that_can_be_set(monkeypatch):
    monkeypatch.setattr(allocator, "_replaced_by", lambda: "libjemalloc.so.2")
    monkeypatch.setattr(allocator, "_held", False)
    record = measure(Case(model="lstm", seq_len=8, allocator="held"), "latency", budget=SHORT)
    assert record.status == "skipped"
    assert "sets glibc's malloc" in record.reason
