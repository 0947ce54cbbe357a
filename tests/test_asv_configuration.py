"""asv's configurations, and what keeps results of different versions and machines apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from asv import config, environment
from asv.results import get_filename

from benchsuite.registry import MEASURES
from benchsuite.study import CORE_AXES
from benchsuite.sweep import regressions
from benchsuite.sweep.suite import benchmark_name

ROOT = Path(__file__).parent.parent


def settings(name):
    return dict(config.Config.load(str(ROOT / name)).__dict__)


def test_the_written_thresholds_are_the_suites():
    written = settings("asv.conf.json")
    for key, value in regressions.settings().items():
        assert written[key] == value, key


def test_each_measure_has_one_rule():
    """asv takes the largest of all thresholds that match."""
    import re

    rules = regressions.settings()
    for spec in MEASURES:
        entry = f"{benchmark_name(spec.name)}('infer', 'cpu')@HEAD"
        found = [p for part in rules.values() for p in part if re.match(p, entry)]
        assert len(found) == 1, spec.name
    never = rules["regressions_first_commits"]
    assert list(never.values()) == [None]


def test_torch_versions_are_the_only_difference():
    plain, versions = settings("asv.conf.json"), settings("asv.torch-versions.conf.json")
    torch = versions["matrix"]["req"].pop("torch")
    assert plain["matrix"]["req"].pop("torch")[0] in torch
    assert len(torch) > 1
    assert plain == versions


def test_asv_keeps_torch_versions_in_files_of_their_own(monkeypatch):
    monkeypatch.chdir(ROOT)
    conf = config.Config.load("asv.torch-versions.conf.json")
    names = [e.name for e in environment.get_environments(conf, None)]
    assert len(set(names)) == len(conf.matrix["req"]["torch"])
    assert all(
        any(f"torch{version}" in name for name in names) for version in conf.matrix["req"]["torch"]
    )
    files = {get_filename(m, "0" * 40, name) for m in ("one", "two") for name in names}
    assert len(files) == 2 * len(names)


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": {"torch": "3.0"}},
        {"machine": "there"},
        {"commit": "b" * 40},
        {"device": "cuda"},
        {"num_threads": 2},
        {"provenance": {"source": "0123"}},
    ],
    ids=["torch", "machine", "commit", "device", "threads", "code"],
)
def test_records_of_different_surroundings_replace_nothing(make_record, changes):
    from benchsuite.records import latest

    one, other = make_record(commit="a" * 40), make_record(**{"commit": "a" * 40, **changes})
    assert one.key != other.key
    assert len(latest([one.to_row(), other.to_row()])) == 2


def test_asv_tells_devices_and_threads_apart():
    """Of one commit and environment asv overwrites whatever differs in no parameter."""
    assert {"device", "dtype", "num_threads", "mode"} <= set(CORE_AXES)
