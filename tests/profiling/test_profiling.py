"""Traces: recording, reading of any file, and explanations of traces with known answers."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from typer.testing import CliRunner

from benchsuite import Case, measure
from benchsuite.catalog.models import MODELS
from benchsuite.cli import app
from benchsuite.errors import UsageError
from benchsuite.grid.study import Study
from benchsuite.profiling import categories
from benchsuite.profiling.allocations import KINDS, memory_figure, record_memory
from benchsuite.profiling.compare import compare
from benchsuite.profiling.explain import covered, explain
from benchsuite.profiling.ranges import labelled_step
from benchsuite.profiling.recorder import record
from benchsuite.profiling.trace_case import trace_case
from benchsuite.profiling.trace_file import read_trace
from benchsuite.profiling.trace_frame import load_frame, to_frame
from benchsuite.profiling.words import bound_of, percent, sentences
from benchsuite.profiling.written import read_explanations
from benchsuite.records import to_frame as records_frame
from benchsuite.report.page import write_report
from benchsuite.runtime.workload import Workload
from benchsuite.sweep.trace_study import selected, trace_study

T = 12
CELL = Case(model="lstm_cell", mode="train", seq_len=T, batch_size=2, hidden_size=8)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The hand-written cell, traced once for all tests."""
    return record(CELL, tmp_path_factory.mktemp("traces"))


@pytest.fixture(scope="module")
def frame(recording):
    return load_frame(recording.trace)


# --- recording -------------------------------------------------------------------------------


def test_ranges_are_there_and_nest(frame):
    ranges = frame[frame["kind"] == "range"]
    steps = ranges[ranges["op"].astype(str).str.startswith("ProfilerStep")]
    assert len(steps) == 3
    for step in range(3):
        here = ranges[(ranges["step"] == step)]
        assert here["op"].value_counts()[["forward", "backward", "optimiser"]].tolist() == [1, 1, 1]
        labels = here["op"][here["op"].astype(str).str.startswith("timestep")]
        assert labels.tolist() == [f"timestep {t}" for t in range(T)]
        assert set(here.loc[labels.index, "phase"]) == {"forward"}


def test_every_timestep_has_the_same_work_forward_and_backward(frame):
    """Two independent counts: eight products forward a step, two gradients of each backward."""
    products = frame[(frame["category"] == "matmul") & (frame["step"] == 0)]
    counts = products.groupby(["phase", "timestep"], observed=True).size()
    assert counts["forward"].to_dict() == dict.fromkeys(range(T), 8)
    # The first hidden state and the input need no gradient: only the weights' there.
    assert counts["backward"].to_dict() == {0: 8, **dict.fromkeys(range(1, T), 12)}


def test_the_other_trace_carries_stacks_memory_and_modules(recording):
    events = read_trace(recording.stacks)["traceEvents"]
    ops = [e for e in events if e.get("cat") == "cpu_op"]
    stacked = [e for e in ops if "benchsuite/models/lstm.py" in e["args"].get("Call stack", "")]
    assert len(stacked) > 50 * T
    assert any(e["name"] == "[memory]" and e["args"]["Bytes"] > 0 for e in events)
    assert any(e["name"].startswith("nn.Module: LSTM") for e in events)
    assert any(e["args"].get("Input Dims") for e in ops)


def test_a_long_loop_is_cut_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("benchsuite.profiling.recorder._MAX_CALLS", 6)
    found = record(CELL.replace(num_layers=2), tmp_path)
    assert found.workload.case.seq_len == 3  # two cells a timestep
    explained = explain(load_frame(found.trace))
    assert explained.timesteps == 3
    assert "cut from 12 to 3 timesteps" in explained.sentences[-2]
    assert any("timestep 2, cell 1" in str(op) for op in load_frame(found.trace)["op"])


def test_a_convolution_is_never_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("benchsuite.profiling.recorder._MAX_CALLS", 6)
    assert (
        record(CELL.replace(model="tcn", seq_len=64), tmp_path).content["benchsuite"]["cut"] == []
    )


def test_tracing_leaves_nothing_behind():
    workload = Workload(CELL)
    weights = [p.clone() for p in workload.module.parameters()]
    before = {name: set(vars(part)) for name, part in workload.module.named_modules()}
    with labelled_step(workload) as step:
        step(0)
    assert {name: set(vars(part)) for name, part in workload.module.named_modules()} == before
    assert all(
        torch.equal(a, b) for a, b in zip(weights, workload.module.parameters(), strict=True)
    )
    assert all(p.grad is None for p in workload.module.parameters())


