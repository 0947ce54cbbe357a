"""Functions called in child processes, one after another: none changes the next, or this process.

A server process imports what the functions need and forks a child for each call. The function runs
code of models, which may set torch's defaults, replace functions, change the working directory,
print, hang or crash. The server runs none of it, and all of it ends with the child.
"""

from __future__ import annotations

import importlib
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

from benchsuite.catalog.registry import exit_argument
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError, described
from benchsuite.sweep import processes

#: Imported by torch at a model's first step, for longer than torch itself. A server for several
#: models imports it once; for one model it would gain nothing, and delay errors.
FIRST_STEP = "torch._dynamo"
#: Kinds of messages, each the first byte of one.
_REPORT, _VALUE, _ERROR, _END = b"r", b"v", b"e", b"x"
#: Errors that arrive as what they are; any other becomes a `BenchsuiteError`.
_ERRORS: tuple[type[BenchsuiteError], ...] = (UsageError, Unsupported, BenchsuiteError)
#: Seconds between two looks at whether a child has ended.
_LOOK_SECONDS = 0.2
#: Seconds for a child to end after it has closed its connection, and for the server to end.
_CLOSED_SECONDS, _STOP_SECONDS = 1.0, 10.0
#: Bytes of output that are read at once, and kept for the last line.
_BLOCK, _KEPT = 1 << 16, 4096
#: Longest last line of output that a reason repeats, in characters.
_LONGEST_LINE = 200
#: What the server runs: arguments are its descriptor, its parent's process id, the modules to
#: import, and this process's import path after an empty argument.
_SERVER = (
    "import sys; own, sys.path[:] = sys.argv[1:sys.argv.index('', 1)],"
    " sys.argv[sys.argv.index('', 1) + 1:];"
    f" from {__name__} import serve; serve(*own)"
)


