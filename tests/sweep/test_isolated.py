"""Functions in child processes: results, reports, exceptions, ends and limits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchsuite.cli import field, train
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError
from benchsuite.sweep.launchers import isolated
from benchsuite.sweep.launchers.isolated import Children


@pytest.fixture(scope="module")
def children():
    with Children(__name__) as started:
        yield started


def where():
    """Where it runs; it prints too."""
    print("printed")
    return os.getpid(), os.getppid(), Path.cwd()


def change(name):
    """Changes the process; what it finds."""
    before = os.environ.get(name)
    os.environ[name] = "changed"
    return before


def crash():
    print("last\nwords\n", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(code):
    os._exit(code)


def close():
    """Closes what it was given, and stays."""
    os.closerange(3, 256)
    time.sleep(600)


def fail(error):
    raise error


def unpicklable():
    return lambda: None


def count(number, report):
    for value in range(number):
        report(np.full(1000, value))
    return number


def shout(number):
    for _ in range(number):
        print("x" * 1000)
    return number


def hang(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def leave_a_process():
    return subprocess.Popen(["sleep", "600"]).pid


def fork():
    """Returns in two processes."""
    os.fork()
    return os.getppid()


def kill_the_server():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def uses_cuda():
    import torch

    loaded = {"benchsuite.learning.trainer", isolated.FIRST_STEP} <= set(sys.modules)
    return torch.cuda.is_initialized(), loaded, len([*Path(f"/proc/{os.getppid()}/task").iterdir()])


def first_steps():
    """What a training step imports that was not there before."""
    import torch

    before = set(sys.modules)
    layer = torch.nn.LSTM(2, 2)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(3, 1, 2))[0].sum().backward()
    optimizer.step()
    return len(set(sys.modules) - before)


def gone(pid):
    """Whether a process has ended; one that nobody has waited for has ended, too."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_each_call_has_a_process_in_the_same_directory(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with Children("absent_module") as started:
        first, second = started.call(where), started.call(where)
    assert len({os.getpid(), first[0], second[0], first[1]}) == 4
    assert first[1] == second[1]
    assert first[2] == second[2] == tmp_path
    assert capfd.readouterr() == ("", "")
    assert gone(first[1])


def test_a_call_changes_neither_the_next_nor_this_process(children):
    assert [children.call(change, "CHANGED") for _ in range(2)] == [None, None]
    assert "CHANGED" not in os.environ


@pytest.mark.parametrize(
    ("call", "kind", "reason"),
    [
        ((fail, UsageError("bad value 3")), UsageError, "bad value 3"),
        ((fail, Unsupported("no")), Unsupported, "no"),
        ((fail, ValueError("over\ntwo lines")), BenchsuiteError, "ValueError: over two lines"),
        (
            (fail, SystemExit(3)),
            BenchsuiteError,
            "the code that was run has called sys.exit(3)",
        ),
        ((fail, KeyboardInterrupt()), BenchsuiteError, "KeyboardInterrupt: no message"),
        ((crash,), BenchsuiteError, "its process was killed by SIGSEGV: words"),
        ((leave, 3), BenchsuiteError, "its process ended with exit code 3"),
        (
            (kill_the_server,),
            BenchsuiteError,
            "the process that starts the others was killed by SIGKILL",
        ),
    ],
)
def test_a_failure_is_one_line_and_the_next_call_works(children, call, kind, reason):
    with pytest.raises(BenchsuiteError) as failure:
        children.call(*call)
    assert type(failure.value) is kind
    assert str(failure.value) == reason
    assert children.call(where)[2] == Path.cwd()


def test_a_result_that_cannot_be_sent_is_a_failure(children):
    with pytest.raises(BenchsuiteError, match="pickle"):
        children.call(unpicklable)


def test_a_function_that_closes_its_connection_is_ended(children):
    with pytest.raises(BenchsuiteError, match=r"^its process was killed by SIGKILL$"):
        children.call(close)


def test_no_server_uses_cuda_before_it_forks():
    """A child may use it, which would fail in a fork of a process that has."""
    with Children(*train._MODULES, *field._MODULES, isolated.FIRST_STEP) as started:
        assert started.call(uses_cuda) == (False, True, 1)
        assert started.call(first_steps) < 50


def test_reports_arrive_in_order_before_the_result(children):
    seen = []
    assert children.call(count, 300, on_report=seen.append) == 300
    assert [array[0] for array in seen] == list(range(300))


def test_much_output_does_not_block(children):
    assert children.call(shout, 3000) == 3000


def test_processes_that_a_function_leaves_end(children):
    assert gone(children.call(leave_a_process))


def test_a_function_that_returns_twice_answers_once(children):
    server = children.call(where)[1]
    assert children.call(fork) == server
    assert children.call(change, "CHANGED") is None


def test_a_process_that_hangs_is_killed(tmp_path):
    with Children() as started:
        with pytest.raises(BenchsuiteError, match=r"^given up after 2.5 s$"):
            started.call(hang, str(tmp_path / "pid"), limit=2.5)
        assert started.call(where)[2] == Path.cwd()
    if (tmp_path / "pid").exists():  # it may not have come so far on a busy machine
        assert gone((tmp_path / "pid").read_text())


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_their_parent(tmp_path, sign):
    code = "from benchsuite.sweep.launchers.isolated import Children\n"
    code += f"from {__name__} import hang\n"
    code += f"with Children() as started: started.call(hang, {str(tmp_path / 'pid')!r})"
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}
    ) as parent:
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.02)
        parent.send_signal(sign)
    assert gone((tmp_path / "pid").read_text())


@pytest.mark.parametrize(
    ("kills", "words"),
    [
        ((0, 0), "was killed by SIGKILL: x"),
        ((0, 1), "was killed by the kernel for lack of memory: x"),
        ((None, 1), "was killed by SIGKILL, possibly by the kernel for lack of memory: x"),
    ],
)
def test_the_kernels_killer_is_named(kills, words):
    assert isolated._end(-signal.SIGKILL, b"x\n\n", kills) == f"its process {words}"