class Loop(torch.nn.Module):
    """A model from outside, which loops over torch's own cell."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(input_size, hidden_size)

    def forward(self, x_BTF):
        h, out = None, []
        for x_BF in x_BTF.unbind(1):
            h = self.cell(x_BF, h)
            out.append(h)
        return torch.stack(out, 1)


def test_a_model_from_outside_has_its_timesteps_too(tmp_path):
    found = load_frame(record(CELL.replace(model=f"{__name__}:Loop", mode="infer"), tmp_path).trace)
    assert sorted(set(found["timestep"])) == list(range(-1, T))
    assert set(found["phase"]) <= {"", "forward"}


# --- the frame -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["lstm_cell", "lstm", "tcn"])
def test_totals_equal_key_averages(model, tmp_path):
    workload = Workload(CELL.replace(model=model))
    workload.step()
    with labelled_step(workload) as step, profile(activities=[ProfilerActivity.CPU]) as traced:
        step(0)
    traced.export_chrome_trace(str(tmp_path / "t.json"))
    calls = load_frame(tmp_path / "t.json").query("kind != 'kernel'").astype({"op": str})
    ours = calls.groupby("op").agg(
        calls=("self_time", "size"),
        self_time=("self_time", "sum"),
        total_time=("total_time", "sum"),
    )
    ours = ours.rename(index={"ProfilerStep#0": "ProfilerStep*"})  # torch's name for all of them
    theirs = {event.key: event for event in traced.key_averages()}
    assert set(ours.index) == set(theirs)
    assert len(theirs) > 20
    for op, event in theirs.items():
        assert ours.loc[op, "calls"] == event.count
        # torch keeps microseconds with three decimals: a nanosecond a call
        slack = 2e-9 * event.count
        assert ours.loc[op, "self_time"] == pytest.approx(
            event.self_cpu_time_total / 1e6, abs=slack
        )
        assert ours.loc[op, "total_time"] == pytest.approx(event.cpu_time_total / 1e6, abs=slack)


class Made:
    """A trace under construction, with times in microseconds."""

    def __init__(self, notes=None):
        self.events, self.notes = [], notes
        self.at = 0.0

    def add(self, name, start, length, cat="cpu_op", tid=1, **args):
        base = {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid}
        self.events.append({**base, "ts": 5e12 + start, "dur": length, "args": args})
        return self

    def frame(self):
        frame = to_frame(self.events)
        frame.attrs["notes"] = self.notes or {}
        return frame


PACE = {"flops": 1e11, "bandwidth": 1e10, "floor": 1e-6}


def test_launch_bound_on_the_host():
    """100 µs: 60 in tiny operators of 2 µs with a floor of 1, the rest in Python."""
    made = Made({"pace": PACE, "axes": {"seq_len": 10, "batch_size": 1}, "unrolled": True})
    made.add("ProfilerStep#0", 0, 100, "user_annotation").add("forward", 0, 100, "user_annotation")
    for t in range(10):
        made.add(f"timestep {t}", 10 * t, 9, "user_annotation")
        for k in range(3):
            made.add(
                "aten::add",
                10 * t + 3 * k,
                2,
                **{"Input Dims": [[4], [4]], "Input type": ["float"] * 2},
            )
    explained = explain(made.frame())
    assert explained.shares["python"] == pytest.approx(0.4)
    assert explained.shares["pointwise"] == pytest.approx(0.6)
    assert explained.bounds == pytest.approx({"overhead": 0.7, "arithmetic": 0.0, "memory": 0.3})
    assert (explained.bound, explained.device, explained.calls, explained.timesteps) == (
        "overhead",
        "cpu",
        30,
        10,
    )
    assert "overhead-bound" in explained.sentences[1]
    assert "3 per timestep" in explained.sentences[1]
    assert "stack the gates" in explained.sentences[2]


def test_stacked_gates_are_not_advised_again(tmp_path):
    """Of the two hand-written cells of the same maths, one makes eight products a step."""
    explained = {
        model: explain(load_frame(record(CELL.replace(model=model), tmp_path / model).trace))
        for model in ("lstm_cell", "lstm_fused")
    }
    assert explained["lstm_cell"].products >= 8 * CELL.seq_len
    assert explained["lstm_fused"].products <= 1.5 * CELL.seq_len
    # The advice for a step bound by overhead, which a busy machine may hide in these traces.
    overhead = {"bounds": {"overhead": 1.0, "arithmetic": 0.0, "memory": 0.0}}
    advice = {model: sentences(one.to_dict() | overhead, {})[2] for model, one in explained.items()}
    assert "stack the gates" in advice["lstm_cell"]
    assert "stacked already" in advice["lstm_fused"]


@pytest.mark.parametrize(
    ("rows", "bound"),
    [(1024, "arithmetic"), (1, "memory")],
)
def test_the_bound_of_one_product_follows_from_its_shape(rows, bound):
    """(rows, 1024) @ (1024, 1024): many rows compute, one row only reads the weights."""
    made = Made({"pace": PACE}).add("ProfilerStep#0", 0, 1000, "user_annotation")
    dims = {"Input Dims": [[rows, 1024], [1024, 1024]], "Input type": ["float", "float"]}
    explained = explain(made.add("aten::mm", 0, 901, **dims).frame())
    assert explained.bound == bound
    assert explained.bounds[bound] == pytest.approx(0.9)
    assert explained.flops_rate == pytest.approx(2 * rows * 1024**2 / 901e-6)
    assert explained.libraries == {"BLAS": 1.0}


@pytest.mark.parametrize(
    ("near", "bound"),
    [({}, "memory"), ({"near_bytes": 1 << 20, "near_bandwidth": 1e11}, "arithmetic")],
)
def test_data_in_a_cache_is_not_memory_traffic(near, bound):
    """(8, 128) @ (128, 128): 66 KB at 0.26 MFLOP wait for memory, but not for a cache."""
    made = Made({"pace": PACE | near}).add("ProfilerStep#0", 0, 1000, "user_annotation")
    dims = {"Input Dims": [[8, 128], [128, 128]], "Input type": ["float", "float"]}
    assert explain(made.add("aten::mm", 0, 901, **dims).frame()).bound == bound


@pytest.mark.parametrize(("microseconds", "bound"), [(901, "memory"), (301, "arithmetic")])
def test_data_that_moves_faster_than_memory_came_from_a_cache(microseconds, bound):
    """(8, 1024) @ (1024, 1024): 4.3 MB, for which memory needs 430 µs."""
    near = {"near_bytes": 1 << 20, "near_bandwidth": 1e11}
    made = Made({"pace": PACE | near}).add("ProfilerStep#0", 0, 1000, "user_annotation")
    dims = {"Input Dims": [[8, 1024], [1024, 1024]], "Input type": ["float", "float"]}
    bounds = explain(made.add("aten::mm", 0, microseconds, **dims).frame()).bounds
    assert bounds[bound] == pytest.approx((microseconds - 1) / 1000)


def gpu(kernel_us, gap_us, name="sgemm_128x64"):
    """Ten launches, each with a kernel; autograd's thread launches the latter half."""
    made = Made({"pace": PACE})
    made.add("ProfilerStep#0", 0, 10 * (kernel_us + gap_us), "user_annotation")
    for k in range(10):
        at, tid = k * (kernel_us + gap_us), 1 if k < 5 else 2
        dims = {"Input Dims": [[256, 256], [256, 256]], "Input type": ["float"] * 2}
        made.add("aten::mm", at, 5, tid=tid, **{"External id": 10 + k}, **dims)
        made.add("cudaLaunchKernel", at + 1, 3, "cuda_runtime", tid=tid, correlation=100 + k)
        made.add(name, at + 4, kernel_us, "kernel", tid="stream 7", correlation=100 + k)
    return made


