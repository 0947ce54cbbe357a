"""Commands that run several models: each in a child process, so that none changes the next.

A model's module may set torch's default dtype, device or threads, replace functions, change the
working directory or handle signals. All of it ends with the child, as does a crash.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn, TypeVar, cast

from benchsuite.catalog.registry import exit_argument
from benchsuite.cli._app import EXIT_INTERRUPTED, say
from benchsuite.errors import BenchsuiteError

T = TypeVar("T")

_PR_SET_PDEATHSIG = 1
#: Bytes of output that are read at once.
_BLOCK = 1 << 16


def in_child(
    function: Callable[[Callable[[Any], None]], T],
    on_report: Callable[[Any], None] = lambda _: None,
) -> T:
    """Call a function in a forked process and wait for its result.

    What is printed there is shown on standard error, so that standard output has results alone.
    Intra-op threads of torch are set to one in this process: one that has started OpenMP's threads
    must not fork.

    Args:
        function: Called with a function that sends a value to `on_report`. Result and values must
            be picklable.
        on_report: Called in this process with each value that was sent.

    Raises:
        BenchsuiteError: the function's own; or with the type and message of another exception, or
            how the process ended if it gave no result.
    """
    import torch

    torch.set_num_threads(1)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # else the child would write what is buffered a second time
    messages, to_parent = Pipe(duplex=False)
    output, to_output = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which do not compute
        pid = os.fork()
    if pid == 0:
        _run(function, to_parent, to_output)
    to_parent.close()
    os.close(to_output)
    follower = _Follower(messages, output, on_report)
    try:
        follower.follow(pid)
    except BaseException:  # Ctrl-C, above all
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        messages.close()
        os.close(output)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if follower.answer is None:
        raise BenchsuiteError(_ended(code, follower.last_line))
    kind, value = follower.answer
    if kind == "error":
        raise cast("BenchsuiteError", value)
    return cast("T", value)


def _ended(code: int, last_line: str) -> str:
    """How a process ended that gave no result, and the last line that it printed."""
    if code < 0:
        end = f"its process was killed by {signal.Signals(-code).name}"
    else:
        end = f"its process ended with exit code {code} and without a result"
    return f"{end}: {last_line[:200]}" if last_line else end


class _Follower:
    """Takes what a child sends and prints, until it ends."""

    def __init__(self, messages: Connection, output: int, on_report: Callable[[Any], None]) -> None:
        self.answer: tuple[str, Any] | None = None
        self.last_line = ""
        self._messages, self._output, self._on_report = messages, output, on_report
        self._line = b""

    def follow(self, pid: int) -> None:
        """Return when the process has ended; processes that it has left behind do not count."""
        process = os.pidfd_open(pid)
        sources: list[Any] = [self._messages, self._output, process]
        try:
            while True:
                ready = wait(sources)
                for source, take in ((self._messages, self._message), (self._output, self._print)):
                    if source in ready and not take():
                        sources.remove(source)
                if ready == [process]:
                    break
        finally:
            os.close(process)
        if self._line:
            self._show(self._line)

    def _message(self) -> bool:
        try:
            kind, value = pickle.loads(self._messages.recv_bytes())
        except EOFError:
            return False
        if kind == "report":
            self._on_report(value)
        else:
            self.answer = kind, value
        return True

    def _print(self) -> bool:
        data = os.read(self._output, _BLOCK)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._show(line)
        return bool(data)

    def _show(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        self.last_line = text.strip() or self.last_line
        say(text)


def _run(
    function: Callable[[Callable[[Any], None]], object], messages: Connection, output: int
) -> NoReturn:
    """The child: call the function and send its result, or why there is none."""

    def send(kind: str, value: object) -> None:
        messages.send_bytes(pickle.dumps((kind, value)))

    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for standard in (1, 2):
            os.dup2(output, standard)
        printed = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        sys.stdout = sys.stderr = printed
        send("result", function(lambda value: send("report", value)))
        code = 0
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except BenchsuiteError as error:
        send("error", error)
    except SystemExit as error:
        send("error", BenchsuiteError(f"the model has called sys.exit({exit_argument(error)})"))
    except BaseException as error:  # a model from outside may fail in any way
        words = " ".join(str(error).split())
        send("error", BenchsuiteError(f"{type(error).__name__}: {words}"[:300]))
    finally:
        os._exit(code)  # without what this process would do at its end
