"""Runs asv as a child process: configures it, starts it, and stops it with all its children."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import benchsuite
from benchsuite import host
from benchsuite.errors import UsageError
from benchsuite.grid.study import Study
from benchsuite.history import thresholds
from benchsuite.records import home, provenance
from benchsuite.records.home import StudyHome, replace_text
from benchsuite.sweep import processes, suite

_STOP_SECONDS = 10.0
_PROCESS = "benchsuite.sweep.launchers.asv_process"


@contextmanager
def running(
    study: Study,
    study_home: StudyHome,
    root: Path,
    run_id: str,
    *,
    left: Mapping[str, list[int]],
    lock: int,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run asv in a new session; it is stopped at the end of the `with` block.

    asv ends when the calling thread ends, even if this process is killed.

    Args:
        study: The study, with its device resolved.
        study_home: The directory of the study's results.
        root: The directory of all results.
        run_id: Identity of this run, stored in the records.
        left: Measure → asv's indices of the points to measure.
        lock: The study's lock, which asv keeps if this process is killed.

    Raises:
        UsageError: if the files that asv needs cannot be written.
    """
    directory = processes.private_directory()
    try:
        try:
            _write_configuration(study, study_home)
            (directory / processes.LEFT).write_text(json.dumps(left), encoding="utf-8")
            output = _open_log(study_home)
        except OSError as error:
            raise UsageError(
                f"cannot write the files for asv to {study_home.asv}: {error.strerror}; choose"
                " another directory with --home"
            ) from error
        with output:
            process = _start(study_home, root, run_id, directory, output, lock)
            try:
                yield process
            finally:
                if process.poll() is None:
                    stop(process)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _start(
    study_home: StudyHome, root: Path, run_id: str, directory: Path, output: IO[bytes], lock: int
) -> subprocess.Popen[bytes]:
    commit = provenance.checkout().get("commit")
    machine = host.machine_name()
    command = [
        *(sys.executable, "-P", "-m", _PROCESS, str(directory), str(os.getpid())),
        *("run", "--config", str(study_home.asv / "asv.conf.json")),
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
        home.VARIABLE: str(root),
        provenance.CHECKOUT: here,
        provenance.STATE: json.dumps(provenance.checkout()),
        host.MACHINE_NAME: machine,
        "TMPDIR": str(directory),  # what a case leaves there when it is killed goes with the run
        suite.MODELS_FROM: here,
        **(dict.fromkeys(("PYTHONPATH", "ASV_PYTHONPATH"), paths) if paths else {}),
    }
    return subprocess.Popen(
        command,
        cwd=directory,  # no file among the results can be imported
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=(lock,),
    )


def _write_configuration(study: Study, study_home: StudyHome) -> None:
    """Write asv's configuration for this study; the benchmarks are those in this package."""
    checkout = _toplevel()
    configuration: dict[str, Any] = {
        "version": 1,
        "project": study.name,
        "repo": str(checkout) if checkout else ".",
        "branches": ["HEAD"],
        "environment_type": "virtualenv",
        "benchmark_dir": str(Path(suite.__file__).with_name("benchmarks")),
        "results_dir": "results",
        "html_dir": "html",
        "env_dir": "env",
        **thresholds.settings(),
    }
    replace_text(study_home.asv / "asv.conf.json", json.dumps(configuration, indent=2))


def _toplevel() -> Path | None:
    top = host.git(Path(), "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def log_of(study_home: StudyHome) -> Path:
    """The file with everything that asv printed in the last run."""
    return study_home.asv / "asv.log"


def _open_log(study_home: StudyHome) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    return os.fdopen(os.open(log_of(study_home), flags, 0o644), "wb")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop asv, its server and the current benchmark: first by SIGINT, then by SIGKILL."""
    descendants = host.descendants(process.pid)
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


def last_words(log: Path) -> str:
    """The last line of a log that reports an error, or else the last line that is not empty."""
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError:
        return "no output"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"[Ee]rror\b|^asv: ", line)]
    return next(iter([*errors[-1:], *lines[-1:]]), "no output")