def test_idle_share_of_a_device():
    explained = explain(gpu(kernel_us=10, gap_us=30).frame())
    assert explained.idle == pytest.approx(0.75)
    assert explained.bound == "overhead"
    assert (explained.device, explained.kernels) == ("gpu", 10)
    assert sum(explained.shares.values()) == pytest.approx(1)
    assert explained.shares["matmul"] == pytest.approx(0.25)
    assert explained.libraries == {"cuBLAS": 1.0}
    assert "GPU is idle for 75 %" in explained.sentences[0]


def test_a_busy_device_computes():
    explained = explain(gpu(kernel_us=95, gap_us=5).frame())
    assert (explained.bound, explained.idle) == ("arithmetic", pytest.approx(0.05))
    assert explained.flops_rate == pytest.approx(2 * 256**3 / 95e-6)


def test_device_time_and_launches_belong_to_the_operator_that_launched():
    frame = gpu(kernel_us=10, gap_us=30).frame()
    ops = frame[frame["op"] == "aten::mm"]
    assert ops["launches"].tolist() == [1] * 10
    assert ops["device_time"].tolist() == pytest.approx([1e-5] * 10)
    assert ops["self_time"].tolist() == pytest.approx([2e-6] * 10)  # less the driver's 3 µs
    # A launch whose driver call is missing is found by the operator's own number.
    events = [e for e in gpu(10, 30).events if e["cat"] != "cuda_runtime"]
    for event in events:
        if event["cat"] == "kernel":
            event["args"]["External id"] = event["args"]["correlation"] - 90
    assert to_frame(events)["launches"].sum() == 10


