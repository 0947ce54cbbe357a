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


@pytest.mark.parametrize("spec", list(MEASURES), ids=lambda spec: spec.name)
def test_each_measure_gets_its_threshold(spec):
    """asv takes the largest of all thresholds that match, and never searches first commit null."""
    rules = thresholds.settings()
    entry = f"{benchmark_name(spec.name)}('infer', 'cpu')@HEAD"
    found = [v for p, v in rules["regressions_thresholds"].items() if re.match(p, entry)]
    timed = spec.unit == "s" or spec.task
    assert max(found) == (thresholds.TIMED if timed else spec.tolerance)
    never = [p for p in rules["regressions_first_commits"] if re.match(p, entry)]
    assert bool(never) == spec.of_machine


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
def test_records_of_different_environments_do_not_replace_each_other(
    make_record, changes, tmp_path
):
    from benchsuite.records import RecordFile, load_records

    one, other = make_record(commit="a" * 40), make_record(**{"commit": "a" * 40, **changes})
    assert one.key != other.key
    file = RecordFile(tmp_path / "records.jsonl")
    for record in (one, other):
        file.append(record)
    assert len(load_records(file.path)) == 2


def test_asv_distinguishes_devices_and_threads():
    """For one commit and environment, asv overwrites results with equal parameters."""
    assert {"device", "dtype", "num_threads", "mode"} <= set(CORE_AXES)


def test_an_environment_of_the_matrix_can_measure(tmp_path):
    """The forkserver's imports, and two measurements, with what else we depend on out of reach."""
    given = {"benchsuite"}
    waiting = list(map(_plain, settings("asv.conf.json")["matrix"]["req"]))
    while waiting:  # pip fetches what these depend on, but for extras and other platforms
        given.add(name := waiting.pop())
        wanted = map(Requirement, _requirements(name))
        needed = (
            _plain(w.name) for w in wanted if not w.marker or w.marker.evaluate({"extra": ""})
        )
        waiting += [name for name in needed if name not in given]
    wants = {_plain(Requirement(want).name) for want in metadata.requires("benchsuite")}
    blocked = [
        module
        for module, owners in metadata.packages_distributions().items()
        if {_plain(owner) for owner in owners} & (wants - given)
    ]
    assert {"pandas", "scipy", "typer"} <= set(blocked)
    code = (
        f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
        "from benchsuite.sweep import suite\nsuite._warm_up(steps=True)\n"
        "from benchsuite import Case, measure\nfrom benchsuite.grid.study import Budget\n"
        "for name in ('latency', 'peak_memory'):\n"
        "    r = measure(Case(model='lstm', seq_len=4), name, budget=Budget(0.01, 0.02))\n"
        "    if r.status != 'ok': sys.exit(r.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr


def _requirements(name):
    try:
        return metadata.requires(name) or ()
    except metadata.PackageNotFoundError:
        return ()


def _plain(name):
    return name.lower().replace("-", "_")
