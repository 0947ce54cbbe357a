"""asv as a child process: its configuration, its start, and its end with all it started."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import benchsuite
from benchsuite import host
from benchsuite.errors import UsageError
from benchsuite.grid.study import Study
from benchsuite.history import thresholds
from benchsuite.records import home, provenance
from benchsuite.records.home import StudyHome
from benchsuite.sweep import suite

_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


@contextmanager
def running(
    study: Study, place: StudyHome, root: Path, run_id: str, *, fresh: bool, lock: int
) -> Iterator[subprocess.Popen[bytes]]:
    """asv, running in a session of its own; stopped when the block is left.

    Args:
        study: With its device resolved.
        place: Where the study's results are.
        root: The root of all results.
        run_id: Identity of this run, for the records.
        fresh: Measure what is finished again too.
        lock: The study's lock, which asv holds on to if this process is killed.

    Raises:
        UsageError: if asv's machine file cannot be read or written.
    """
    _write_configuration(study, place)
    commit = provenance.checkout().get("commit")
    machine = host.machine_name()
    _register_machine(machine, place.asv)
    command = [
        *(sys.executable, "-m", "asv", "run", "--config", "asv.conf.json"),
        *("--environment", "existing:same", "--launch-method", "forkserver"),
        *("--record-samples", "--show-stderr", "--machine", machine),
        *(("--set-commit-hash", commit) if commit else ()),
    ]
    here = os.getcwd()  # noqa: PTH109 - what the user calls it
    # A checkout of the suite itself, run from its top, measures with its own code. No other
    # directory may come before the standard library: one file called copy.py would break asv.
    own = [here] if Path(benchsuite.__file__).parent.parent.samefile(here) else []
    paths = os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {
        **os.environ,
        suite.STUDY: str(place.definition),
        suite.RUN: run_id,
        suite.RESUME: "" if fresh else "1",
        home.VARIABLE: str(root),
        provenance.CHECKOUT: here,
        host.MACHINE_NAME: machine,
        suite.MODELS_FROM: here,
        **(dict.fromkeys(("PYTHONPATH", "ASV_PYTHONPATH"), paths) if paths else {}),
    }
    with log_of(place).open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=place.asv,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - this process has one thread
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                stop(process)


def _end_with_parent() -> None:
    """Have the kernel interrupt asv when this process dies, however it dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _write_configuration(study: Study, place: StudyHome) -> None:
    """asv's configuration of this study: the package's classes, results of its own."""
    checkout = _toplevel()
    configuration: dict[str, Any] = {
        "version": 1,
        "project": study.name,
        "repo": str(checkout) if checkout else ".",
        "branches": ["HEAD"],
        "environment_type": "virtualenv",
        "benchmark_dir": "benchmarks",
        "results_dir": "results",
        "html_dir": "html",
        "env_dir": "env",
        **thresholds.settings(),
    }
    (place.asv / "benchmarks").mkdir(exist_ok=True)
    (place.asv / "benchmarks" / "__init__.py").touch()
    module = place.asv / "benchmarks" / "measures.py"
    module.write_text(suite.BENCHMARK_MODULE, encoding="utf-8")
    (place.asv / "asv.conf.json").write_text(json.dumps(configuration, indent=2), encoding="utf-8")


def _toplevel() -> Path | None:
    found = host.git(Path(), "rev-parse", "--show-toplevel")
    return Path(found) if found else None


def _register_machine(name: str, directory: Path) -> None:
    """Tell asv about this machine if it does not know it: it would ask, and nobody answers."""
    from asv.machine import MachineCollection

    path = Path(MachineCollection.get_machine_file_path())
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(known, dict):
            raise ValueError("it holds no table of machines")
        if isinstance(known.get(name), dict):
            return
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot use asv's machine file {path}: {error}; mend it, or remove it to have it made"
        ) from error
    done = subprocess.run(
        [sys.executable, "-m", "asv", "machine", "--yes", "--machine", name],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise UsageError(f"asv cannot write its machine file {path}: {words[-1]}")


def log_of(place: StudyHome) -> Path:
    """All that asv printed in the last run."""
    return place.asv / "asv.log"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End asv, its server and the benchmark it is in, kindly first."""
    family = _descendants(process.pid)
    for sign, patience in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
        for pid in (process.pid, *family):
            _kill(pid, sign)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break
    for pid in family:
        _kill(pid, signal.SIGKILL)


def _kill(pid: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sign)


def _descendants(pid: int) -> list[int]:
    """Children and their children: asv's server lives in a process group of its own."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def last_words(log: Path) -> str:
    """The last line of a log that tells of an error, or else the last that says something."""
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError:
        return "no output"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [line for line in lines if re.search(r"[Ee]rror\b|^asv: ", line)]
    return next(iter([*told[-1:], *lines[-1:]]), "no output")
