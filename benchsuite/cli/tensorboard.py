"""`benchsuite tensorboard`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli._app import app, message


@app.command(epilog="Example: benchsuite tensorboard .benchsuite/traces --port 6007")
def tensorboard(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where `benchsuite trace` has written.")
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 for any that is free.")
    ] = 6006,
) -> None:
    """Show traces in TensorBoard's profiler, on this machine only and without network."""
    from benchsuite.profiling.tensorboard import serve

    server = serve(directory, port)
    print(server.profiler_url, flush=True)
    message("traces take some seconds to load; Ctrl-C ends it")
    threading.Event().wait()
