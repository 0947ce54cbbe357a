"""Processes that are killed, stopped, or out of memory, for real: `make faults` runs this."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
from asv.results import iter_results
from tools import ASV, KILL, SERVER, Project


@pytest.fixture
def project(tmp_path):
    made = Project(tmp_path)
    yield made
    made.signal(KILL)


def asv_results(project, name="s"):
    (result,) = iter_results(str(project.path / ".benchsuite" / name / "asv" / "results"))
    (key,) = result.get_all_result_keys()
    return result.get_result_value(key, result.get_result_params(key))


def test_asv_killed_in_mid_run_is_started_again_and_nothing_is_measured_twice(project):
    words = project.study(models="models:slow", batches="3:10:+1")
    driver = project.start(*words)
    project.wait_for(lambda: len(project.ok()) >= 2)
    os.kill(project.process(ASV), KILL)
    out, err = driver.communicate(timeout=200)
    assert driver.returncode in {0, 1}, err
    counts = Counter(row["case"] for row in project.ok())
    assert max(counts.values()) == 1
    assert len(counts) >= 7  # the one under way was killed
    project.all_end()
    assert json.loads(project.run(*words).stdout)["ok"] == 8


@pytest.mark.parametrize("who", [ASV, SERVER])
def test_killed_as_soon_as_it_exists_nothing_stays(project, who):
    for delay in (0.0, 0.02, 0.05, 0.1, 0.3):
        driver = project.start(*project.study())
        pid = project.wait_for(lambda: project.process(who))
        time.sleep(delay)
        driver.kill()
        os.kill(pid, KILL)
        driver.communicate()
        project.all_end()


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_driver_that_ignores_interrupts_takes_all_with_it(project, sign):
    prefix = ["env", "--ignore-signal=INT"]
    short = tempfile.TemporaryDirectory()
    driver = subprocess.Popen(
        [*prefix, *project.command(*project.study(models="models:slow", batches="3:10:+1"))],
        cwd=project.path,
        env={**project.env, "TMPDIR": short.name},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    project.wait_for(project.ok)
    driver.send_signal(sign)
    driver.wait(20)
    project.all_end()
    assert len(project.ok()) < 8
    with short:
        assert not list(Path(short.name).glob("benchsuite-*"))


def test_a_stopped_tree_is_no_timeout_and_is_measured_again(project):
    driver = project.start(*project.study(models="models:waits", batches="1:2:+1", timeout=20))
    project.wait_for(lambda: [r for r in project.rows() if r.get("batch_size") == 2])
    time.sleep(1)
    tree = project.processes()
    project.signal(signal.SIGSTOP)
    time.sleep(25)
    for pid in tree:
        os.kill(pid, signal.SIGCONT)
    out, err = driver.communicate(timeout=200)
    statuses = [row["status"] for row in project.rows() if row["batch_size"] == 2]
    assert "suspended for" in err
    assert "failed" in statuses
    assert statuses.count("started") == 2  # a second attempt, by the same run
    suspended = [row for row in project.rows() if row.get("reason", "").startswith("suspended")]
    assert 20 < float(suspended[0]["reason"].split()[2]) < 40


def test_a_process_group_killed_by_a_model_costs_that_case_alone(project):
    done = project.run(*project.study(models="models:kills_its_group"))
    assert done.returncode == 1, done.stderr
    balance = json.loads(done.stdout)
    assert (balance["cases"], balance["ok"], balance["failed"]) == (4, 3, 1)
    assert "its process ended without a result (SIGKILL" in done.stderr
    project.all_end()


def test_a_process_that_fails_after_its_record_leaves_asv_its_value(project):
    done = project.run(*project.study(models="models:ends_badly", batches="1"))
    assert done.returncode == 0, done.stderr
    (row,) = project.ok()
    assert asv_results(project) == [pytest.approx(row["value"], rel=0.2)]


@pytest.fixture
def in_small_memory(project):
    """Words before a command that run it in a control group with 700 MiB of memory."""
    group = _memory_group(700 << 20)
    yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]
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


def _memory_group(limit):
    """A control group with a limit of memory, where one can be made."""
    for parent, file in (
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ("/sys/fs/cgroup", "memory.max"),
    ):
        group = Path(parent) / f"benchsuite-{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(limit))
        except OSError:
            if group.exists():
                group.rmdir()
            continue
        return group
    pytest.skip("no control group for memory can be made here (needs root)")
