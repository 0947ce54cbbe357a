"""Ctrl-C in the first moments of a command: exit codes and tracebacks by the time of the signal.

    python tests/faults/early_interrupt.py [ROUNDS]

Prints, for SIGINT after 0 to 0.6 s, how many commands ended with a traceback: those of
`python -m benchsuite` and of the command `benchsuite`, if it is installed. Before Python has started
(the first 0.02 to 0.05 s: `site`, `runpy`, the command's script) no program can answer the signal;
such ends are listed apart.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import benchsuite

MODULE = [sys.executable, "-m", "benchsuite", "list"]
DELAYS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.12, 0.2, 0.3, 0.4, 0.6)
#: Directory of the suite, which is in every traceback of its own.
PACKAGE = str(Path(benchsuite.__file__).parent)


def interrupted(command: list[str], seconds: float) -> tuple[int, str]:
    """Exit code and standard error of a command that is interrupted after so many seconds."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        return process.wait(), process.stderr.read()


def outcome(code: int, err: str) -> str:
    """How a command ended."""
    if "Traceback" in err or "Fatal" in err:
        return "traceback" if PACKAGE in err else "python's start"
    return {0: "finished", 130: "interrupted", -2: "killed by SIGINT"}.get(code, f"exit {code}")


def main() -> None:
    """Print a line for each delay."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also in a shell's background
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    script = shutil.which("benchsuite")
    commands = [MODULE, *([[script, "list"]] if script else [])]
    bad = 0
    for command in commands:
        print(" ".join(command[-3:]))
        for delay in DELAYS:
            ends = [outcome(*interrupted(command, delay)) for _ in range(rounds)]
            bad += ends.count("traceback")
            print(f"{delay:.2f} s: " + ", ".join(f"{ends.count(e)} {e}" for e in sorted(set(ends))))
    print(f"tracebacks of the suite: {bad} of {rounds * len(DELAYS) * len(commands)}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
