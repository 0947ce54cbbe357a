"""One function in a separate process, with a time limit.

A hang, a crash or an exception there ends that process alone and is reported in one line.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from benchsuite.errors import BenchsuiteError, described

#: Spawned and not forked: the function may need CUDA, and this process may have threads.
_SPAWN = multiprocessing.get_context("spawn")
#: Seconds for a process to exit after its function has returned.
_EXIT_SECONDS = 10.0


def call_in_child(function: Callable[..., object], *arguments: Any, limit: float) -> None:
    """Call a function in a new process and wait for it.

    What the process prints is not shown. It starts in the working directory, with this process's
    import path; a script that calls this needs the usual `if __name__ == "__main__"` guard.

    Args:
        function: Importable under its module and name, as pickling requires.
        arguments: Picklable values.
        limit: Seconds after which the process is killed, its start included.

    Raises:
        BenchsuiteError: with the reason, if the function raised an exception, the process ended
            without a result, or the limit has passed.
    """
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as directory:
        output = Path(directory) / "output"
        output.touch()
        receiver, sender = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_run, args=(sender, str(output), function, arguments))
        with receiver:
            with sender:
                process.start()
            try:
                reason = _answer(receiver, process, limit, output)
            finally:
                process.kill()
                process.join()
                process.close()
    if reason:
        raise BenchsuiteError(reason)


def _answer(receiver: Connection, process: SpawnProcess, limit: float, output: Path) -> str:
    """Why the function did not return; empty if it did."""
    if not receiver.poll(limit):
        return f"given up after {limit:g} s"
    try:
        reason = str(receiver.recv())
    except EOFError:  # the pipe was closed by the end of the process
        process.join(_EXIT_SECONDS)
        return _end_of(process, output)
    process.join(_EXIT_SECONDS)
    return reason


def _end_of(process: SpawnProcess, output: Path) -> str:
    """The end of a process that sent no answer, and the last line that it printed."""
    code = process.exitcode
    if code is None:
        end = "its process closed the connection"
    elif code < 0:
        end = f"its process was killed by {signal.Signals(-code).name}"
    else:
        end = f"its process ended with exit code {code}"
    lines = output.read_text("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{end}: {last}" if last else end


def _run(
    sender: Connection, output: str, function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    """Body of the child: call the function, and send why it failed, or an empty text."""
    with open(output, "wb") as file:  # noqa: PTH123 - its descriptor is all that is needed
        for standard in (1, 2):
            os.dup2(file.fileno(), standard)
    try:
        function(*arguments)
    except Exception as error:  # a model from outside may fail in any way
        sender.send(described(error))
    else:
        sender.send("")
