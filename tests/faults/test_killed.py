"""Processes that are killed, stopped, or out of memory, for real: `make faults` runs this."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from asv.results import iter_results
from early_interrupt import MODULE, interrupted, outcome
from tools import ASV, KILL, SERVER, Project

pytestmark = pytest.mark.faults


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path)
    yield made
    made.end()


def asv_results(project, name="s"):
    (result,) = iter_results(str(project.path / ".benchsuite" / name / "asv" / "results"))
    (key,) = result.get_all_result_keys()
    return result.get_result_value(key, result.get_result_params(key))


def test_asv_killed_in_mid_run_is_started_again_and_nothing_is_measured_twice(project):
    words = project.study(models="models:gated")
    driver = project.start(*words)
    project.reached()
    os.kill(project.process(ASV), KILL)
    project.open_gate()
    out, err = driver.communicate()
    assert driver.returncode == 1, err
    assert project.ok() == [1, 3, 4]  # the one under way was killed
    project.all_end()
    assert json.loads(project.run(*words).stdout)["ok"] == 4
    assert sorted(project.ok()) == [1, 2, 3, 4]


@pytest.mark.parametrize("who", [ASV, SERVER])
def test_killed_as_soon_as_it_exists_nothing_stays(project, who):
    for delay in (0.0, 0.05, 0.2):  # moments of its start, which no event marks
        driver = project.start(*project.study())
        pid = project.wait_for(lambda: project.process(who))
        time.sleep(delay)
        driver.kill()
        os.kill(pid, KILL)
        driver.communicate()
        project.all_end()


@pytest.mark.parametrize("who", [ASV, SERVER])
def test_killed_while_a_case_is_measured_nothing_stays(project, who):
    driver = project.start(*project.study(models="models:gated"))
    project.reached()
    pid = project.process(who)
    driver.kill()
    os.kill(pid, KILL)
    driver.communicate()
    project.all_end()
    assert project.ok() == [1]


IGNORING = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]


@pytest.mark.parametrize("sign", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_a_driver_that_ignores_interrupts_takes_all_with_it(project, sign):
    with tempfile.TemporaryDirectory() as short:
        words = project.study(models="models:gated")
        driver = project.start(*words, prefix=IGNORING, TMPDIR=short)
        project.reached()
        driver.send_signal(signal.Signals[sign])
        driver.communicate(timeout=20)
        project.all_end()
        assert project.ok() == [1]
        assert not list(Path(short).glob("benchsuite-*"))


def test_a_stopped_tree_is_no_timeout_and_is_measured_again(project):
    limit = 8
    driver = project.start(*project.study(models="models:gated", batches="1,2", timeout=limit))
    project.reached()
    tree = project.processes()
    project.signal(signal.SIGSTOP)
    time.sleep(limit + 3)  # the fault itself: as long as a paused container
    project.open_gate()
    for pid in tree:
        os.kill(pid, signal.SIGCONT)
    out, err = driver.communicate()
    assert driver.returncode == 0, err
    rows = [row for row in project.rows() if row["batch_size"] == 2]
    assert [row["status"] for row in rows] == ["started", "failed", "started", "ok"]
    words = rows[1]["reason"].split()
    assert words[:2] == ["suspended", "for"]
    assert limit < float(words[2]) < 5 * limit


def test_a_process_group_killed_by_a_model_costs_that_case_alone(project):
    done = project.run(*project.study(models="models:kills_its_group"))
    assert done.returncode == 1, done.stderr
    assert project.ok() == [1, 3, 4]
    assert "its process ended without a result (SIGKILL" in done.stderr
    project.all_end()


def test_a_process_that_fails_after_its_record_leaves_asv_its_value(project):
    done = project.run(*project.study(models="models:ends_badly", batches="1"))
    assert done.returncode == 0, done.stderr
    (value,) = [row["value"] for row in project.rows() if row["status"] == "ok"]
    assert asv_results(project) == [pytest.approx(value, rel=0.2)]


@pytest.fixture
def in_small_memory(project):
    """Words before a command that run it in a control group with 700 MiB of memory."""
    group = memory_group(700 << 20)
    yield entering(group)
    project.signal(KILL)
    project.all_end()
    group.rmdir()


def test_the_kernels_killer_is_out_of_memory(project, in_small_memory):
    done = project.run(*project.study(models="models:fills_shared_memory"), prefix=in_small_memory)
    assert done.returncode == 1, done.stderr
    (row,) = [row for row in project.rows() if row["status"] not in {"started", "ok"}]
    assert (row["status"], row["batch_size"]) == ("oom", 2)
    assert row["reason"] == "killed by the kernel for lack of memory"
    assert json.loads(done.stdout)["ok"] == 3


def test_the_kernels_killer_ends_one_training(project, in_small_memory):
    words = ["train", "delay", "models:fills_shared_memory", "lstm", "-t", "lag=2", "--steps", "2"]
    words += ["-a", "batch_size=2", "-a", "seq_len=16", "-a", "hidden_size=4", "--json"]
    done = project.run(*words, prefix=in_small_memory)
    assert done.returncode == 1, done.stderr
    killed, other = json.loads(done.stdout)["runs"]
    assert killed["reason"] == "its process was killed by the kernel for lack of memory"
    assert (killed["status"], other["status"]) == ("failed", "ok")


def entering(group):
    """A prefix that runs a command in a control group."""
    return ["sh", "-ec", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]


def memory_group(limit):
    """A control group with a limit of memory and without swap, where one can be made and used."""
    problem = ""
    for parent, file, swap in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.swappiness"),
        ("/sys/fs/cgroup", "memory.max", "memory.swap.max"),
    ):
        group = Path(parent) / f"benchsuite-{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(limit))
            if (group / swap).exists():
                (group / swap).write_text("0")
            subprocess.run([*entering(group), "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            problem = str(error)
            if group.exists():
                group.rmdir()
            continue
        return group
    pytest.skip(f"no control group for memory can be used here ({problem}; needs root)")


def test_interrupts_of_the_first_moments_are_no_tracebacks():
    delays = (0, 0.02, 0.05, 0.1, 0.2, 0.4)
    ends = {delay: outcome(*interrupted(MODULE, delay)) for delay in delays}
    assert "traceback" not in ends.values(), ends
