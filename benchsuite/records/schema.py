"""The one table of columns, types and units, and the words a record's status may have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from benchsuite.grid.axes import AXES, Axis

SCHEMA_VERSION = 2

Status = Literal["started", "ok", "skipped", "oom", "timeout", "failed", "crashed"]
#: The reason of an attempt that was stopped from outside.
INTERRUPTED = "interrupted"
#: What is known of an attempt that was killed.
CRASHED = "its process ended without a result"
#: How the reason of an attempt begins that the system stopped for some time.
SUSPENDED = "suspended"
#: Outcomes that a resumed study takes as final; the others are tried again.
FINAL = frozenset({"ok", "skipped", "oom", "timeout"})


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the frame: its type, unit and meaning.

    `stored` is False for derived ones; older records lack those of a later `since`, the version of
    the schema that every record of it has the column in. A row with a number outside `low` to
    `high`, a text shorter than `low` or longer than `high`, or a text that is not one of `choices`
    (if there are any) is not a record. The bounds of a list are those of its numbers.
    """

    name: str
    kind: Literal["str", "int", "float", "bool", "floats"]
    help: str
    unit: str = ""
    stored: bool = True
    since: int = 1
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """`low` and `high`, or the limits of the type where they are None."""
        low, high = _LIMITS[self.kind]
        return low if self.low is None else self.low, high if self.high is None else self.high

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        low, high = self.bounds
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind == "str":
            return f"{low} to {high:,} characters"
        return f"{'whole ' if self.kind == 'int' else ''}numbers from {low:g} to {high:g}"


#: Largest number of a column: its square is still a finite float, as statistics need.
_LARGEST = 1e100
#: Smallest number above zero that is analysed: the square of its inverse is a finite float, too.
SMALLEST = 1e-100
#: The longest text of a column.
_LONGEST = 10_000
#: The longest text of a column that identifies something.
_LONGEST_NAME = 1_000
_LIMITS: dict[str, tuple[float, float]] = {
    "str": (0, _LONGEST),
    "int": (-(1 << 53), 1 << 53),  # what a float holds exactly
    "float": (-_LARGEST, _LARGEST),
    "floats": (-_LARGEST, _LARGEST),
    "bool": (0, 1),
}
#: The last second that `datetime` can show, minus a day for time zones.
_LAST_TIME = 253402214400.0
#: Longer than any duration: thirty years, in seconds.
_FOREVER = 1e9


_KINDS: dict[type, Literal["str", "int", "bool"]] = {str: "str", int: "int", bool: "bool"}

