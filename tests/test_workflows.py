"""The workflows parse, and the one that runs foreign code has nothing to lose."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from benchsuite.scaffold.plan import scaffold

ROOT = Path(__file__).parent.parent
WORKFLOWS = ROOT / ".github" / "workflows"


def workflow(name):
    return parsed((WORKFLOWS / f"{name}.yml").read_text())


def parsed(text):
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


def test_groups_of_the_tests():
    text, found, steps = workflow("tests")
    assert found["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    groups = [step["run"].split()[1] for step in steps if "run" in step]
    assert groups == ["lint", "test", "oracles", "faults"]
    assert "set -- lint test oracles\n" in (ROOT / ".ci" / "run").read_text()  # without arguments
    targets = (ROOT / "Makefile").read_text()
    assert all(f"\n{group}: " in targets for group in groups)


@pytest.mark.parametrize("name", ["benchmark", "benchmark-comment", "tests"])
def test_scripts_are_valid_and_take_no_text_from_events(name):
    _, found, steps = workflow(name)
    for step in steps:
        if "run" in step:
            assert "${{" not in step["run"]
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
    assert all("permissions" not in job for job in found["jobs"].values())


def test_a_repository_of_ones_own_gets_a_workflow_as_careful(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'own'\n")
    text, found, steps = parsed(scaffold(tmp_path, []).files[".github/workflows/benchmark.yml"])
    jobs = found["jobs"]
    assert set(found["on"]) == {"pull_request"}
    assert found["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    for step in steps:
        if "run" in step:
            assert "${{" not in step["run"]
            subprocess.run(["bash", "-n", "-c", step["run"]], check=True)
    assert "permissions" not in jobs["compare"]
    assert not any("GH_TOKEN" in str(step) for step in jobs["compare"]["steps"])
    assert jobs["compare"]["steps"][0]["with"]["persist-credentials"] is False
    assert jobs["comment"]["permissions"] == {"pull-requests": "write"}
    used = [step["uses"] for step in jobs["comment"]["steps"] if "uses" in step]
    assert used == ["actions/download-artifact@v4"]


def test_a_summary_cannot_close_the_fence_it_is_posted_in(tmp_path):
    (step,) = workflow("benchmark-comment")[2]
    (line,) = [line for line in step["run"].splitlines() if "head -c" in line]
    (tmp_path / "out").mkdir()
    summary = b"**latency**\n\n~~~text\nslower a~b\n~~~\n  ~~~~~~~~~\nx\r~~~~~~~~\r\n@all\n"
    (tmp_path / "out" / "summary.md").write_bytes(summary)
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"**latency**\n\nslower a~b\nx~~~~~~~~\n@all\n"


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


#: In place of Python: a file of each side states what it leaves and what the comparison finds.
STUB = """\
#!/bin/sh
case "$3" in
  run) shift 7; mkdir -p "$2/pull"; cat left >> "$2/pull/records.jsonl"; exit 1 ;;
  compare) cat verdict; exit "$(cat code)" ;;
esac
"""
OK = '{"measure":"latency","status":"ok"}\n'


@pytest.mark.parametrize(
    ("left", "verdict", "code", "expected", "words"),
    [
        (OK, "latency: 1 cannot tell", 0, 0, "latency: 1 cannot tell"),
        (OK, "latency: 1 slower, 1 missing", 1, 1, "1 slower"),
        (OK, "error: the head has no records", 2, 2, "no records"),
        ("", "", 0, 2, "run 1 of the head left no records"),
    ],
)
def test_a_head_that_is_broken_is_not_green(tmp_path, left, verdict, code, expected, words):
    for side, records in (("base", OK), ("head", left)):
        subprocess.run(["git", "init", "-q", tmp_path / side], check=True)
        git = ["git", "-C", tmp_path / side, "-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run([*git, "commit", "-qm", "start", "--allow-empty"], check=True)
        for name, text in (("left", records), ("verdict", verdict + "\n"), ("code", str(code))):
            (tmp_path / side / name).write_text(text)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(STUB)
    (tmp_path / "bin" / "python").chmod(0o755)

    def compare(*runs):
        return subprocess.run(
            [ROOT / ".ci" / "compare", "base", "head", "out", *runs],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=20,
        )

    for runs in ("0", "-1", "x"):
        refused = compare(runs)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert f"RUNS is '{runs}'" in refused.stderr
    done = compare("1")
    assert done.returncode == expected
    assert words in done.stdout + done.stderr
    again = compare("1")
    assert again.returncode == 2
    assert "holds the runs of another comparison" in again.stderr
