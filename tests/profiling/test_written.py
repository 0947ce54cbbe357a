"""Explanations on disk: those that cannot be read are skipped, whatever is in them."""

from __future__ import annotations

import json

import pytest

from benchsuite.profiling.written import read_explanations

TODAY = {
    "case": "lstm-T64-B1-H8-infer-cpu", "model": "lstm", "seconds": 0.01, "bound": "overhead",
    "bounds": {"overhead": 0.7, "arithmetic": 0.2, "memory": 0.1}, "shares": {"python": 0.5},
    "sentences": ["A step takes 10 ms."],
}  # fmt: skip
EARLIER = {
    **TODAY, "device": "cpu", "untraced_seconds": None, "page_faults": None, "fault_share": 0.0,
    "shares": {"python": 0.5, "dispatch": 0.5}, "timesteps": 64, "calls": 9, "works": 9,
    "bounds": {"launch": 0.7, "compute": 0.2, "bandwidth": 0.1}, "products": 0, "kernels": 0,
    "unrolled": False, "idle": None, "libraries": {}, "flops_rate": 0.0, "cut": [],
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def read(content):
        file = tmp_path / "t" / "explanation.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
        return read_explanations(tmp_path)

    return read


def test_explanations_of_today_and_of_earlier_are_read(read):
    assert read(TODAY)[0]["bound"] == "overhead"
    (earlier,) = read(EARLIER)
    assert earlier["bounds"] == TODAY["bounds"]
    assert earlier["model"] == "lstm"


@pytest.mark.parametrize("base", [TODAY, EARLIER])
@pytest.mark.parametrize("key", TODAY)
@pytest.mark.parametrize("value", [None, 5, "x", [1], {"a": [1]}, [[]]])
def test_a_value_of_another_type_is_skipped_or_not_read(read, base, key, value):
    for found in read({**base, key: value}):
        assert isinstance(found["model"], str)
        assert all(isinstance(share, float) for share in found["bounds"].values())


def test_bounds_of_other_names_are_left_out(read):
    bounds = {**EARLIER["bounds"], "other": 0.5}
    assert read({**EARLIER, "bounds": bounds})[0]["bounds"] == TODAY["bounds"]