def test_memory_traffic_is_bandwidth_bound():
    made = Made({"pace": PACE}).add("ProfilerStep#0", 0, 100, "user_annotation")
    explained = explain(made.add("aten::copy_", 0, 40).add("aten::mul", 40, 50).frame())
    assert explained.bound == "memory"
    assert explained.shares["memory"] == pytest.approx(0.4)
    assert "fuse pointwise" in explained.sentences[2]


@pytest.mark.parametrize(
    ("faults", "words"), [(400.0, "40% of its time is page faults"), (4.0, "")]
)
def test_page_faults_that_take_time_are_reported(faults, words):
    """At 1 µs each, of an untraced step of 1 ms."""
    notes = {"pace": PACE | {"fault_time": 1e-6}, "page_faults": faults, "untraced_step": 1e-3}
    made = Made(notes).add("ProfilerStep#0", 0, 2000, "user_annotation")
    explained = explain(made.add("aten::mm", 0, 1500).frame())
    assert explained.fault_share == pytest.approx(faults / 1000)
    if words:
        assert words in explained.sentences[-1]
        assert "allocator=held" in explained.sentences[-1]
    else:
        assert not any("page faults" in sentence for sentence in explained.sentences)


def test_the_fastest_step_is_explained():
    made = Made()
    for step, slow in enumerate((5, 1, 3)):
        made.add(f"ProfilerStep#{step}", 1000 * step, 100 * slow, "user_annotation")
        made.add("aten::mm", 1000 * step, 50 * slow)
    assert explain(made.frame()).seconds == pytest.approx(100e-6)


def test_overlapping_kernels_count_once():
    assert covered(np.array([5.0, 0, 1, 20]), np.array([12.0, 10, 2, 21])) == 13


def test_a_comparison_names_the_categories_of_the_difference():
    def one(python, product):
        made = Made({"axes": {"seq_len": 10}, "case": f"p{python}"})
        made.add("ProfilerStep#0", 0, python + product, "user_annotation")
        return explain(made.add("aten::mm", 0, product).frame())

    found = compare(one(python=900, product=100), one(python=50, product=50))
    first, second = found.rows
    assert (first["category"], second["category"]) == ("python", "matmul")
    assert first["difference"] == pytest.approx(85e-6)
    assert first["share"] == pytest.approx(85 / 90)
    assert "10 times as long" in found.sentences[0]
    assert "94 % is python and 6 % is matmul" in found.sentences[1]


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("aten::addmm", "matmul"),
        ("aten::mkldnn_rnn_layer", "recurrence"),
        ("aten::mkldnn_convolution", "convolution"),
        ("aten::convolution_backward", "convolution"),
        ("aten::sigmoid_backward", "pointwise"),
        ("aten::transpose", "dispatch"),
        ("aten::fft_rfft", "dispatch"),
        ("aten::_fft_r2c", "transform"),
        ("void regular_fft<1024u, EPT<4u>, 4u>", "transform"),
        ("autograd::engine::evaluate_function: MkldnnRnnLayerBackward0", "dispatch"),
        ("torch::autograd::AccumulateGrad", "dispatch"),
        ("aten::cat", "memory"),
        ("Memcpy HtoD (Pageable -> Device)", "memory"),
        ("void at::native::vectorized_elementwise_kernel<4>", "pointwise"),
        ("ampere_sgemm_128x64_nn", "matmul"),
        ("void RNN_blockPersist_fp_LSTM<float>", "recurrence"),
    ],
)
def test_categories(name, category):
    assert categories.category_of(name) == category