class Children:
    """Calls functions in child processes; a context manager that ends them.

    The server starts with the first call, in the working directory and with the import path of
    that moment. Processes end with their parent, even if it is killed.

    Args:
        modules: Names of modules that the server imports before it forks. They must not start
            threads or use CUDA.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules
        self._server: tuple[subprocess.Popen[bytes], Connection] | None = None

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        limit: float | None = None,
        on_report: Callable[[Any], None] | None = None,
    ) -> Any:
        """Call a function in a new child process and wait for its result.

        What is printed there is not shown. Processes that the child has started end with it.

        Args:
            function: Importable under its module and name, as pickling requires. The result must
                be picklable too.
            arguments: Picklable values.
            limit: Seconds after which the child is killed; the start of the server is included.
            on_report: Called in this process with each value that the function reports. The
                function then receives another argument, `report`, to be called with a value.

        Raises:
            UsageError: if the function raised one.
            Unsupported: if the function raised one.
            BenchsuiteError: with the reason, if the function raised another exception, the process
                ended without a result, or the limit has passed.
        """
        deadline = math.inf if limit is None else time.monotonic() + limit
        request = pickle.dumps((function, arguments, on_report is not None))
        try:
            answer = self._answer(request, deadline, on_report)
        except (EOFError, ConnectionError):
            assert self._server is not None
            code = self._server[0].wait()
            self.stop()
            raise BenchsuiteError(f"the process that starts the others {_end_of(code)}") from None
        except BaseException:  # above all Ctrl-C: nobody would read the answer to come
            self.stop()
            raise
        if answer is None:
            self.stop()
            raise BenchsuiteError(f"given up after {limit:g} s")
        return _result(*answer)

    def _answer(
        self, request: bytes, deadline: float, on_report: Callable[[Any], None] | None
    ) -> tuple[bytes, Any] | None:
        """Kind and content of the answer to a request; None if the deadline has passed."""
        connection = self._connected()
        connection.send_bytes(request)
        while connection.poll(
            None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        ):
            message = connection.recv_bytes()
            kind, content = message[:1], pickle.loads(message[1:])
            if kind != _REPORT:
                return kind, content
            if on_report is not None:
                on_report(content)
        return None

    def stop(self) -> None:
        """End the server and the child under way, if there are any."""
        if self._server is None:
            return
        (server, connection), self._server = self._server, None
        connection.close()
        server.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):  # a server that was stopped
                server.wait(_STOP_SECONDS)
        finally:  # also after a second Ctrl-C
            server.kill()
            server.wait()

    def _connected(self) -> Connection:
        """The connection to the server, which is started if it is not running."""
        if self._server is not None and self._server[0].poll() is None:
            return self._server[1]
        self.stop()
        connection, other = Pipe()
        own = [str(other.fileno()), str(os.getpid()), *self._modules]
        with other:
            server = subprocess.Popen(
                [sys.executable, "-c", _SERVER, *own, "", *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[other.fileno()],
                process_group=0,  # Ctrl-C is for the parent alone
            )
        self._server = server, connection
        return connection


def _result(kind: bytes, content: Any) -> Any:
    """The value that a child has sent; its error, or how it ended, is raised."""
    if kind == _VALUE:
        return content
    if kind == _ERROR:
        number, text = content
        raise _ERRORS[number](text)
    raise BenchsuiteError(_end(*content))


def _end(code: int, output: bytes, kills: tuple[int | None, int | None]) -> str:
    """How a child ended that sent no result, and the last line that it printed.

    Args:
        code: Its exit code; negative for a signal.
        output: The end of what it printed.
        kills: `processes.oom_kills` before and after.
    """
    if code == -signal.SIGKILL and None in kills:
        end = "was killed by SIGKILL, possibly by the kernel for lack of memory"
    elif code == -signal.SIGKILL and kills[0] != kills[1]:
        end = "was killed by the kernel for lack of memory"
    else:
        end = _end_of(code)
    lines = output.decode("utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"its process {end}" + (f": {last[:_LONGEST_LINE]}" if last else "")


def _end_of(code: int) -> str:
    """How a process with this exit code ended; a negative one is a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    return f"was killed by {_signal_name(-code)}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def serve(descriptor: str, parent: str, *modules: str) -> None:
    """Body of the server: fork a child for each request until the parent closes the connection."""
    server = _Server(Connection(int(descriptor)))
    signal.signal(signal.SIGTERM, server.end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a model may send it to its parent
    processes.end_with_parent(int(parent), signal.SIGTERM)
    for module in modules:
        with suppress(Exception):  # the function that needs it reports that
            importlib.import_module(module)
    with suppress(EOFError, ConnectionError):  # the parent has ended
        while True:
            server.answer(server.connection.recv_bytes())


class _Server:
    """Forks children, and relays what they send.

    Attributes:
        connection: To the parent.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._child: int | None = None

    def end(self, *_: object) -> None:
        """Handle SIGTERM: end with the child and the processes that it has started."""
        if self._child is not None:
            _kill(self._child)
        os._exit(1)

    def answer(self, request: bytes) -> None:
        """Run a request in a child."""
        kills = processes.oom_kills()
        messages, to_messages = Pipe(duplex=False)
        output, to_output = os.pipe()
        own = os.getpid()
        child = os.fork()
        if child == 0:
            self.connection.close()
            _run(request, to_messages, to_output, own)
        self._child = child
        to_messages.close()
        os.close(to_output)
        relay = _Relay(child, messages, output, self.connection)
        try:
            answered = relay.follow()
        finally:
            _kill(child)
            relay.close()
            self._child = None
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if not answered:
            end = (code, relay.printed, (kills, processes.oom_kills()))
            self.connection.send_bytes(_END + pickle.dumps(end))


class _Relay:
    """Passes a child's messages on, and keeps the end of what it prints.

    Args:
        child: Its process id.
        messages: Its end of the connection.
        output: Descriptor of what it prints.
        connection: Where messages go.
    """

    def __init__(
        self, child: int, messages: Connection, output: int, connection: Connection
    ) -> None:
        self.printed = b""
        self._child, self._messages, self._output = child, messages, output
        self._connection = connection

    def follow(self) -> bool:
        """Return when the child has answered or ended; whether it has answered."""
        sources: list[Connection | int] = [self._messages, self._output]
        deadline = math.inf
        while time.monotonic() < deadline:
            ended = self._ended()
            ready = wait(sources, 0 if ended else _LOOK_SECONDS)
            if self._output in ready and not self._take_output():
                sources.remove(self._output)
            if self._messages in ready:
                try:
                    message = self._messages.recv_bytes()
                except (EOFError, OSError):  # closed, perhaps within a message
                    sources.remove(self._messages)
                    deadline = time.monotonic() + _CLOSED_SECONDS
                    continue
                self._connection.send_bytes(message)
                if message[:1] != _REPORT:
                    return True
            elif ended:
                break
        return False

    def close(self) -> None:
        """Read the rest of what was printed, and close both."""
        for _ in range(_BLOCK):
            if not wait([self._output], 0) or not self._take_output():
                break
        self._messages.close()
        os.close(self._output)

    def _take_output(self) -> bool:
        data = os.read(self._output, _BLOCK)
        self.printed = (self.printed + data)[-_KEPT:]
        return bool(data)

    def _ended(self) -> bool:
        """Whether the child has ended; a process that it has left behind may hold the pipes."""
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._child, how) is not None


def _kill(child: int) -> None:
    """Kill a child and the processes of its session; it has not been waited for, so it exists."""
    for kill in (os.killpg, os.kill):
        with suppress(OSError):
            kill(child, signal.SIGKILL)


def _run(request: bytes, messages: Connection, output: int, parent: int) -> NoReturn:
    """Body of the child: call the function and send its result, or why there is none."""
    own = os.getpid()

    def send(kind: bytes, value: object) -> None:
        message = kind + pickle.dumps(value)
        if os.getpid() != own:  # a process that the function has forked
            os._exit(0)
        messages.send_bytes(message)

    try:
        os.setsid()  # a model that kills its process group kills none of ours
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        processes.end_with_parent(parent)
        processes.kill_first()
        for standard in (1, 2):
            os.dup2(output, standard)
        sys.stdout = sys.stderr = open(  # noqa: SIM115 - open until the process ends
            1, "w", buffering=1, errors="backslashreplace", closefd=False
        )
        function, arguments, reports = pickle.loads(request)
        if reports:
            arguments = (*arguments, lambda value: send(_REPORT, value))
        send(_VALUE, function(*arguments))
    except SystemExit as error:
        text = f"the code that was run has called sys.exit({exit_argument(error)})"
        send(_ERROR, (len(_ERRORS) - 1, text))
    except BaseException as error:  # a model from outside may fail in any way
        number = next((n for n, cls in enumerate(_ERRORS) if isinstance(error, cls)), None)
        send(_ERROR, (len(_ERRORS) - 1 if number is None else number, described(error)))
    finally:
        os._exit(0)  # without waiting for threads, and without what the server would do at its end
