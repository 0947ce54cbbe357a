"""`benchsuite tensorboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli._app import app, message

#: Exit code after SIGTERM, as shells have it.
EXIT_TERMINATED = 143


@app.command(epilog="Example: benchsuite tensorboard .benchsuite/traces --port 6007")
def tensorboard(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory of traces, such as HOME/traces.")
    ],
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port on 127.0.0.1; 0 for any free one."),
    ] = 6006,
) -> None:
    """Show traces in TensorBoard's profiler.

    Serves to this machine only and needs no network. TensorBoard is optional: pip install
    'benchsuite[trace]'.
    """
    from benchsuite.profiling.tensorboard import Terminated, serve, wait

    server = serve(directory, port)
    print(server.profiler_url, flush=True)
    message("the traces take some seconds to load; stop with Ctrl-C")
    try:
        wait()
    except Terminated:
        raise typer.Exit(EXIT_TERMINATED) from None