def test_operations_of_a_library_recurrence_follow_the_formula():
    B, F, H = 2, 3, 8
    dims = [[T, B, F], [4 * H, F], [4 * H, H], [4 * H], [4 * H], [B, H], [B, H]]
    assert categories.flops("aten::mkldnn_rnn_layer", dims) == 2 * 4 * H * (F + H) * T * B
    assert categories.flops("aten::addmm", [[8], [2, 3], [3, 8], [], []]) == 2 * 2 * 3 * 8
    assert categories.flops("aten::mm", [[1]]) == 0


def test_operations_of_transforms_follow_the_convention():
    """5·N·log₂N of N points, half of it for real ones; a real one has N/2 + 1 in its spectrum."""
    assert categories.flops("aten::_fft_c2c", [[2, 3, 8]]) == 6 * 5 * 8 * 3
    assert categories.flops("aten::_fft_r2c", [[2, 3, 8]]) == 6 * 5 * 8 * 3 // 2
    assert categories.flops("aten::_fft_c2r", [[2, 3, 5]]) == 6 * 5 * 8 * 3 // 2
    assert categories.flops("aten::_fft_c2r", [[2, 3, 1]]) == 0


def test_shares_in_per_cent():
    assert [percent(s) for s in (0, 0.001, 0.1234, 1)] == ["0 %", "<1 %", "12 %", "100 %"]


# --- files -----------------------------------------------------------------------------------


GOOD = json.dumps({"traceEvents": Made().add("aten::mm", 0, 5).events}).encode()
PACKED = gzip.compress(GOOD, mtime=0)  # without a time: names of tests must not differ by process


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"PK\x03\x04\xff\xfe", "is not a trace: neither JSON nor gzip"),
        (b"hello", "is not a trace: line 1 is not JSON"),
        (GOOD[:-30], "is cut off"),
        (PACKED[:-20], "is cut off or damaged"),
        (PACKED[:40] + b"\0" * 40, "is cut off or damaged"),
        (b"3", "has no list 'traceEvents'"),
        (b'{"records": []}', "has no list 'traceEvents'"),
        (b'{"traceEvents": []}', "holds no timed event"),
        (
            b'[{"ph": "X", "name": "GC", "cat": "v8", "ts": 1, "dur": 2}]',
            "is not a trace of PyTorch",
        ),
    ],
)
def test_bad_traces_are_errors(data, message, tmp_path):
    (tmp_path / "t.json").write_bytes(data)
    with pytest.raises(UsageError, match=message) as error:
        load_frame(tmp_path / "t.json")
    assert "\n" not in str(error.value)


def test_a_missing_trace_and_a_directory_are_errors(tmp_path):
    with pytest.raises(UsageError, match="cannot read the trace"):
        read_trace(tmp_path / "absent.json")
    with pytest.raises(UsageError, match="cannot read the trace"):
        read_trace(tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_events_of_other_tools_are_skipped(pack, tmp_path):
    """A bare list, gzipped or not, with events of other tools and odd arguments among ours."""
    odd = [
        None,
        {"ph": "X"},
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "ts": "soon"},
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": "aten::mm",
            "ts": 9,
            "dur": 1,
            "args": {"Input Dims": "?"},
        },
        {"ph": "X", "cat": "v8", "ts": 1, "dur": 1, "name": "GC"},
    ]
    (tmp_path / "t").write_bytes(
        pack(json.dumps([*odd, *Made().add("aten::mm", 0, 5).events]).encode())
    )
    assert len(load_frame(tmp_path / "t")) == 2
    explained = explain(load_frame(tmp_path / "t"))
    assert explained.case == "trace"
    assert len(explained.sentences) == 3


# --- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "infer"])
@pytest.mark.parametrize(
    "model",
    [s.name for s in MODELS if s.family != "outside" and s.execution != "Triton"],
)
def test_the_peak_is_that_of_the_measure(model, mode):
    case = Case(model=model, mode=mode, seq_len=24, batch_size=3, hidden_size=16)
    timeline = record_memory(Workload(case))
    assert timeline.peak == measure(case, "tensor_memory").value
    assert (timeline.held >= 0).all()
    assert timeline.held[-1].tolist() == [0, 0, 0]


