"""TensorBoard with its profiler plugin, on this machine alone and without network.

The plugin (torch-tb-profiler 0.4.3) is no longer maintained, and its pages load two scripts from
elsewhere; here they get ours. Nothing else of the suite knows of it: delete this file, `static/`
and the command, and it is gone.
"""

from __future__ import annotations

import importlib
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from benchsuite.errors import BenchsuiteError, UsageError

HOST = "127.0.0.1"
DEFAULT_PORT = 6006
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
        profiler_url: The plugin's own.
    """

    url: str
    profiler_url: str


def serve(directory: Path, port: int = DEFAULT_PORT) -> Server:
    """Start TensorBoard on the loopback interface.

    Args:
        directory: With traces of `benchsuite trace`, at any depth.
        port: 0 for any that is free.

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
        with warnings.catch_warnings(action="ignore"):  # of their own imports
            program = importlib.import_module("tensorboard.program")
            core = importlib.import_module("tensorboard.plugins.core.core_plugin")
            plugin = _offline(importlib.import_module("torch_tb_profiler.plugin"))
    except ImportError as error:
        raise UsageError(
            f"TensorBoard cannot be imported ({error}); install it with"
            " pip install 'benchsuite[trace]'"
        ) from error
    board = program.TensorBoard(plugins=[core.CorePluginLoader(), plugin])
    words = ["--logdir", str(directory), "--host", HOST, "--port", str(port)]
    board.configure(argv=["tensorboard", *words, "--load_fast", "false"])
    try:
        url = str(board.launch())
    except program.TensorBoardServerException as error:
        raise BenchsuiteError(f"TensorBoard does not start: {error}") from error
    return Server(url, f"{url}data/plugin/{plugin.plugin_name}/index.html")


def _require_free(port: int) -> None:
    """Ask for the port ourselves: TensorBoard's own words on it go to a log."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"port {port} on {HOST} cannot be had ({error}); choose another with --port, 0 for"
                " any"
            ) from error


def _offline(module: Any) -> Any:
    """The plugin with our scripts in its pages."""
    import werkzeug

    own = resources.files("benchsuite.profiling") / "static"
    theirs = resources.files("torch_tb_profiler") / "static"

    def page(name: str) -> Callable[..., Any]:
        def respond(environ: Any, start_response: Any) -> Any:
            if name in _REPLACED:
                text = (theirs / name).read_text("utf-8").replace(*_REPLACED[name])
            else:
                text = (own / name).read_text("utf-8")
            kind = _TYPES[Path(name).suffix]
            response = werkzeug.Response(text, content_type=f"{kind}; charset=utf-8")
            return response(environ, start_response)

        return respond

    class OfflinePlugin(module.TorchProfilerPlugin):  # type: ignore[misc]
        def get_plugin_apps(self) -> dict[str, Any]:
            names = [*_REPLACED, *(script for _, script in _REPLACED.values())]
            return {**super().get_plugin_apps(), **{f"/{name}": page(name) for name in names}}

    return OfflinePlugin
