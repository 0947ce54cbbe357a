"""The process in which asv runs a study: asv's own `run`, with four changes.

- It measures only the points that the driver lists. The results of the others, and of all points
  whose process ended late, come from the records afterwards, in this process.
- Its temporary files and its machine file are in a directory of this run.
- Its child processes run `child.py`, and end when this process does.
- The record of an attempt whose process was killed gets its end here, with the cause.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asv.commands.run as asv_run
from asv import machine, runner, util
from asv.main import main as asv_main

from benchsuite import host
from benchsuite.errors import BenchsuiteError
from benchsuite.grid.study import Study
from benchsuite.grid.study_file import load_study
from benchsuite.records import CRASHED, Record, home
from benchsuite.records.home import StudyHome
from benchsuite.sweep import plan, processes, suite
from benchsuite.sweep.guards import check_storage
from benchsuite.sweep.launchers import child
from benchsuite.sweep.tail import Tail

_MACHINES = "machines.json"
_ENDED_BY_SIGTERM = 143
_MACHINE_FIELDS = {name for name, _ in machine.Machine.fields}


def main() -> None:
    """Run asv: `asv_process DIRECTORY PARENT [arguments of asv…]`."""
    directory, parent = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where it was ignored (nohup)
    signal.signal(signal.SIGTERM, lambda *_: _end(directory))
    processes.end_with_parent(parent, signal.SIGTERM)
    os.environ[child.PARENT] = str(os.getpid())
    tempfile.tempdir = str(directory)
    study = load_study(os.environ[suite.STUDY])
    study_home = StudyHome.of(home.home_of(None), study.name)
    left = json.loads((directory / processes.LEFT).read_text("utf-8"))
    _write_machine_file(directory / _MACHINES, study_home)
    machine.MachineCollection.get_machine_file_path = staticmethod(
        lambda: str(directory / _MACHINES)
    )
    runner.BENCHMARK_RUN_SCRIPT = child.__file__
    runner.ForkServer = _server(study_home)
    asv_run.run_benchmarks = _selecting(asv_run.run_benchmarks, left, study, study_home)
    sys.argv = ["asv", *sys.argv[3:]]
    asv_main()


def _end(directory: Path) -> None:
    """End at once; the kernel ends the child processes."""
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(_ENDED_BY_SIGTERM)


def _write_machine_file(path: Path, study_home: StudyHome) -> None:
    """Describe this machine as in the study's earlier results, or else as asv would."""
    name = os.environ[host.MACHINE_NAME]
    facts: Any = None
    try:
        earlier = study_home.asv / "results" / name / "machine.json"
        facts = json.loads(earlier.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        pass  # the first run, or not asv's
    known = isinstance(facts, dict) and facts.get("machine") == name
    if not known or not all(isinstance(facts.get(field), str) for field in _MACHINE_FIELDS):
        facts = {**machine.Machine.get_defaults(), "machine": name}
    util.write_json(str(path), {name: {key: facts[key] for key in _MACHINE_FIELDS}}, 1)


def _server(study_home: StudyHome) -> type:
    """asv's forkserver, which also ends the records of processes that were killed."""

    class Server(runner.ForkServer):  # type: ignore[misc]
        def run(self, *positional: Any, **named: Any) -> tuple[str, int]:
            file = study_home.records
            start = file.path.stat().st_size if file.path.exists() else 0
            tail = Tail(file.path, start, os.environ[suite.RUN])
            kills = processes.oom_kills()
            try:
                out, code = super().run(*positional, **named)
            except (OSError, RuntimeError, util.UserError) as error:
                _explain(study_home, tail, -signal.SIGKILL, kills)
                raise util.UserError(f"the process that forks was killed: {error}") from error
            if code:
                _explain(study_home, tail, code, kills)
            return out, code

    return Server


def _explain(study_home: StudyHome, tail: Tail, code: int, kills: int | None) -> None:
    """End the record of an attempt whose process has ended without doing so.

    Args:
        study_home: The directory of the study's results.
        tail: Rows that were appended since the process was started.
        code: Its exit code; negative for a signal.
        kills: The count of `processes.oom_kills` before.

    Raises:
        UserError: if there is no row because results can no longer be written.
    """
    try:
        rows = list(tail.rows())
        if not rows:
            check_storage(study_home)
        elif rows[-1]["status"] == "started" and code != -signal.SIGINT:
            record = Record.from_row(rows[-1])
            study_home.records.append(record.replace(**_cause(record, code, kills)))
    except BenchsuiteError as error:
        raise util.UserError(str(error)) from error


def _cause(record: Record, code: int, kills: int | None) -> dict[str, Any]:
    """Status and reason of an attempt whose process was killed, or ended itself."""
    if code == util.TIMEOUT_RETCODE:
        limit = f"killed after its limit of {record.timeout:g} s"
        return {"status": "timeout", "reason": limit}
    if code >= 0:
        return {"status": "crashed", "reason": f"{CRASHED} (exit code {code})"}
    reason = f"{CRASHED} ({_signal_name(-code)})"
    if code == -signal.SIGKILL:
        now = processes.oom_kills()
        if kills is None or now is None:
            reason = f"{CRASHED} (SIGKILL, possibly by the kernel for lack of memory)"
        elif now > kills:
            return {"status": "oom", "reason": "killed by the kernel for lack of memory"}
    return {"status": "crashed", "reason": reason}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _selecting(
    run: Callable[..., Any], left: dict[str, list[int]], study: Study, study_home: StudyHome
) -> Callable[..., Any]:
    """asv's `run_benchmarks` for the points that are left, and then the records for all points."""

    def run_benchmarks(benchmarks: Any, env: Any, *, results: Any, **options: Any) -> Any:
        chosen = {name: set(left.get(_measure(name), ())) for name in benchmarks}
        part = benchmarks.filter_out({name for name in benchmarks if not chosen[name]})
        part.benchmark_selection.update({name: chosen[name] for name in part})
        if part:
            run(part, env, results=results, **options)
        known = plan.outcomes(study_home.records.path, plan.wanted(study), plan.Numbers)
        for name, benchmark in benchmarks.items():
            rows = [known.get(key) for key in plan.points(study, _measure(name))]
            results.add_result(
                benchmark, _as_result(rows, results.errcode.get(name, 0)), record_samples=True
            )
        return results

    return run_benchmarks


def _measure(benchmark: str) -> str:
    return benchmark.rpartition("track_")[2]


def _as_result(rows: list[Any], code: int) -> Any:
    """Rows of all points of a measure as asv's result of it; failed ones are null, skips NaN."""
    timed = [row is not None and row.status == "ok" and bool(row.samples) for row in rows]
    return runner.BenchmarkResult(
        result=[_as_value(row) for row in rows],
        samples=[row.samples if t else None for row, t in zip(rows, timed, strict=True)],
        number=[row.number if t else None for row, t in zip(rows, timed, strict=True)],
        errcode=code,
        stderr="",
        profile=None,
    )


def _as_value(row: Any) -> float | None:
    if row is not None and row.status == "skipped":
        return math.nan
    if row is None or row.status != "ok" or row.value is None:
        return None
    return int(row.value) if float(row.value).is_integer() else float(row.value)


if __name__ == "__main__":
    main()