def test_memory_is_assigned_to_the_right_kind():
    """Causal convolutions of known sizes: their gradients have the sizes of their parameters."""
    case = Case(model="conv", mode="train", seq_len=24, batch_size=3, hidden_size=16)
    workload = Workload(case)
    timeline = record_memory(workload)
    most = dict(zip(KINDS, timeline.held.max(axis=0).tolist(), strict=True))
    weights = [p.numel() * 4 for p in workload.module.parameters()]
    # ATen rounds blocks to 64 B; the forward pass keeps what `saved_activations` counts.
    assert most["gradients"] == sum(-(-w // 64) * 64 for w in weights)
    kept = measure(case, "saved_activations").value
    assert kept <= most["activations"] <= kept * 1.01 + 1024
    forward_end = next(end for name, _, end in timeline.phases if name == "forward")
    row = np.searchsorted(timeline.seconds, forward_end) - 1
    assert timeline.held[row][0] == most["activations"]


class Stateful(torch.nn.Module):
    """A model from outside that keeps its last state for the next call."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(input_size, hidden_size)
        self.state = None

    def forward(self, x_BTF):
        out = []
        for x_BF in x_BTF.unbind(1):
            self.state = self.cell(x_BF, self.state)
            out.append(self.state)
        self.state = self.state.detach().clone()
        return torch.stack(out, 1)


class Growing(torch.nn.Module):
    """A model from outside that keeps every input it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = []

    def forward(self, x_BTF):
        self.seen.append(x_BTF.clone())
        return x_BTF * 2


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_a_model_that_keeps_its_state_is_traced_with_a_note(mode, tmp_path):
    """The state is 2 × 8 float32; each step releases the one of the step before."""
    case = CELL.replace(model=f"{__name__}:Stateful", mode=mode)
    timeline = record_memory(Workload(case))
    assert timeline.retained == 2 * 8 * 4
    assert timeline.peak == measure(case, "tensor_memory").value
    traced = trace_case(case, tmp_path)
    note = "Retained: 64 B are still allocated when the step ends"
    assert traced.explanation.sentences[-1].startswith(note)
    assert note in json.loads(traced.files["explanation"].read_text())["sentences"][-1]
    assert "64 B" not in " ".join(traced.explanation.sentences[:-1])


def test_memory_that_a_model_retains_is_workspace_at_the_end():
    case = CELL.replace(model=f"{__name__}:Growing", mode="infer", input_size=16)
    timeline = record_memory(Workload(case))
    size = 2 * T * 16 * 4
    assert timeline.retained == size
    assert timeline.held[-1].tolist() == [0, 0, size]
    assert "<svg" in memory_figure(timeline)


def test_the_figure_names_peak_and_kinds():
    timeline = record_memory(Workload(CELL.replace(seq_len=200)))
    assert len(timeline.held) > 1200  # so it is thinned
    svg = memory_figure(timeline)
    assert svg.count("<path") > 3
    for word in (*KINDS, "peak", "forward", "backward", CELL.replace(seq_len=200).id):
        assert word in svg


# --- all of it -------------------------------------------------------------------------------


def test_one_directory_holds_all_files_of_a_case(tmp_path):
    traced = trace_case(CELL, tmp_path)
    assert {path.parent for path in traced.files.values()} == {tmp_path / CELL.id}
    assert all(path.stat().st_size for path in traced.files.values())
    assert json.loads(traced.files["explanation"].read_text()) == json.loads(
        json.dumps(traced.explanation.to_dict())
    )
    assert explain(load_frame(traced.files["trace"])) == traced.explanation
    assert traced.explanation.unrolled


def test_the_command(tmp_path):
    words = ["trace", "lstm_cell", "lstm", "-a", "seq_len=8", "-a", "hidden_size=8"]
    done = CliRunner().invoke(app, [*words, "--json", "-o", str(tmp_path)])
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert [one["case"] for one in found["traces"]] == [
        "lstm_cell-T8-B1-H8-train-cpu",
        "lstm-T8-B1-H8-train-cpu",
    ]
    assert found["comparison"]["rows"]
    assert Path(found["traces"][1]["files"]["memory"]).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lsmt"], "did you mean 'lstm'"),
        (["lstm", "-a", "seq_len=8,16"], "a trace takes one of each axis"),
        (["lstm", "-a", "model=tcn"], "models are arguments"),
        (["lstm", "-a", "seq_len=8", "-o", "/dev/null/x"], "cannot write traces to"),
    ],
)
def test_wrong_use_of_the_command_is_an_error(words, message):
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(app, ["trace", *words], catch_exceptions=False)


