"""The one table of columns, types and units, and the words a record's status may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchsuite.grid.axes import AXES

SCHEMA_VERSION = 2

Status = Literal["started", "ok", "skipped", "oom", "timeout", "failed", "crashed"]
#: The reason of an attempt that was stopped from outside.
INTERRUPTED = "interrupted"
#: What is known of an attempt that was killed.
CRASHED = "its process ended without a result"
#: Outcomes that a resumed study takes as final; the others are tried again.
FINAL = frozenset({"ok", "skipped", "oom", "timeout"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the frame: its type, unit and meaning.

    `stored` is False for derived ones; older records lack those of a later `since`, the version of
    the schema that every record of it has the column in.
    """

    name: str
    kind: Literal["str", "int", "float", "bool", "floats"]
    help: str
    unit: str = ""
    stored: bool = True
    since: int = 1


_KINDS: dict[type, Literal["str", "int", "bool"]] = {str: "str", int: "int", bool: "bool"}

#: Columns of the environment a record was made in.
PROVENANCE = (
    Column("kernel", "str", "kernel library that really ran: oneDNN, ATen, cuDNN"),
    Column("looped", "bool", "Python called its operators timestep by timestep", since=2),
    Column("width", "int", "hidden units or channels after matching"),
    Column("match_deviation", "float", "matched quantity over its target, minus one", "1"),
    Column("output_size", "int", "features per timestep of the output"),
    Column("unbounded", "bool", "the receptive field grows with the sequence", since=2),
    Column(
        "predicted", "floats", "of a test sequence: seq_len outputs, then outputs fed back", since=2
    ),
    Column("expected", "floats", "what these should have been", since=2),
    Column("tf32_matmul", "bool", "matrix products may use TF32"),
    Column("tf32_cudnn", "bool", "cuDNN kernels may use TF32"),
    Column("threads", "int", "intra-op threads while measuring"),
    Column(
        "page_faults", "float", "minor page faults of a step, after it was measured", "1", since=2
    ),
    Column(
        "fault_time", "float", "time to take a page from the kernel and give it back", "s", since=2
    ),
    Column(
        "malloc", "str", "allocator of the process and what the environment sets of it", since=2
    ),
    Column("load", "float", "one-minute load average at the start", "1"),
    Column(
        "other_cores", "float", "cores that other processes kept busy while measuring", "1", since=2
    ),
    Column("preemptions", "float", "involuntary context switches while measuring", "1/s", since=2),
    Column("calibration", "float", "best time of a loop of fixed length before", "s", since=2),
    Column(
        "clock_change",
        "float",
        "rate of that loop after over before, minus one",
        "1",
        since=2,
    ),
    Column("governor", "str", "CPU frequency governor, where readable"),
    Column("cpu", "str", "processor name"),
    Column("cores", "int", "logical processors this process may use"),
    Column("memory", "float", "physical memory", "B"),
    Column("gpu", "str", "CUDA device name"),
    Column("gpu_memory", "float", "its memory", "B"),
    Column("driver", "str", "its driver version, where readable"),
    Column("cuda", "str", "CUDA version torch was built for"),
    Column("cudnn", "str", "cuDNN version"),
    Column("os", "str", "operating system"),
    Column("python", "str", "interpreter version"),
    Column("torch", "str", "version"),
    Column("numpy", "str", "version"),
    Column("benchsuite", "str", "version"),
    Column("asv_runner", "str", "version"),
    Column("dirty", "bool", "the working tree had uncommitted changes"),
    Column("tree", "str", "digest of those changes"),
    Column("source", "str", "digest of the code that measured, and of a model from outside"),
)

SCHEMA: dict[str, Column] = {
    column.name: column
    for column in (
        *(
            Column(axis.name, _KINDS[axis.kind], axis.help, since=axis.since)
            for axis in AXES.values()
        ),
        Column("case", "str", "readable id of the case"),
        Column("study", "str", "name of the study"),
        Column("machine", "str", "name of the machine"),
        Column("commit", "str", "commit under test, if any"),
        Column("measure", "str", "what was measured"),
        Column("unit", "str", "base unit of value, interval, quartiles and samples"),
        Column("value", "float", "median of the samples, or the exact number", "unit"),
        Column("ci_low", "float", "95 % interval of the median", "unit", stored=False),
        Column("ci_high", "float", "95 % interval of the median", "unit", stored=False),
        Column("q25", "float", "first quartile", "unit", stored=False),
        Column("q75", "float", "third quartile", "unit", stored=False),
        Column("n_samples", "int", "number of samples (exact values: 1)", "1", stored=False),
        Column("number", "int", "steps averaged in each sample", "1"),
        Column("samples", "floats", "raw samples per step, in order", "unit"),
        Column("status", "str", "ok, skipped, oom, timeout, failed or crashed"),
        Column("reason", "str", "why it is not ok"),
        Column("warning", "str", "what to know about an ok value, such as an unstable timing"),
        Column("version", "str", "version of the measure"),
        Column("started_at", "float", "Unix time", "s"),
        Column("duration", "float", "spent inside the measurement", "s"),
        Column("setup_duration", "float", "spent building the workload", "s"),
        Column("timeout", "float", "limit for the case", "s"),
        Column("min_run_time", "float", "least time spent timing", "s"),
        *PROVENANCE,
        Column("uid", "str", "identity of the attempt"),
        Column("run", "str", "identity of the run it belongs to"),
        Column("schema", "int", "version of this table"),
    )
}
