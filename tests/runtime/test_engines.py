"""The seam for engines: a case names one, and the workload runs what it prepares."""

from __future__ import annotations

import pytest
import torch

from benchsuite.catalog.engines import ENGINES
from benchsuite.errors import UsageError
from benchsuite.grid.case import Case
from benchsuite.measures.attempt import measure
from benchsuite.runtime.assemble import assemble
from benchsuite.runtime.engines.eager import Eager
from benchsuite.runtime.workload import Workload

SMALL = {"seq_len": 8, "batch_size": 2, "hidden_size": 4}


@pytest.mark.parametrize("name", ENGINES.names())
def test_every_engine_of_the_catalog_has_the_interface(name):
    engine = ENGINES.get(name).factory()()
    assert isinstance(engine.unavailable(), str)
    assert callable(engine.prepare)


def test_the_workload_runs_what_the_engine_prepares(monkeypatch):
    seen = []

    def prepare(_self, module, x_BTF, *, train):
        seen.append((tuple(x_BTF.shape), train))
        return lambda x: 2 * module(x)

    plain = Workload(Case(model="lstm", **SMALL))
    expected = plain.step()
    monkeypatch.setattr(Eager, "prepare", prepare)
    doubled = Workload(Case(model="lstm", **SMALL)).step()
    assert torch.equal(doubled, 2 * expected)
    Workload(Case(model="lstm", mode="train", **SMALL)).build()
    assert seen == [((2, 8, 4), False), ((2, 8, 4), True)]


def test_an_engine_that_is_not_available_is_a_skipped_row_with_the_reason(monkeypatch):
    monkeypatch.setattr(Eager, "unavailable", lambda _self: "it is on holiday")
    record = measure(Case(model="lstm", **SMALL), "latency")
    assert record.status == "skipped"
    assert record.reason == "engine eager is not available on this machine: it is on holiday"


def test_an_unknown_engine_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown engine 'eagre'.*'eager'.*allowed: eager"):
        Case(model="lstm", engine="eagre")


def test_the_default_engine_leaves_ids_as_they_were():
    assert Case(model="lstm", seq_len=64).id == "lstm-T64-B1-H64-infer-cpu"


def test_assembling_a_case_twice_gives_the_same_matched_module():
    case = Case(model="tcn", match="params", num_threads=1, **SMALL)
    one, other = assemble(case), assemble(case)
    for own, same in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(own, same)
    assert sum(p.numel() for p in one.parameters()) != sum(
        p.numel() for p in assemble(case.replace(match="width")).parameters()
    )
