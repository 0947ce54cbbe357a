"""The workflows parse, and the one that runs foreign code has nothing to lose."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name):
    text = (WORKFLOWS / f"{name}.yml").read_text()
    found = yaml.safe_load(text)
    found["on"] = found.pop(True)  # YAML 1.1 reads `on` as a truth value
    steps = [step for job in found["jobs"].values() for step in job["steps"]]
    return text, found, steps


def test_foreign_code_runs_without_rights():
    text, found, steps = workflow("benchmark")
    assert set(found["on"]) == {"pull_request"}
    assert found["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    checkouts = [step["with"] for step in steps if "checkout" in step.get("uses", "")]
    assert len(checkouts) == 2
    assert not any(step["persist-credentials"] for step in checkouts)


def test_the_comment_runs_no_foreign_code():
    text, found, steps = workflow("benchmark-comment")
    assert set(found["on"]) == {"workflow_run"}
    assert found["on"]["workflow_run"]["workflows"] == [workflow("benchmark")[1]["name"]]
    assert "contents" not in found["permissions"]
    assert not any("uses" in step for step in steps)
    assert "secrets." not in text


@pytest.mark.parametrize("name", ["benchmark", "benchmark-comment"])
def test_scripts_are_valid_and_take_no_text_from_events(name):
    _, found, steps = workflow(name)
    for step in steps:
        if "run" in step:
            assert "${{" not in step["run"]
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
    assert all("permissions" not in job for job in found["jobs"].values())


def test_the_comparison_needs_two_checkouts(tmp_path):
    script = ROOT / ".ci" / "compare"
    subprocess.run(["bash", "-n", str(script)], check=True)
    done = subprocess.run(
        [str(script), str(tmp_path / "absent"), str(tmp_path), "out"],
        cwd=tmp_path,
        capture_output=True,
        timeout=20,
    )
    assert done.returncode != 0
    assert not (tmp_path / "out").exists()
