"""Loads asv's result files, such as those of a plain `asv run`, into the frame of `records`.

asv stores values, samples (with `--record-samples`) and the commit. It stores neither the reason
for a skipped or failed case nor most of the provenance; those columns stay empty.
"""

from __future__ import annotations

import ast
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import Case
from benchsuite.records import Record, Status, to_frame

if TYPE_CHECKING:
    import pandas as pd

INDEX = "benchmarks.json"


def is_asv_results(path: Path) -> bool:
    """Whether a path is a results directory of asv."""
    return (path / INDEX).is_file()


def load_asv_results(path: str | Path, *, study: str = "asv") -> pd.DataFrame:
    """Load the suite's benchmarks from a results directory of asv.

    Args:
        path: asv's `results_dir`.
        study: Value of the study column, which asv does not store.

    Raises:
        UsageError: if it is not such a directory, or holds no benchmark of the suite.
    """
    directory = Path(path)
    if not is_asv_results(directory):
        raise UsageError(f"{str(path)!r} is not a results directory of asv: it has no {INDEX}")
    records = list(_records(directory, study))
    if not records:
        raise UsageError(f"{str(path)!r} holds no benchmark of the suite")
    frame = to_frame(records)
    frame.attrs["problems"] = []
    return frame


def _records(directory: Path, study: str) -> Iterator[Record]:
    from asv.results import iter_results

    benchmarks = json.loads((directory / INDEX).read_text(encoding="utf-8"))
    for result in iter_results(str(directory)):
        for name in result.get_all_result_keys():
            measure = name.rpartition(".track_")[2]
            about = benchmarks.get(name)
            if measure not in MEASURES.names() or about is None:
                continue
            version = result.benchmark_version.get(name)
            if version not in (None, MEASURES.get(measure).version):
                continue  # the number had another meaning
            points = itertools.product(
                *([ast.literal_eval(p) for p in ps] for ps in about["params"])
            )
            values = result.get_result_value(name, about["params"]) or []
            samples = result.get_result_samples(name, about["params"])
            started = result.started_at.get(name)
            for point, value, raw in zip(points, values, samples, strict=True):
                yield _record(
                    dict(zip(about["param_names"], point, strict=True)),
                    measure,
                    value,
                    raw,
                    study=study,
                    machine=str(result.params.get("machine", "")),
                    commit=result.commit_hash,
                    # asv stores milliseconds
                    started_at=started / 1000 if started else float(result.date) / 1000,
                    provenance={"torch": str(result.params.get("torch", ""))},
                )


def _record(
    point: dict[str, Any],
    measure: str,
    value: float | None,
    samples: list[float] | None,
    **about: Any,
) -> Record:
    spec = MEASURES.get(measure)
    status: Status = "ok"
    reason = ""
    if value is None:
        status, reason = "failed", "asv stores no reason"
    elif math.isnan(value):
        status, reason = "skipped", "asv stores no reason"
    return Record(
        case=Case(**{name: value for name, value in point.items() if name in AXES}),
        measure=measure,
        unit=spec.unit,
        version=spec.version,
        status=status,
        reason=reason,
        value=value if status == "ok" else None,
        samples=tuple(samples or ()),
        **about,
    )
