"""`benchsuite init` in several kinds of repositories, and a slowdown found in one of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from asv.config import Config

import benchsuite
from benchsuite.grid.study_file import load_study
from benchsuite.history.results import load_asv_results
from benchsuite.scaffold.plan import scaffold
from benchsuite.sweep import suite

MODEL = """\
from torch import nn

class Repeated(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.layer = nn.Linear(size, size)

    def forward(self, x):
        for _ in range(WORK):
            x = self.layer(x)
        return x

WORK = 1

def make(hidden_size):
    return Repeated(hidden_size)
"""
PROJECT = """\
[build-system]
requires = ["setuptools>=77", "no-such-backend"]

[project]
name = "My.Package"
version = "0.1"
dependencies = ["torch >= 2", "scipy[all]; python_version > '3'", "absent; python_version < '3'"]
"""
SMALL = ["-a", "seq_len=4", "-a", "batch_size=1", "-a", "hidden_size=4", "-a", "mode=infer"]


@pytest.fixture
def repository(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commit(path, message):
    git = ["git", "-C", path, "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", message], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_repository_without_a_package_uses_the_current_environment(repository, run_command):
    code, out, _ = run_command("init", "--model", "own:make", "-a", "seq_len=8:32:*2")
    assert code == 0
    assert "benchsuite check own:make" in out
    study = load_study("benchmarks/study.toml")
    assert study.axes["model"] == ("own:make", "lstm", "tcn")
    assert study.axes["seq_len"] == (8, 16, 32)
    assert study.name == repository.name
    configuration = Config.load("asv.conf.json")
    assert configuration.environment_type == "existing"
    assert not configuration.matrix
    workflow = yaml.safe_load((repository / ".github/workflows/benchmark.yml").read_text())
    steps = workflow["jobs"]["compare"]["steps"]
    assert not any("--editable" in step.get("run", "") for step in steps)
    ignored = ["git", "check-ignore", ".asv/env/x.py", ".benchsuite/field/x.py"]
    assert subprocess.run(ignored).returncode == 0


def test_a_package_gets_an_environment_with_exact_versions(repository, run_command):
    (repository / "pyproject.toml").write_text(PROJECT)
    code, out, err = run_command("init", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["study"] == "My.Package"
    assert document["models"] == ["lstm", "tcn"]
    assert "pins no version of no-such-backend (not installed here)" in err
    configuration = Config.load("asv.conf.json")
    pins = configuration.matrix["req"]
    assert next(iter(pins)) == "torch"  # so that no other package chooses a version
    assert set(pins) >= {"benchsuite", "numpy", "scipy", "setuptools", "no-such-backend"}
    assert "absent" not in pins
    assert all("+" not in version for (version,) in pins.values())
    assert pins["no-such-backend"] == [""]
    assert "--no-deps" in configuration.build_command[0]
    workflow = (repository / ".github/workflows/benchmark.yml").read_text()
    assert "pip install --quiet --no-deps --editable ." in workflow
    (install,) = [line for line in workflow.splitlines() if "run: python -m pip install" in line]
    assert f"torch=={pins['torch'][0]}" in install
    assert f"benchsuite=={benchsuite.__version__}" in install
    assert install.endswith(" --editable .")  # with its dependencies
    assert "project.dependencies" not in err


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("setup.py", ""),
        ("pyproject.toml", "[project]\nname = 'a'\ndynamic = ['dependencies']\n"),
        ("pyproject.toml", "[build-system]\nrequires = ['setuptools']\n[tool.poetry]\n"),
    ],
)
def test_a_package_without_declared_dependencies_is_reported(repository, file, text):
    (repository / file).write_text(text)
    assert any("no project.dependencies" in note for note in scaffold(repository, []).notes)


def test_nothing_is_overwritten_without_force(repository, run_command):
    run_command("init")
    before = (repository / "benchmarks/study.toml").read_text()
    code, out, _ = run_command("init")
    assert (code, out.splitlines()[0]) == (0, "all files exist already")
    (repository / "asv.conf.json").write_text("{}")
    (repository / "benchmarks/measures.py").unlink()
    code, _, err = run_command("init", "--model", "own:make")
    assert code == 2
    assert "asv.conf.json, benchmarks/study.toml exist already; nothing was written" in err
    assert (repository / "asv.conf.json").read_text() == "{}"
    assert (repository / "benchmarks/study.toml").read_text() == before
    assert not (repository / "benchmarks/measures.py").exists()
    code, out, _ = run_command("init", "--model", "own:make", "--force")
    assert code == 0
    assert [line for line in out.splitlines() if line.startswith("wrote")] == [
        "wrote asv.conf.json",
        "wrote benchmarks/measures.py",
        "wrote benchmarks/study.toml",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sub"], "is not the top of its git repository"),
        (["absent"], "is not a directory"),
        (["--model", "lstn"], "did you mean 'lstm'"),
        (["-a", "model=lstm"], "give each model with --model"),
        (["-a", "seq_len=0"], "whole numbers from 1"),
    ],
)
def test_wrong_usage_is_reported_and_writes_nothing(repository, run_command, words, message):
    (repository / "sub").mkdir()
    code, _, err = run_command("init", *words)
    assert code == 2
    assert message in err
    assert sorted(path.name for path in repository.iterdir()) == [".git", "sub"]


def test_a_missing_repository_is_reported(tmp_path, run_command):
    code, _, err = run_command("init", str(tmp_path))
    assert code == 2
    assert "is not in a git repository; create one with `git init`" in err


def test_odd_project_names_become_valid_study_names(repository):
    (repository / "pyproject.toml").write_text('[project]\nname = "_ü b"\n')
    assert scaffold(repository, []).study.name == "b"


def test_the_benchmark_module_takes_the_study_beside_it(tmp_path, monkeypatch):
    monkeypatch.setenv(suite.STUDY, "")
    monkeypatch.setenv(suite.home.VARIABLE, "")
    monkeypatch.setenv(suite.CHECKOUT, "")
    study = tmp_path / "benchmarks" / "study.toml"
    study.parent.mkdir()
    classes = suite.benchmark_classes(str(study.with_name("measures.py")))
    assert classes["Latency"].study.name == "tracked"
    assert os.environ[suite.home.VARIABLE] == str(tmp_path / ".benchsuite")
    monkeypatch.setenv(suite.STUDY, "")
    study.write_text("name = 'mine'\nmeasures = ['flops']\n[axes]\nmodel = 'lstm'\n")
    classes = suite.benchmark_classes(str(study.with_name("measures.py")))
    assert {name: made.study.name for name, made in classes.items()} == {"Flops": "mine"}
    monkeypatch.setenv(suite.STUDY, "quick")
    assert suite.benchmark_classes(str(study.with_name("measures.py")))["Latency"].study.name == (
        "quick"
    )


def test_three_times_the_work_is_found(repository, run_command):
    """By FLOPs, which other processes cannot disturb; `perf/own_repository.py` does it by time."""
    package = repository / "mypkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.py").write_text(MODEL)
    assert run_command("init", "--model", "mypkg.model:make", *SMALL)[0] == 0
    names = [commit(repository, "base")]
    path = os.pathsep.join([str(repository), str(Path(benchsuite.__file__).parent.parent)])
    paths = dict.fromkeys(("PYTHONPATH", "ASV_PYTHONPATH"), path)
    variables = {**os.environ, **paths, "HOME": str(repository / ".asv"), "BENCHSUITE_MACHINE": "t"}

    def run(*words):
        words = [sys.executable, "-m", *words]
        done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr

    measured = ["benchsuite", "run", "benchmarks/study.toml", "--measure", "flops", "--name", "own"]
    run(*measured)
    (package / "model.py").write_text(MODEL.replace("WORK = 1", "WORK = 3"))
    names.append(commit(repository, "head"))
    run(*measured)
    words = ["compare", "HEAD~1", "HEAD", "--study", "own", "--measure", "flops"]
    code, out, _ = run_command(*words, "--json")
    verdicts = {row["model"]: row["verdict"] for row in json.loads(out)["cases"]}
    assert code == 1
    assert verdicts.pop("mypkg.model:make") == "higher"
    assert "higher" not in verdicts.values()

    run("asv", "machine", "--yes")
    run("asv", "run", "--set-commit-hash", names[1], "--bench", "Flops")
    run("asv", "publish")
    frame = load_asv_results(".asv/results").set_index("model")
    assert set(frame["commit"]) == {names[1]}
    assert frame.loc["mypkg.model:make", "value"] == 3 * 2 * 4 * 4 * 4
    assert (repository / ".asv/html/index.html").exists()
