"""`benchsuite tensorboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchsuite.cli._app import app, say

#: Exit code after SIGTERM, as shells have it.
EXIT_TERMINATED = 143


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
    from benchsuite.profiling.tensorboard import Terminated, serve, wait

    server = serve(directory, port)
    print(server.profiler_url, flush=True)
    say("traces take some seconds to load; Ctrl-C ends it")
    try:
        wait()
    except Terminated:
        raise typer.Exit(EXIT_TERMINATED) from None
