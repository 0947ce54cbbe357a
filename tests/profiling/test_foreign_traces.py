"""Traces of other tools, with values that the profiler of torch never writes."""

from __future__ import annotations

import json

import pytest

from benchsuite.profiling.explain import explain
from benchsuite.profiling.trace_frame import load_frame

CALL = {"ph": "X", "pid": 1, "tid": 1, "ts": 0, "dur": 9}
STEP = {**CALL, "cat": "user_annotation", "name": "ProfilerStep#1"}
ARGS = {"Input Dims": [[2, 3], [3, 4]], "Input type": ["float", "float"]}
PRODUCT = {**CALL, "cat": "cpu_op", "name": "aten::mm", "ts": 1, "dur": 5, "args": ARGS}


@pytest.fixture
def explained(tmp_path):
    def explained(*events, **axes):
        content = {"traceEvents": list(events), "benchsuite": {"axes": axes}}
        (path := tmp_path / "trace.json").write_text(json.dumps(content))
        return explain(load_frame(path))

    return explained


@pytest.mark.parametrize("seq_len", ["x", 0, -3, 1.5, None])
def test_a_length_that_is_none_is_left_out(explained, seq_len):
    assert explained(STEP, PRODUCT, seq_len=seq_len).timesteps is None


@pytest.mark.parametrize("digits", [16, 25, 5000])
@pytest.mark.parametrize("name", ["ProfilerStep#", "timestep "])
def test_a_number_that_is_too_long_is_no_number(explained, name, digits):
    assert explained({**STEP, "name": name + "9" * digits}, PRODUCT).calls == 1


@pytest.mark.parametrize(
    "dims", [[[[[[1]]]]], [[[1], [2, [3]]]], [[[1], 2]], [[-1]], [["x"]], [[True]], [3], [[10**30]]]
)
@pytest.mark.parametrize("name", ["aten::mm", "aten::cat", "aten::convolution", "aten::rnn_layer"])
def test_shapes_that_are_none_count_no_work(explained, name, dims):
    product = {**PRODUCT, "name": name, "args": {**ARGS, "Input Dims": dims}}
    assert explained(STEP, product).flops_rate == 0
