"""TensorBoard with its profiler plugin, on the loopback interface and without network access.

The plugin (torch-tb-profiler 0.4.3) is no longer maintained, and its pages load two scripts from
the web; here they load local ones. No other module depends on it: to remove it, delete this file,
`static/` and the command.
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
#: Page of the plugin → (the script that it loads from the web, the local one instead).
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
    board = program.TensorBoard(plugins=[core.CorePluginLoader(), plugin])
    words = ["--logdir", str(directory), "--host", HOST, "--port", str(port)]
    board.configure(argv=["tensorboard", *words, "--load_fast", "false"])
    try:
        url = str(board.launch())
    except program.TensorBoardServerException as error:
        raise BenchsuiteError(f"TensorBoard does not start: {error}") from error
    return Server(url, f"{url}data/plugin/{plugin.plugin_name}/index.html")


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
