"""Rounding errors against a float64 loop of the same weights."""

from __future__ import annotations

import pytest
import torch

from benchsuite import measure
from benchsuite.catalog.models import MODELS
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures import numeric_error as module
from benchsuite.models.linear import scan
from benchsuite.runtime.workload import Workload

SMALL = {"seq_len": 20, "batch_size": 2, "hidden_size": 8}


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize(
    "model",
    [
        s.name
        for s in MODELS
        if (s.mathematics in {"lstm", "gru"} or s.family == "linear") and s.execution != "Triton"
    ],
)
def test_executions_round_little(model, mode):
    for dtype, most in (("float32", 200), ("float64", 500)):
        record = measure(Case(model=model, mode=mode, dtype=dtype, **SMALL), "numeric_error")
        assert (record.status, record.reason, record.unit) == ("ok", "", "ulp")
        assert record.value < most
        execution = MODELS.get(model).execution
        if dtype == "float64" and execution == "Python loop":
            assert record.value == 0
        elif dtype == "float32" or "loop" not in execution:  # loops may add in the same order
            assert record.value > 0


def test_an_error_is_counted_in_units_of_its_dtype(monkeypatch):
    """At the greatest number of the reference; a tensor of zeros has no such unit."""
    zeros = torch.zeros(3)
    exact = torch.tensor([1.0, -4.0], dtype=torch.float64)
    wrong = (exact + torch.tensor([8 * 4 * torch.finfo(torch.float32).eps, 0])).float()
    results = iter([[wrong, zeros], [exact, zeros.double()]])
    monkeypatch.setattr(module, "_results", lambda *_, **__: next(results))
    workload = Workload(Case(model="mingru_loop", **SMALL))
    assert module.numeric_error(workload, Budget()).value == 8


def test_the_gradient_counts_in_mode_train(monkeypatch):
    case = Case(model="lru_native", dtype="float32", mode="train", **SMALL)
    right = scan.linear_scan_backward

    def wrong(a, h, h0, g):
        da, db = right(a, h, h0, g)
        return da * 1.001, db

    monkeypatch.setattr(scan, "linear_scan_backward", wrong)
    assert measure(case, "numeric_error").value > 1000
    assert measure(case.replace(mode="infer"), "numeric_error").value < 200


@pytest.mark.parametrize("model", ["tcn", "torch.nn:LSTM"])
def test_without_a_loop_there_is_nothing_to_compare_with(model):
    record = measure(Case(model=model, **SMALL), "numeric_error")
    assert record.status == "skipped"
    assert record.reason == f"{model} has no Python loop with the same weights to be compared with"
