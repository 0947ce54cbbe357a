"""asv's configurations, and the separation of results by version and machine."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from asv import config, environment
from asv.results import get_filename
from packaging.requirements import Requirement
from perf.history import benchmark_name

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.study import CORE_AXES
from benchsuite.history import thresholds

ROOT = Path(__file__).parents[2]


def settings(name):
    return dict(config.Config.load(str(ROOT / name)).__dict__)


def test_asv_conf_json_has_the_suites_thresholds():
    written = settings("asv.conf.json")
    for key, value in thresholds.settings().items():
        assert written[key] == value, key


def test_each_measure_has_one_rule():
    """asv uses the largest of all thresholds that match."""
    rules = thresholds.settings()
    for spec in MEASURES:
        entry = f"{benchmark_name(spec.name)}('infer', 'cpu')@HEAD"
        matches = [p for part in rules.values() for p in part if re.match(p, entry)]
        assert len(matches) == 1, spec.name
    never = rules["regressions_first_commits"]
    assert list(never.values()) == [None]


def test_torch_versions_are_the_only_difference():
    plain, versions = settings("asv.conf.json"), settings("asv.torch-versions.conf.json")
    torch = versions["matrix"]["req"].pop("torch")
    assert plain["matrix"]["req"].pop("torch")[0] in torch
    assert len(torch) > 1
    assert plain == versions


def test_asv_stores_torch_versions_in_separate_files(monkeypatch):
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
def test_records_of_different_environments_do_not_replace_each_other(make_record, changes):
    from benchsuite.records import latest

    one, other = make_record(commit="a" * 40), make_record(**{"commit": "a" * 40, **changes})
    assert one.key != other.key
    assert len(latest([one.to_row(), other.to_row()])) == 2


def test_asv_distinguishes_devices_and_threads():
    """For one commit and environment, asv overwrites results with equal parameters."""
    assert {"device", "dtype", "num_threads", "mode"} <= set(CORE_AXES)


def test_an_environment_of_the_matrix_can_measure(tmp_path):
    """The forkserver's imports and one measurement work without the other dependencies."""
    given = {"benchsuite", *map(_plain, settings("asv.conf.json")["matrix"]["req"])}
    wants = {_plain(Requirement(want).name) for want in metadata.requires("benchsuite")}
    blocked = [
        module
        for module, owners in metadata.packages_distributions().items()
        if {_plain(owner) for owner in owners} & (wants - given)
    ]
    assert {"pandas", "scipy", "typer"} <= set(blocked)
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "from benchsuite.sweep import suite\nsuite._warm_up()\n"
        "from benchsuite import Case, measure\nfrom benchsuite.grid.study import Budget\n"
        "r = measure(Case(model='lstm', seq_len=4), 'latency', budget=Budget(0.01, 0.02))\n"
        "sys.exit(r.reason or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr


def _plain(name):
    return name.lower().replace("-", "_")
