"""Cases of mode stream, and the time of their calls."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.attempt import measure
from benchsuite.measures.streaming import MOST_CALLS, sampled
from benchsuite.records.frame import to_frame
from benchsuite.runtime.workload import Workload
from benchsuite.stats import quantile_of


def running_sum(input_size):
    """Causal and without state or an end of its field."""

    class RunningSum(nn.Module):
        def forward(self, x):
            return x.cumsum(1)

    return RunningSum()


BUDGET = Budget(min_run_time=0.001, max_run_time=0.01)


def case_of(model="lstm", **axes):
    return Case(**{"model": model, "seq_len": 64, "hidden_size": 8, "mode": "stream", **axes})


def record_of(name="step_latency", model="lstm", **axes):
    return measure(case_of(model, **axes), name, budget=BUDGET)


def test_defaults_leave_ids_as_they_were():
    assert case_of(mode="infer").id == "lstm-T64-B1-H8-infer-cpu"
    assert case_of(chunk=16).id == "lstm-T64-B1-H8-stream-cpu-chunk=16"
    old = {key: value for key, value in case_of(mode="infer").as_dict().items() if key != "chunk"}
    assert Case.from_row(old) == case_of(mode="infer")


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("lstm", "state"),
        ("tcn", "ring buffers"),
        ("mingru_scan", "state"),
        ("longconv", "recomputed from 127 timesteps"),
    ],
)
def test_every_call_is_a_sample(model, method):
    record = record_of(model=model, batch_size=2, chunk=3)
    assert record.status == "ok", record.reason
    assert record.number == 1
    assert len(record.samples) >= 20
    assert record.value == pytest.approx(np.median(record.samples))
    assert record.provenance["stream"] == method
    row = to_frame([record]).iloc[0]
    assert row["worst"] == max(record.samples)
    assert bool(np.isnan(row["p999"])) == (len(record.samples) < 1000)


def test_a_step_continues_the_step_before():
    workload = Workload(case_of("tcn", chunk=4))
    workload.build()
    held = [workload.step() for _ in range(3)]
    with torch.no_grad():
        whole = workload.module(workload.x_BTF.repeat(1, 4, 1))  # build was the first call
    torch.testing.assert_close(torch.cat(held, 1), whole[:, 4:], rtol=1e-4, atol=1e-5)


def test_the_model_covers_seq_len_whatever_the_chunk():
    record = record_of("receptive_field", "tcn", seq_len=100, chunk=1)
    assert record.value == 125  # five blocks of two convolutions with three taps


@pytest.mark.parametrize("name", [spec.name for spec in MEASURES if not spec.of_machine])
def test_other_measures_hold_for_a_call_or_are_skipped(name):
    record = record_of(name, "tcn", chunk=2)
    assert (record.status == "ok") == ("stream" in MEASURES.get(name).modes), record.reason
    if record.status != "ok":
        assert record.status == "skipped"
        assert "only in infer and train" in record.reason


def test_memory_is_that_of_a_call():
    sizes = [record_of("tensor_memory", "lstm", chunk=chunk).value for chunk in (1, 32)]
    assert 0 < sizes[0] < sizes[1]
    assert record_of("tensor_memory", "tcn").warning == ""


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"chunk": 65}, "chunk=65 is above seq_len=64, the field to cover"),
        ({"seq_len": 1}, "seq_len=1 in mode stream is a model whose outputs see one timestep"),
        ({"bidirectional": True}, "a bidirectional model needs the whole sequence"),
        ({"engine": "compile"}, "engine compile runs whole sequences"),
        ({"mode": "infer"}, "step_latency is not measured in mode infer, only in stream"),
        ({"model": f"{__name__}:running_sum"}, "its receptive field is not known to end"),
    ],
)
def test_what_does_not_go_together_is_skipped_in_one_line(axes, reason):
    record = record_of(**axes)
    assert record.status == "skipped"
    assert reason in record.reason
    assert "\n" not in record.reason


def test_a_chunk_without_a_stream_is_skipped():
    record = record_of("latency", mode="infer", chunk=2)
    assert record.status == "skipped"
    assert record.reason == "chunk=2 applies to mode stream, not to infer"


def test_latency_refers_to_the_measure_of_calls():
    assert "step_latency times the calls of a stream" in record_of("latency").reason


def test_a_chunk_below_one_is_refused():
    with pytest.raises(UsageError, match="axis 'chunk': 0 is not allowed"):
        case_of(chunk=0)


def test_the_clock_is_read_around_each_call_only():
    """Calls take 1, 2, 3 … ticks, and the time between them is not counted."""
    time, calls = [0], itertools.count(1)

    def call():
        time[0] += next(calls)

    taken = sampled(call, 1e-9 * 250, lambda: time[0])
    assert taken == list(range(1, 41))  # 20 take 210 ticks; then the next 20


def test_timing_ends_after_enough_calls():
    ticks = itertools.count()
    assert len(sampled(lambda: None, 1.0, lambda: next(ticks))) == MOST_CALLS


def test_quantiles_of_calls():
    sets = np.array([np.arange(1, 1001)[::-1], np.full(1000, 7)])
    assert quantile_of(sets, 0.99).tolist() == [990, 7]
    assert quantile_of(sets, 0.999).tolist() == [999, 7]
    assert quantile_of(sets, 1.0).tolist() == [1000, 7]
    assert np.isnan(quantile_of(sets[:, :99], 0.99)).all()


def test_means_of_several_steps_have_no_quantiles():
    record = measure(case_of(mode="infer"), "latency", budget=BUDGET)
    row = to_frame([record]).iloc[0]
    assert np.isnan(row[["p99", "p999", "worst"]].astype(float)).all()
