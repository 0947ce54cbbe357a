"""How long records take to load, to report and to advise from, and how much memory.

    python tests/perf/records.py [--large] [--only load] [--keep DIR] [SIZE …]

Generates record files of 20,000 and 200,000 attempts, each with its first row and with raw samples,
and reads each in processes of their own: all columns (`load`), `benchsuite report` and `benchsuite
advise`, whose times include the start of Python and the reading. `--large` adds 2,000,000 attempts,
whose file takes 4.5 GB in TMPDIR while it is there. `--keep` leaves the files in a directory, where
another call finds them; without it they are removed. `--only` may be given several times. Memory is
the peak of the process and, added to it, that of its largest child process. A benchmark, not a
test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from benchsuite.grid.case import Case
from benchsuite.records import FILE_NAME, Record

MODELS = (
    *("lstm", "gru", "lstm_cell", "gru_cell", "lstm_peephole", "lstm_peephole_diag"),
    *("lstm_fused", "tcn", "tcn_fixed", "conv"),
)
LENGTHS = tuple(64 << k for k in range(8))
COMMITS = ("1" * 40, "2" * 40)
#: Attempts whose samples are drawn together.
_DRAWN = 10_000
SIZES, LARGE = (20_000, 200_000), 2_000_000

#: What is measured → limits in seconds on the clock for 200,000 and 2,000,000 attempts.
STAGES = {"load": (5, 30), "report": (20, 60), "advise": (None, 10)}

_CHILD = """
import json, os, resource, sys, time
stage, path, output = sys.argv[1:]
began = time.perf_counter()
if stage == "load":
    from benchsuite.records import load_records
    rows = len(load_records(path))
else:
    from benchsuite.cli import app
    words = {"report": [path, "-o", output],
             "advise": ["--study", path, "-a", "T=300", "-a", "B=1", "-a", "H=64"]}[stage]
    app([stage, *words], standalone_mode=False)
    rows = 0
seconds = time.perf_counter() - began
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
busy = sum(own.ru_utime + own.ru_stime for own in used)
memory = [own.ru_maxrss / 2**20 for own in used]
print("\\n" + json.dumps([seconds, busy, *memory, rows]))
"""


def cases() -> Iterator[Case]:
    """Every model at every length of each shape, without end: a small study's shapes first."""
    for seed in itertools.count():
        for match, dtype, threads, mode, hidden, batch, model, length in itertools.product(
            *(("width", "params"), ("float32", "float64"), (1, 2), ("infer", "train")),
            *((16, 32, 64, 128, 256), (1, 4, 16, 64), MODELS, LENGTHS),
        ):
            yield Case(
                model=model,
                seq_len=length,
                batch_size=batch,
                hidden_size=hidden,
                mode=mode,
                dtype=dtype,
                num_threads=threads,
                match=match,
                seed=seed,
            )


def write_records(path: Path, count: int) -> None:
    """Write `count` attempts: each case at two commits, 10 to 20 samples, one in 200 failed."""
    rng = np.random.default_rng(0)
    provenance = {
        **{"kernel": "oneDNN", "width": 64, "match_deviation": 0.01, "output_size": 64},
        **{"threads": 1, "load": 0.5, "cpu": "Some Processor (R) 3.1 GHz", "cores": 2},
        **{"memory": 25276063744.0, "os": "Linux 6.18", "python": "3.12.1", "torch": "2.13.0+cpu"},
        **{"numpy": "2.4.6", "benchsuite": "0.1.0", "asv_runner": "0.3.2", "dirty": False},
        **{"tf32_matmul": False, "tf32_cudnn": True, "source": "fc9e076f34af"},
    }
    common = Record(
        case=Case(model="lstm"),
        measure="latency",
        unit="s",
        version="1",
        study="generated",
        machine="none",
        run="3416c95daa02",
        timeout=60.0,
        min_run_time=0.25,
        duration=0.26,
        setup_duration=0.02,
        provenance=provenance,
    ).to_row()
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as out:
        for index, case in enumerate(itertools.islice(cases(), -(-count // len(COMMITS)))):
            own = {**common, **case.as_dict(), "case": case.id}
            rank = 1 + MODELS.index(case.model)
            steps = case.seq_len * (case.batch_size * case.hidden_size / 64) ** 0.7
            true = 2e-5 * rank + 2e-6 / rank * steps
            for attempt, commit in enumerate(COMMITS[: count - index * len(COMMITS)]):
                number = index * len(COMMITS) + attempt
                row = {**own, "commit": commit, "uid": f"{number:016x}"}
                row["started_at"] = 1.8e9 + number
                out.write(encode(row) + b"\n")
                if number % _DRAWN == 0:  # many at a time, as each call takes long
                    factors = np.exp(
                        rng.normal(0, 0.03, (_DRAWN, 1)) + rng.normal(0, 0.04, (_DRAWN, 20))
                    )
                    lengths = rng.integers(10, 21, _DRAWN).tolist()
                samples = (true * factors[number % _DRAWN, : lengths[number % _DRAWN]]).tolist()
                row |= {"status": "ok", "value": statistics.median(samples), "samples": samples}
                if number % 200 == 199:
                    row |= {"status": "failed", "reason": "RuntimeError: out of luck"}
                    del row["value"], row["samples"]
                out.write(encode(row) + b"\n")


def measured(stage: str, file: Path) -> list[float]:
    """Seconds, seconds of processor, GiB of the process and of its largest child, and rows."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, stage, str(file), str(file.with_name("report"))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Generate, read and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("sizes", metavar="SIZE", nargs="*", type=int, default=SIZES)
    options.add_argument("--large", action="store_true")
    options.add_argument("--only", action="append", choices=STAGES)
    options.add_argument("--keep", metavar="DIR", type=Path)
    own = options.parse_args()
    before: dict[str, tuple[int, float]] = {}
    for size in (*own.sizes, *([LARGE] if own.large else [])):
        with tempfile.TemporaryDirectory() as directory:
            file = (own.keep / str(size) if own.keep else Path(directory)) / FILE_NAME
            began = time.perf_counter()
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                write_records(file.with_suffix(".part"), size)
                file.with_suffix(".part").rename(file)
            written = time.perf_counter() - began
            megabytes = file.stat().st_size / 1e6
            print(f"{size:,} attempts, {megabytes:,.0f} MB, written in {written:.0f} s", flush=True)
            for stage, (limit, limit_large) in STAGES.items():
                if own.only and stage not in own.only:
                    continue
                load = os.getloadavg()[0]
                seconds, busy, most, of_child, rows = measured(stage, file)
                goal = limit_large if size == LARGE else limit if size == SIZES[-1] else None
                line = f"  {stage:6} {seconds:6.1f} s, {busy:.1f} s of processor"
                line += f", {most:.2f} + {of_child:.2f} GiB, load {load:.1f}"
                line += f" → {rows:,.0f} rows" if rows else ""
                line += f" (limit {goal} s)" if goal else ""
                if stage in before:
                    size_before, busy_before = before[stage]
                    line += f"; {busy / busy_before:.1f} × for {size / size_before:.0f} × as many"
                before[stage] = size, busy
                print(line, flush=True)


if __name__ == "__main__":
    main()
