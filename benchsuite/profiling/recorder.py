"""Records traces of one case: a short one whose times count, and a shorter one with call stacks.

Call stacks slow Python down two- or threefold and make a trace five times as large, so the trace to
be explained is recorded without them. Both are Chrome's JSON, gzipped, which Perfetto and
`chrome://tracing` open; the one with stacks, memory and modules has the name that TensorBoard's
plugin looks for.
"""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import benchsuite
from benchsuite import host
from benchsuite.errors import Unsupported, UsageError
from benchsuite.grid.case import Case
from benchsuite.measures.faults import page_faults
from benchsuite.measures.memory import warm_profiler
from benchsuite.profiling.pace import pace
from benchsuite.profiling.ranges import cells_of, labelled_step
from benchsuite.profiling.trace_file import NOTES, read_trace
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload

TRACE = "trace.json.gz"
STACKS = "stacks.pt.trace.json.gz"
#: Most calls of a cell in a trace. A timestep of the hand-written cell makes some 230 events: 512
#: of them stay below 5 MB and half a minute, and 16 with stacks load in TensorBoard in seconds.
_MAX_CALLS = 512
_MAX_CALLS_WITH_STACKS = 16
_MAX_STEPS = 3
_PROBE_TIMESTEPS = 64
_PLAIN_SECONDS = 1.0
#: Arguments of events that neither Perfetto, TensorBoard nor this package uses.
_DROPPED = ("Record function id", "Ev Idx", "Concrete Inputs", "finished")
#: Phases of events that are kept: calls, instants (memory), names of threads, and the arrows
#: between launches and kernels.
_READ = frozenset("XiMsf")


@dataclass(frozen=True, slots=True)
class Recording:
    """The two traces of a case.

    Attributes:
        trace: File of the trace whose times count.
        stacks: File of the trace with call stacks, memory and modules.
        workload: The workload of `trace`, cut if necessary.
        content: Content of `trace`: events and notes (case, step's time, machine's rates, cuts).
    """

    trace: Path
    stacks: Path
    workload: Workload
    content: dict[str, Any]


def record(case: Case, directory: Path) -> Recording:
    """Trace a few steps of a case into `directory`.

    A model that is unrolled in Python over more timesteps than a trace can hold is traced over
    fewer, which the notes report.

    Raises:
        Unsupported: in mode stream, or if this machine has no such device or the model no such
            option.
        TooLargeError: if the case does not fit in memory.
        UsageError: if the directory cannot be written to.
    """
    if case.mode == "stream":
        raise Unsupported("mode stream is not traced; trace mode=infer with seq_len=1 or the chunk")
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write traces to {directory}: {error.strerror}; choose another with -o"
        ) from error
    probe = Workload(case.replace(seq_len=min(case.seq_len, _PROBE_TIMESTEPS)))
    probe.build()
    looped = bool(probe.looped)
    calls = max(1, len(cells_of(probe.module))) if looped else 0
    del probe
    warm_profiler()
    stacks_case = _cut(case, calls, _MAX_CALLS_WITH_STACKS)
    traced = _cut(case, calls, _MAX_CALLS)
    workload = Workload(traced)
    workload.build()
    plain, faults = _plain_step(workload)
    few = _MAX_CALLS // (calls * traced.seq_len) if calls else _MAX_STEPS
    steps = 1 if plain > _PLAIN_SECONDS else max(1, min(_MAX_STEPS, few))
    notes = {
        "case": traced.id,
        "axes": traced.as_dict(),
        "kernel": workload.kernel,
        "unrolled": looped,
        "untraced_step": plain,
        "page_faults": faults,
        "pace": pace(workload.device, workload.dtype),
        "cut": [
            _cut_note(name, case, cut)
            for name, cut in (("trace", traced), ("trace with call stacks", stacks_case))
            if cut != case
        ],
        "optimiser": "SGD" if case.mode == "train" else "",
        "torch": torch.__version__,
        "cpu": host.hardware()["cpu"],
        "benchsuite": benchsuite.__version__,
        **{
            key: value
            for key, value in device.surroundings(workload.device).items()
            if key in {"gpu", "threads", "tf32_matmul", "tf32_cudnn"}
        },
    }
    content = _write(workload, directory / TRACE, steps, notes, stacks=False)
    again = workload if stacks_case == traced else Workload(stacks_case)
    _write(again, directory / STACKS, 1, {"case": stacks_case.id}, stacks=True)
    return Recording(directory / TRACE, directory / STACKS, workload, content)


def _cut(case: Case, calls: int, limit: int) -> Case:
    """The case with at most as many timesteps as a trace can hold.

    Args:
        case: The case to trace.
        calls: Calls of a cell per timestep; 0 for a model without a loop.
        limit: Most calls of a cell in the trace.
    """
    if not calls or case.seq_len * calls <= limit:
        return case
    return case.replace(seq_len=max(1, limit // calls))


def _cut_note(name: str, case: Case, cut: Case) -> str:
    return f"{name}: cut from {case.seq_len} to {cut.seq_len} timesteps, to keep it small"


def _plain_step(workload: Workload) -> tuple[float, float]:
    """Least seconds, and page faults, of an untraced step, with the optimiser.

    Slow steps are repeated less often.
    """
    with labelled_step(workload) as step:
        times: list[float] = []
        while len(times) < 5 and sum(times) < _PLAIN_SECONDS:
            start = time.perf_counter()
            step(0)
            times.append(time.perf_counter() - start)
        faults = page_faults(lambda: step(0))
    return min(times), faults


def _write(
    workload: Workload, path: Path, steps: int, notes: dict[str, Any], *, stacks: bool
) -> dict[str, Any]:
    """Warm up, trace `steps` steps, write them with the notes, and return the file's content."""
    workload.build()
    options: dict[str, Any] = {"record_shapes": True}
    if stacks:
        options |= {"profile_memory": True, "with_stack": True, "with_modules": True}
        # Without this option the stacks stay empty.
        options["experimental_config"] = torch._C._profiler._ExperimentalConfig(verbose=True)
    activities = [ProfilerActivity.CPU]
    if workload.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch) / "trace.json"
        # Without a schedule, with which torch warns, or builds every event in Python for minutes.
        profiler = profile(activities=activities, **options)
        with labelled_step(workload) as step:
            profiler.prepare_trace()
            step(0)
            profiler.start_trace()
            for number in range(steps):
                step(number)
            profiler.stop_trace()
        profiler.export_chrome_trace(str(raw))
        content = read_trace(raw)
    _shrink(content)
    content[NOTES] = notes
    text = json.dumps(content, separators=(",", ":"))
    try:
        with gzip.open(path, "wt", compresslevel=6, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror}; choose another with -o"
        ) from error
    return content


def _shrink(content: dict[str, Any]) -> None:
    """Drop unused events and arguments, and start time at zero: shorter, and exact to the ns."""
    events = [event for event in content["traceEvents"] if event.get("ph") in _READ]
    first = min(event["ts"] for event in events if event["ph"] == "X")
    for event in events:
        event["ts"] = round(event["ts"] - first, 3) if event["ph"] != "M" else 0
        args = event.get("args")
        if args:
            for name in _DROPPED:
                args.pop(name, None)
    content["traceEvents"] = events
