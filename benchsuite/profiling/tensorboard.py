"""TensorBoard with its profiler plugin, on the loopback interface and without network access.

The plugin (torch-tb-profiler 0.4.3) is no longer maintained, and its pages load two scripts from
the web; here they load local ones. No other module depends on it: to remove it, delete this file,
`static/` and the command.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import re
import signal
import socket
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from multiprocessing.context import SpawnProcess
from multiprocessing.managers import SyncManager
from pathlib import Path
from typing import Any

from benchsuite.errors import BenchsuiteError, UsageError

HOST = "127.0.0.1"
DEFAULT_PORT = 6006
#: Host headers that are answered: names that a page from elsewhere cannot have.
_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
#: What the plugin's pages load from elsewhere, and what they get instead.
_REPLACED = {
    "index.html": ("https://www.gstatic.com/charts/loader.js", "charts.js"),
    "trace_embedding.html": (
        "https://cdnjs.cloudflare.com/ajax/libs/webcomponentsjs/0.7.24/webcomponents.min.js",
        "webcomponents.min.js",
    ),
}
_TYPES = {".html": "text/html", ".js": "application/javascript"}


@dataclass(frozen=True, slots=True)
class Server:
    """A running TensorBoard; its threads end with the process.

    Attributes:
        url: TensorBoard's first page.
        profiler_url: The plugin's first page.
    """

    url: str
    profiler_url: str


def serve(directory: Path, port: int = DEFAULT_PORT) -> Server:
    """Start TensorBoard on the loopback interface.

    Args:
        directory: Contains traces of `benchsuite trace`, at any depth.
        port: 0 for any free port.

    Raises:
        UsageError: if there are no traces, the port is in use, or TensorBoard is not installed.
    """
    if not any(directory.rglob("*.pt.trace.json*")):
        raise UsageError(
            f"no trace for TensorBoard in {str(directory)!r}; record one with"
            " `benchsuite trace MODEL -o DIR`"
        )
    _require_free(port)
    try:
        with warnings.catch_warnings(action="ignore"):  # from their own imports
            program = importlib.import_module("tensorboard.program")
            core = importlib.import_module("tensorboard.plugins.core.core_plugin")
            plugin = _offline(importlib.import_module("torch_tb_profiler.plugin"))
    except ImportError as error:
        raise UsageError(
            f"TensorBoard cannot be imported ({error}); install it with"
            " pip install 'benchsuite[trace]'"
        ) from error
    vars(importlib.import_module("torch_tb_profiler.profiler.loader"))["Process"] = _Worker
    vars(importlib.import_module("torch_tb_profiler.multiprocessing"))["Manager"] = _manager

    def local_server(app: Any, flags: Any) -> Any:
        return program.create_port_scanning_werkzeug_server(_for_this_machine(app), flags)

    loaders = [core.CorePluginLoader(), plugin]
    board = program.TensorBoard(plugins=loaders, server_class=local_server)
    words = ["--logdir", str(directory), "--host", HOST, "--port", str(port)]
    board.configure(argv=["tensorboard", *words, "--load_fast", "false"])
    try:
        url = str(board.launch())
    except program.TensorBoardServerException as error:
        raise BenchsuiteError(f"TensorBoard does not start: {error}") from error
    return Server(url, f"{url}data/plugin/{plugin.plugin_name}/index.html")


def wait() -> None:
    """Serve until SIGTERM or Ctrl-C, then end the processes that read traces.

    Raises:
        Terminated: on SIGTERM.
    """

    def terminate(*_: object) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        threading.Event().wait()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what follows takes a moment, once
        for process in multiprocessing.active_children():
            process.kill()


class Terminated(Exception):  # noqa: N818 - a signal, not an error
    """SIGTERM was received."""


class _Worker(SpawnProcess):
    """A process that reads a trace, and ends with the process that started it, even if killed."""

    def run(self) -> None:
        _end_with_parent()
        super().run()


def _manager() -> SyncManager:
    """The plugin's server of shared values, in a process that ends with this one, too."""
    manager = SyncManager(ctx=multiprocessing.get_context("spawn"))
    manager.start(initializer=_end_with_parent)
    return manager


def _end_with_parent() -> None:
    """In a child process: end it when its parent has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _for_this_machine(app: Any) -> Any:
    """A WSGI application that answers requests to a loopback name alone.

    A page from elsewhere whose own name resolves to 127.0.0.1 (DNS rebinding) would be of the same
    origin as this server for a browser; its requests carry that name as their host.
    """
    import werkzeug

    def respond(environ: Any, start_response: Any) -> Any:
        host = environ.get("HTTP_HOST", "")
        if _LOOPBACK.fullmatch(host):
            return app(environ, start_response)
        text = f"host {host[:100]!r} is not allowed; use http://{HOST}\n"
        return werkzeug.Response(text, status=403, content_type="text/plain")(
            environ, start_response
        )

    return respond


def _require_free(port: int) -> None:
    """Check that the port is free: TensorBoard reports a used one only in its log."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"port {port} on {HOST} is not available ({error}); choose another with --port, or"
                " 0 for any free port"
            ) from error


def _offline(module: Any) -> Any:
    """The plugin with local scripts in its pages."""
    import werkzeug

    local = resources.files("benchsuite.profiling") / "static"
    plugin = resources.files("torch_tb_profiler") / "static"

    def page(name: str) -> Callable[..., Any]:
        def respond(environ: Any, start_response: Any) -> Any:
            if name in _REPLACED:
                text = (plugin / name).read_text("utf-8").replace(*_REPLACED[name])
            else:
                text = (local / name).read_text("utf-8")
            kind = _TYPES[Path(name).suffix]
            response = werkzeug.Response(text, content_type=f"{kind}; charset=utf-8")
            return response(environ, start_response)

        return respond

    class OfflinePlugin(module.TorchProfilerPlugin):  # type: ignore[misc]
        def get_plugin_apps(self) -> dict[str, Any]:
            names = [*_REPLACED, *(script for _, script in _REPLACED.values())]
            return {**super().get_plugin_apps(), **{f"/{name}": page(name) for name in names}}

    return OfflinePlugin
