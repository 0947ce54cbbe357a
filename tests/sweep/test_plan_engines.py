"""Keys of planned measurements are those that the attempts have, whatever the engine."""

from __future__ import annotations

from benchsuite.grid.study import Study
from benchsuite.records.attempts import new_attempt
from benchsuite.sweep import plan


def test_planned_keys_are_those_of_the_attempts_with_every_engine():
    from benchsuite.catalog.measures import MEASURES

    study = Study(
        "engines",
        {"model": ("lstm", "tcn"), "engine": ("eager", "onnxruntime"), "device": ("cpu",)},
        ("latency",),
    )
    attempts = [
        new_attempt(case, MEASURES.get(name), study.budget).key
        for case, name in plan.wanted(study).values()
    ]
    assert attempts == list(plan.wanted(study))
    assert len({key[7] for key in attempts}) == 4  # each engine's code has its own digest