def test_the_frame_is_tidy(frame):
    assert isinstance(frame, pd.DataFrame)
    assert not frame.isna().any().any()
    assert (frame["self_time"] >= 0).all()
    assert (frame["self_time"] <= frame["total_time"]).all()


def test_a_sweep_keeps_a_trace_of_each_model_and_mode(tmp_path, shared_server):
    study = Study(
        name="small",
        axes={
            "model": ("lstm", "tests.absent:model"),
            "mode": ("infer", "train"),
            "device": ("cpu",),
            "seq_len": (8, 16),
            "batch_size": (1, 2),
        },
        measures=("latency",),
    )
    assert [case.id for case in selected(study) if case.model == "lstm"] == [
        "lstm-T16-B1-H64-infer-cpu",
        "lstm-T16-B1-H64-train-cpu",
    ]
    lstm = dataclasses.replace(study, axes={**study.axes, "model": ("lstm",), "mode": ("infer",)})
    assert trace_study(lstm, tmp_path) == []
    asked = []
    assert trace_study(lstm, tmp_path, on_case=asked.append) == []
    assert asked == []  # it is there already
    notes = trace_study(
        dataclasses.replace(
            study, axes={**study.axes, "model": ("tests.absent:model",), "mode": ("infer",)}
        ),
        tmp_path,
    )
    assert notes == [
        "no trace of tests.absent:model-T16-B1-H64-infer-cpu: cannot import 'tests.absent' of 'tests.absent:model': No module named 'tests.absent'"
    ]


def test_the_report_shows_and_links_the_explanation(tmp_path, make_record):
    place = tmp_path / "traces" / CELL.id
    place.mkdir(parents=True)
    made = gpu(kernel_us=10, gap_us=30)
    made.notes.update(case="lstm-T8-<b>case</b>", axes={"model": "lstm"})
    explained = explain(made.frame())
    (place / "explanation.json").write_text(json.dumps(explained.to_dict()))
    (place / "timeline.html").write_text("page")
    (tmp_path / "traces" / "broken").mkdir()
    (tmp_path / "traces" / "broken" / "explanation.json").write_text('{"torn')
    frame = records_frame([make_record()])
    page = write_report(frame, tmp_path / "report", traces=tmp_path / "traces")["index"].read_text()
    assert "lstm-T8-&lt;b&gt;case&lt;/b&gt;: <strong>overhead-bound</strong>" in page
    assert "GPU is idle for 75 %" in page
    (link,) = re.findall(r'<a href="([^"]*timeline.html)"', page)
    assert (tmp_path / "report" / link).read_text() == "page"
    assert "Where the time goes" not in write_report(frame, tmp_path / "other")["index"].read_text()


@pytest.mark.parametrize(
    ("bounds", "word"),
    [
        ({"overhead": 0.31, "arithmetic": 0.52, "memory": 0.17}, "mixed"),
        ({"overhead": 0.55, "arithmetic": 0.45, "memory": 0.0}, "mixed"),
        ({"overhead": 0.45, "arithmetic": 0.55, "memory": 0.0}, "mixed"),
        ({"overhead": 0.2, "arithmetic": 0.1, "memory": 0.7}, "memory"),
    ],
)
def test_near_one_half_the_bound_is_mixed(bounds, word):
    assert bound_of(bounds) == word


def test_an_explanation_of_an_earlier_version_is_read_with_todays_names(tmp_path):
    explained = explain(gpu(kernel_us=10, gap_us=30).frame()).to_dict()
    names = {"overhead": "launch", "arithmetic": "compute", "memory": "bandwidth"}
    explained["bounds"] = {names[key]: share for key, share in explained["bounds"].items()}
    explained["bound"], explained["sentences"] = "launch", ["", "It is launch-bound."]
    explained["case"] = "gru-T64-B1-H32-infer-cpu"
    for later in ("model", "page_faults", "fault_share"):
        del explained[later]
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "explanation.json").write_text(json.dumps(explained))
    (found,) = read_explanations(tmp_path)
    assert found["bound"] == "overhead"
    assert set(found["bounds"]) == set(names)
    assert found["sentences"][1].startswith("It is overhead-bound: ")
    assert found["model"] == "gru"
