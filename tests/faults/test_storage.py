"""Storage that fails, locks that do not lock, and planted files, for real: `make faults`."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from tools import Project

pytestmark = pytest.mark.faults


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path)
    yield made
    made.end()


def one_line(done, *words, code=1):
    """Assert that a command ended with one line of error that has the words."""
    assert done.returncode == code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in line


def test_four_studies_at_once_and_a_poisoned_machine_file(project, tmp_path):
    poisoned = tmp_path / "user" / ".asv-machine.json"
    poisoned.parent.mkdir()
    poisoned.write_text("[" * 5000)
    env = {"HOME": str(poisoned.parent)}
    runs = [project.start(*project.study(f"s{k}", batches="1"), **env) for k in range(4)]
    for run in runs:
        _, err = run.communicate()
        assert run.returncode == 0, err
    assert poisoned.read_text() == "[" * 5000
    for k in range(4):
        results = project.path / ".benchsuite" / f"s{k}" / "asv" / "results"
        assert json.loads((results / "testbed" / "machine.json").read_text())["num_cpu"]


def test_a_poisoned_description_of_the_machine_is_replaced(project):
    words = project.study(batches="1")
    file = project.path / ".benchsuite" / "s" / "asv" / "results" / "testbed" / "machine.json"
    file.parent.mkdir(parents=True)
    for text in ("[" * 5000, '{"machine": 3}', ""):
        file.write_text(text)
        assert project.run(*words, "--fresh").returncode == 0
        assert json.loads(file.read_text())["machine"] == "testbed"


@pytest.mark.parametrize("fault", ["ENOTSUP", "ENOLCK", "ENOSYS", "granted"])
def test_three_runs_at_once_without_a_lock_that_works(project, fault):
    words = project.study(models="models:gated", batches="1,2")
    runs = [project.start(*words, FAULT_FLOCK=fault) for _ in range(3)]
    project.wait_for(lambda: sum(run.poll() is not None for run in runs) >= 2)
    project.reached()
    project.open_gate()
    ends = [(run.communicate()[1], run.returncode) for run in runs]
    assert sorted(code for _, code in ends) == [0, 1, 1], ends
    for err, code in ends:
        assert code == 0 or "is being run by process" in err, err
    assert project.ok() == [1, 2]
    assert not (project.path / ".benchsuite" / "s" / ".running").exists()


def test_the_file_of_a_killed_run_does_not_lock_the_next(project):
    words = project.study(models="models:gated", batches="1,2")
    first = project.start(*words, FAULT_FLOCK="ENOTSUP")
    project.reached()
    lock = project.path / ".benchsuite" / "s" / ".running"
    assert lock.exists()
    first.kill()
    first.communicate()
    project.all_end()
    assert lock.exists()
    project.open_gate()
    assert project.run(*words, FAULT_FLOCK="ENOTSUP").returncode == 0
    lock.write_text(json.dumps({"pid": 1, "began": "1", "host": "another"}))
    again = project.run(*words, FAULT_FLOCK="ENOTSUP")
    one_line(again, "process 1 on 'another'", f"if it has ended, remove {lock}")


def test_flushing_that_fails_is_reported_with_its_cause(project, tmp_path):
    words = project.study(models="models:gated", batches="1:9:+1")
    switch = tmp_path / "broken"
    run = project.start(*words, FAULT_FSYNC="EIO", FAULT_FROM=str(switch))
    project.reached()
    switch.touch()
    project.open_gate()
    _, err = run.communicate()
    assert run.returncode == 1
    assert "cannot write to" in err
    assert "Input/output error" in err
    assert "Traceback" not in err
    assert not [row for row in project.rows() if row["batch_size"] > 5]  # it stopped there


def test_a_record_file_made_immutable_in_mid_run(project):
    file = project.records()
    run = project.start(*project.study(models="models:gated", batches="1:9:+1"))
    project.reached()
    if not shutil.which("chattr") or subprocess.run(["chattr", "+i", file]).returncode:
        pytest.skip("chattr +i does not work here (needs root, and a file system that has it)")
    try:
        project.open_gate()
        _, err = run.communicate()
        assert run.returncode == 1
        assert f"cannot write to {file}: Operation not permitted (lsattr shows" in err
        assert "Traceback" not in err
    finally:
        subprocess.run(["chattr", "-i", file], check=True)


FOREIGN = [
    *(b"[]\n", b"[" * 100_000 + b"\n", b'{"uid": 1}\n', b"\xff\xfe\n", b"9" * 5000 + b"\n"),
    *(b'{"uid": "x", "status": "ok", "schema": 2, "value": [1]}\n', b"\x00" * 100 + b"\n"),
]


def test_foreign_lines_in_mid_run_are_skipped(project):
    words = project.study(models="models:gated", batches="1:3:+1")
    run = project.start(*words)
    project.reached()
    with project.records().open("ab") as file:
        file.write(b"".join(FOREIGN))
    project.open_gate()
    out, err = run.communicate()
    assert run.returncode == 0, err
    assert json.loads(out)["ok"] == 3
    shown = project.run("report", "s", "--json")
    assert shown.returncode == 0, shown.stderr
    assert "not a record" in shown.stderr
    assert json.loads(project.run(*words).stdout)["reused"] == 3


INODES = """
set -e
mount -t tmpfs -o nr_inodes=64,size=64m none "$1"
free=$2 where=$1
shift 2
n=$(df --output=iavail "$where" | tail -1)
while [ "$n" -gt "$free" ]; do touch "$where/fill-$n"; n=$((n - 1)); done
exec "$@"
"""


@pytest.mark.parametrize("free", [0, 1, 3, 6, 9, 40])
def test_few_inodes_left(project, tmp_path, free):
    place = tmp_path / "results"
    place.mkdir()
    mount = ["unshare", "-m", "mount", "-t", "tmpfs", "none", place]
    if not shutil.which("unshare") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here (needs root)")
    prefix = ["unshare", "-m", "sh", "-c", INODES, "sh", str(place), str(free)]
    words = project.study(models="lstm", batches="1:2:+1")
    done = project.run(*words, "--home", str(place), prefix=prefix)
    if free > 20:
        assert done.returncode == 0, done.stderr
    else:
        code = 2 if "No space left on device" in done.stderr else 1
        one_line(done, "--home", code=code)
        assert "inodes" in done.stderr or "No space left" in done.stderr


def test_a_temporary_directory_with_a_long_path(project, tmp_path):
    long = tmp_path / ("t" * 100) / ("u" * 100)
    long.mkdir(parents=True)
    done = project.run(*project.study(batches="1"), TMPDIR=str(long))
    assert done.returncode == 0, done.stderr


PLANTED = "import pathlib\npathlib.Path({!r}).touch()\n"


def test_nothing_is_executed_from_results(project, tmp_path):
    seen = tmp_path / "executed"
    home = project.path / ".benchsuite" / "s"
    names = ["measures", "evil", "json", "copy", "sitecustomize", "__init__"]
    for folder in (home / "asv", home / "asv" / "benchmarks", home):
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / f"{name}.py").write_text(PLANTED.format(str(seen)))
    done = project.run(*project.study(batches="1"))
    assert done.returncode == 0, done.stderr
    assert not seen.exists()


@pytest.mark.parametrize(
    "name",
    ["study.toml", ".lock", ".gitignore", "records.jsonl", "asv", "asv/asv.log", "asv/results"],
)
def test_a_symbolic_link_among_results_is_refused(project, tmp_path, name):
    target = tmp_path / "target"
    if name in {"asv", "asv/results"}:
        target.mkdir()
    else:
        target.write_text("mine")
    link = project.path / ".benchsuite" / "s" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(target)
    one_line(project.run(*project.study(batches="1")), f"{link} is a symbolic link", code=2)
    assert list(target.iterdir()) == [] if target.is_dir() else target.read_text() == "mine"


def test_a_symbolic_link_in_a_report_is_replaced(project, tmp_path):
    assert project.run(*project.study(batches="1")).returncode == 0
    target = tmp_path / "target"
    target.write_text("mine")
    directory = project.path / ".benchsuite" / "s" / "report"
    directory.mkdir()
    for name in ("summary.md", "index.html", "records.csv", "records.parquet"):
        (directory / name).symlink_to(target)
    assert project.run("report", "s").returncode == 0
    assert target.read_text() == "mine"
    assert not (directory / "summary.md").is_symlink()
