"""The script that asv runs in its child processes, in place of its own `benchmark.py`.

It does the same, and besides the process ends when asv does: the forkserver with asv, each case
with the forkserver. The limit of a case counts the time that the forkserver could run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: Environment variable with the process id of asv.
PARENT = "BENCHSUITE_ASV"


def main() -> None:
    """Run one of asv's internal commands, such as `discover` or `run_server`."""
    here = str(Path(__file__).parent)
    sys.path[:] = [entry for entry in sys.path if entry != here]  # `asv.py` here is not asv
    from benchsuite.sweep import processes

    processes.end_with_parent(int(os.environ[PARENT]))
    if sys.argv[1:2] == ["run_server"]:
        _serve()
    from asv import benchmark

    benchmark.main()


def _serve() -> None:
    from asv_runner import server

    from benchsuite.sweep import processes

    server.wall_timer = processes.RunningClock()
    own = os.getpid()
    forking = own

    def before() -> None:
        nonlocal forking
        forking = os.getpid()

    def in_child() -> None:
        if forking == own:  # a case, and not a process that a case has started
            processes.end_with_parent(own)
            processes.kill_first()

    os.register_at_fork(before=before, after_in_child=in_child)


if __name__ == "__main__":
    main()
