"""Runs asv as a child process: configures it, starts it, and stops it with all its children."""

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
_SUITE = """\
from benchsuite.sweep import suite

globals().update(suite.benchmark_classes(__file__))
"""


@contextmanager
def running(
    study: Study, study_home: StudyHome, root: Path, run_id: str, *, fresh: bool, lock: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run asv in a new session; it is stopped at the end of the `with` block.

    Args:
        study: The study, with its device resolved.
        study_home: The directory of the study's results.
        root: The directory of all results.
        run_id: Identity of this run, stored in the records.
        fresh: Also repeat finished measurements.
        lock: The study's lock, which asv keeps if this process is killed.

    Raises:
        UsageError: if asv's machine file cannot be read or written.
    """
    _write_configuration(study, study_home)
    commit = provenance.checkout().get("commit")
    machine = host.machine_name()
    _register_machine(machine, study_home.asv)
    command = [
        *(sys.executable, "-m", "asv", "run", "--config", "asv.conf.json"),
        *("--environment", "existing:same", "--launch-method", "forkserver"),
        *("--record-samples", "--show-stderr", "--machine", machine),
        *(("--set-commit-hash", commit) if commit else ()),
    ]
    here = os.getcwd()  # noqa: PTH109 - the name as the user typed it
    # A checkout of the suite, run from its top directory, measures with the code of that checkout.
    # No other directory may precede the standard library: a file called copy.py would break asv.
    checkout = [here] if Path(benchsuite.__file__).parent.parent.samefile(here) else []
    paths = os.pathsep.join([*checkout, *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {
        **os.environ,
        suite.STUDY: str(study_home.definition),
        suite.RUN: run_id,
        suite.RESUME: "" if fresh else "1",
        home.VARIABLE: str(root),
        provenance.CHECKOUT: here,
        provenance.STATE: json.dumps(provenance.checkout()),
        host.MACHINE_NAME: machine,
        suite.MODELS_FROM: here,
        **(dict.fromkeys(("PYTHONPATH", "ASV_PYTHONPATH"), paths) if paths else {}),
    }
    with log_of(study_home).open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=study_home.asv,
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
    """Make the kernel interrupt asv when this process ends, even if it is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _write_configuration(study: Study, study_home: StudyHome) -> None:
    """Write asv's configuration for this study, and its benchmark module."""
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
    directory = study_home.asv
    (directory / "benchmarks").mkdir(exist_ok=True)
    (directory / "benchmarks" / "__init__.py").touch()
    (directory / "benchmarks" / "measures.py").write_text(_SUITE, encoding="utf-8")
    (directory / "asv.conf.json").write_text(json.dumps(configuration, indent=2), encoding="utf-8")


def _toplevel() -> Path | None:
    top = host.git(Path(), "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def _register_machine(name: str, directory: Path) -> None:
    """Register this machine with asv if it is unknown; otherwise asv would wait for answers."""
    from asv.machine import MachineCollection

    path = Path(MachineCollection.get_machine_file_path())
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(known, dict):
            raise ValueError("it does not hold a table of machines")
        if isinstance(known.get(name), dict):
            return
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot use asv's machine file {path}: {error}; fix it, or remove it and"
            " it is created again"
        ) from error
    done = subprocess.run(
        [sys.executable, "-m", "asv", "machine", "--yes", "--machine", name],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise UsageError(f"asv cannot write its machine file {path}: {lines[-1]}")


def log_of(study_home: StudyHome) -> Path:
    """The file with everything that asv printed in the last run."""
    return study_home.asv / "asv.log"


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop asv, its server and the current benchmark: first by SIGINT, then by SIGKILL."""
    descendants = _descendants(process.pid)
    for sign, patience in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGKILL, _STOP_SECONDS)):
        for pid in (process.pid, *descendants):
            _kill(pid, sign)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break
    for pid in descendants:
        _kill(pid, signal.SIGKILL)


def _kill(pid: int, sign: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, sign)


def _descendants(pid: int) -> list[int]:
    """All descendants, because asv's server runs in a separate process group."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in children:
            pids += [child, *_descendants(child)]
    return pids


def last_words(log: Path) -> str:
    """The last line of a log that reports an error, or else the last line that is not empty."""
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError:
        return "no output"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"[Ee]rror\b|^asv: ", line)]
    return next(iter([*errors[-1:], *lines[-1:]]), "no output")
