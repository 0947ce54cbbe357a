"""The benchmark classes that asv runs: one for each measure of the study, made from the registry.

A benchmark directory holds one module with the text of `BENCHMARK_MODULE`. Environment variables
name the study and where records go; without them the study is the `study.toml` beside that module,
or `tracked` without one, and records go to `.benchsuite` beside the benchmark directory.

Importing this module imports no torch and touches no CUDA: asv's forkserver imports it before it
forks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, ClassVar

from benchsuite import host
from benchsuite.catalog.measures import MEASURES, MeasureSpec
from benchsuite.grid.axes import Value
from benchsuite.grid.study import Study
from benchsuite.grid.study_file import load_study
from benchsuite.records import Record, home
from benchsuite.records.home import StudyHome
from benchsuite.records.provenance import CHECKOUT
from benchsuite.sweep import processes
from benchsuite.sweep.guards import resolve_device

#: The text of a benchmark module, in this repository, in asv's directory of a study and in the
#: repositories that `benchsuite init` sets up.
BENCHMARK_MODULE = '''\
"""The benchmarks that asv runs: one class for each measure of the study, made from the registry."""

from benchsuite.sweep import suite

globals().update(suite.benchmark_classes(__file__))
'''

STUDY = "BENCHSUITE_STUDY"
RUN = "BENCHSUITE_RUN"
#: Where models as module:factory are, besides what is installed. Only `benchsuite run` sets it: the
#: environments that asv makes must not see the checkout.
MODELS_FROM = "BENCHSUITE_MODELS_FROM"

TRACKED = "tracked"
#: Definition of the study whose history a repository keeps, beside its benchmark module.
STUDY_FILE = "study.toml"
#: Seconds by which asv's limit is above our own, which leaves a record with the reason.
_GRACE_SECONDS = 30.0
_ASV_UNITS = {"s": "seconds", "B": "bytes", "1": "count"}


class CaseBenchmark:
    """Base of the benchmark classes; asv calls `track_<measure>` with a value per parameter."""

    study: ClassVar[Study]
    spec: ClassVar[MeasureSpec]

    def run(self, *point: Value) -> float | dict[str, Any]:
        """Measure one point.

        Returns:
            A number, or samples in the form that asv takes for a timing.

        Raises:
            SkipNotImplemented: where the case has no meaning here; asv keeps it as NaN.
            RuntimeError: where it failed, with the record's reason, which asv shows.
        """
        record = self._record(*point)
        if record.status == "skipped":
            from asv_runner.benchmarks.mark import SkipNotImplemented

            raise SkipNotImplemented(record.reason)
        if record.status != "ok" or record.value is None:
            raise RuntimeError(f"{record.case.id}: {record.status}: {record.reason}")
        if record.samples:
            return {"samples": list(record.samples), "number": record.number}
        return int(record.value) if record.value.is_integer() else record.value

    def _record(self, *point: Value) -> Record:
        case, budget = self.study.case(point), self.study.budget
        if case.device == "cpu":
            processes.limit_memory()
        from benchsuite.measures.attempt import measure

        return measure(
            case,
            self.spec.name,
            budget=budget,
            study=self.study.name,
            family=self.study.families.get(case.model, ""),
            run=os.environ.get(RUN, ""),
            file=_study_home(self.study).records,
            watch=True,
        )


def benchmark_classes(file: str) -> dict[str, type]:
    """The classes of the study by name: `Latency`, `PeakMemory` and so on.

    Args:
        file: The benchmark module's `__file__`. asv runs benchmarks in a temporary directory, so
            results and checkout are looked for beside the benchmark directory.
    """
    beside = Path(file).absolute().parent.parent
    os.environ[home.VARIABLE] = str(beside / (os.environ.get(home.VARIABLE) or home.DEFAULT))
    os.environ.setdefault(CHECKOUT, str(beside))
    definition = Path(file).absolute().with_name(STUDY_FILE)
    if os.environ.get(STUDY, "").endswith(".toml"):
        os.environ[STUDY] = str(beside / os.environ[STUDY])
    elif not os.environ.get(STUDY):
        os.environ[STUDY] = str(definition) if definition.exists() else TRACKED
    directory = os.environ.get(MODELS_FROM)
    if directory and directory not in sys.path:
        sys.path.append(directory)  # last: a copy.py there must not hide the standard library's
    chosen = _chosen_study()
    if (
        "run_server" in sys.argv
    ):  # this process is asv's forkserver, whose children inherit what is loaded
        _warm_up(steps=any(MEASURES.get(name).steps for name in chosen.measures))
    return {
        _class_name(name): _benchmark_class(chosen, MEASURES.get(name)) for name in chosen.measures
    }


def _benchmark_class(study: Study, spec: MeasureSpec) -> type:
    def track(self: CaseBenchmark, *point: Value) -> float | dict[str, Any]:
        return self.run(*point)

    track.__doc__ = spec.summary
    return type(
        _class_name(spec.name),
        (CaseBenchmark,),
        {
            "__doc__": spec.summary,
            "__module__": __name__,
            "study": study,
            "spec": spec,
            "params": [list(values) for values in study.params_of(spec.name).values()],
            "param_names": list(study.params),
            "type": "time" if spec.unit == "s" else "track",
            "unit": _ASV_UNITS.get(spec.unit, spec.unit),
            "version": spec.version,
            "pretty_name": spec.name,
            "timeout": study.budget.timeout + _GRACE_SECONDS,
            f"track_{spec.name}": track,
        },
    )


def _class_name(measure: str) -> str:
    return "".join(part.capitalize() for part in measure.split("_"))


def _chosen_study() -> Study:
    """The study, with the device `auto` resolved."""
    return resolve_device(load_study(os.environ[STUDY]))


def _study_home(study: Study) -> StudyHome:
    return StudyHome.of(home.home_of(None), study.name)


def _warm_up(*, steps: bool) -> None:
    """Import and start what every child needs, on one thread and without touching CUDA.

    Args:
        steps: Whether children run steps of models.
    """
    import memray
    import torch

    from benchsuite.measures import attempt, machine, memory, structure, timing
    from benchsuite.records import provenance
    from benchsuite.runtime import count
    from benchsuite.runtime.build import Sizes

    torch.set_num_threads(1)  # a parent that has started OpenMP threads must not fork
    _ = attempt, machine, structure, timing, memray
    if steps:
        memory.warm_profiler()
        sizes = Sizes(1, 1, 1, bidirectional=False, seq_len=2)
        count.flops("lstm", sizes, batch_size=1, train=False)
    provenance.software()
    host.hardware()
    provenance.checkout()
