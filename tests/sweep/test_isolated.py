"""A function in a separate process: its result, its exceptions, its end and its limit."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.sweep.launchers.isolated import call_in_child


def write(path):
    """Writes where it runs, and prints."""
    print("printed")
    Path(path).write_text(f"{os.getpid()} {Path.cwd()}")


def hang(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def crash():
    print("last\nwords\n", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def leave():
    os._exit(3)


def fail(error):
    raise error


def test_the_function_runs_elsewhere_in_the_same_directory(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    call_in_child(write, str(tmp_path / "found"), limit=120)
    pid, directory = (tmp_path / "found").read_text().split()
    assert int(pid) != os.getpid()
    assert directory == str(tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ((fail, UsageError("bad value 3")), "bad value 3"),
        ((fail, ValueError("over\ntwo lines")), "ValueError: over two lines"),
        ((crash,), "its process was killed by SIGSEGV: words"),
        ((leave,), "its process ended with exit code 3"),
    ],
)
def test_a_failure_is_one_line(call, reason):
    with pytest.raises(BenchsuiteError) as failure:
        call_in_child(*call, limit=120)
    assert str(failure.value) == reason


def test_a_process_that_hangs_is_killed(tmp_path):
    with pytest.raises(BenchsuiteError, match=r"^given up after 2.5 s$"):
        call_in_child(hang, str(tmp_path / "pid"), limit=2.5)
    if (tmp_path / "pid").exists():  # it may not have come so far on a busy machine
        assert not Path("/proc", (tmp_path / "pid").read_text()).exists()