#: Columns of the environment a record was made in.
PROVENANCE = (
    Column("kernel", "str", "kernel library that really ran: oneDNN, ATen, cuDNN"),
    Column("looped", "bool", "Python called its operators timestep by timestep", since=2),
    Column("width", "int", "hidden units or channels after matching", low=0),
    Column("match_deviation", "float", "matched quantity over its target, minus one", "1"),
    Column(
        "extrapolated",
        "bool",
        "operations (of flops or match=flops) were predicted from shorter sequences, not counted",
        since=2,
    ),
    Column("family", "str", "family of a model from outside, as its study names it", since=2),
    Column("stream", "str", "how a stream knows of earlier calls: state, buffers …", since=2),
    Column("output_size", "int", "features per timestep of the output", low=0),
    Column("unbounded", "bool", "the receptive field grows with the sequence", since=2),
    Column(
        "predicted", "floats", "of a test sequence: seq_len outputs, then outputs fed back", since=2
    ),
    Column("expected", "floats", "what these should have been", since=2),
    Column("tf32_matmul", "bool", "matrix products may use TF32"),
    Column("tf32_cudnn", "bool", "cuDNN kernels may use TF32"),
    Column("threads", "int", "threads of torch's operators while measuring", low=0),
    Column(
        *("page_faults", "float", "minor page faults of a step, after it was measured", "1"),
        since=2,
        low=0,
    ),
    Column(
        *("fault_time", "float", "time to take a page from the kernel and give it back", "s"),
        since=2,
        low=0,
        high=_FOREVER,
    ),
    Column(
        "malloc", "str", "allocator of the process and what the environment sets of it", since=2
    ),
    Column("engine_version", "str", "what an engine other than eager depends on", since=2),
    Column("engine_threads", "int", "threads that the engine reports", since=2, low=0),
    Column(
        "engine_precision",
        "str",
        "as the engine's outputs show it: the case's dtype, float32, or less than float32",
        since=2,
    ),
    Column(
        *("engine_error", "float", "its greatest difference from float64, over the greatest", "1"),
        since=2,
        low=0,
    ),
    Column(
        *("preparation", "float", "time to compile, or to export and load, the module", "s"),
        since=2,
        low=0,
        high=_FOREVER,
    ),
    Column("load", "float", "one-minute load average at the start", "1", low=0),
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
    Column("cores", "int", "logical processors this process may use", low=0),
    Column("memory", "float", "physical memory", "B", low=0),
    Column("gpu", "str", "CUDA device name"),
    Column("gpu_memory", "float", "its memory", "B", low=0),
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


def _of_axis(axis: Axis) -> Column:
    """The column of an axis; records may have a model or an engine that is not available here."""
    kind = _KINDS[axis.kind]
    column = Column(axis.name, kind, axis.help, since=axis.since, low=axis.low, high=axis.high)
    if kind == "str" and axis.name not in {"model", "engine"}:
        choices = tuple(choice for choice in axis.choices if choice != "auto")
        return replace(column, choices=choices)
    return replace(column, low=1, high=_LONGEST_NAME) if kind == "str" else column


SCHEMA: dict[str, Column] = {
    column.name: column
    for column in (
        *map(_of_axis, AXES.values()),
        Column("case", "str", "readable id of the case", high=_LONGEST_NAME),
        Column("study", "str", "name of the study", high=_LONGEST_NAME),
        Column("machine", "str", "name of the machine", high=_LONGEST_NAME),
        Column("commit", "str", "commit under test, if any", high=_LONGEST_NAME),
        Column("measure", "str", "what was measured", high=_LONGEST_NAME),
        Column(
            *("unit", "str", "base unit of value, interval, quartiles and samples"),
            high=_LONGEST_NAME,
        ),
        Column("value", "float", "median of the samples, or the exact number", "unit", low=0),
        Column("ci_low", "float", "95 % interval of the median", "unit", stored=False),
        Column("ci_high", "float", "95 % interval of the median", "unit", stored=False),
        Column("q25", "float", "first quartile", "unit", stored=False),
        Column("q75", "float", "third quartile", "unit", stored=False),
        Column("p99", "float", "99 % quantile of calls, from 100 on", "unit", stored=False),
        Column("p999", "float", "99.9 % quantile of calls, from 1,000 on", "unit", stored=False),
        Column("worst", "float", "longest call of a stream", "unit", stored=False),
        Column("n_samples", "int", "number of samples (exact values: 1)", "1", stored=False),
        Column("number", "int", "steps averaged in each sample", "1", low=1),
        Column("samples", "floats", "raw samples per step, in order", "unit", low=0),
        Column(
            *("status", "str", "ok, skipped, oom, timeout, failed or crashed"),
            choices=get_args(Status),
        ),
        Column("reason", "str", "why it is not ok"),
        Column("warning", "str", "what to know about an ok value, such as an unstable timing"),
        Column("version", "str", "version of the measure", high=_LONGEST_NAME),
        Column("started_at", "float", "Unix time", "s", low=0, high=_LAST_TIME),
        Column("duration", "float", "spent inside the measurement", "s", low=0, high=_FOREVER),
        Column("setup_duration", "float", "spent building the workload", "s", low=0, high=_FOREVER),
        Column("timeout", "float", "limit for the case", "s", low=0, high=_FOREVER),
        Column("min_run_time", "float", "least time spent timing", "s", low=0, high=_FOREVER),
        *PROVENANCE,
        Column("uid", "str", "identity of the attempt", low=1, high=_LONGEST_NAME),
        Column("run", "str", "identity of the run it belongs to", high=_LONGEST_NAME),
        Column("schema", "int", "version of this table", low=1, high=SCHEMA_VERSION),
    )
}
