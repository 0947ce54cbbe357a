"""How long records take to load and to report, how much memory, and how that grows with records.

    python tests/perf/records.py [--large] [--load] [--resume] [SIZE …]

Generates record files of 20,000 and 200,000 rows with raw samples, each with the start of its
attempt as well, and reads each in a separate process. `--large` adds 2,000,000, which are loaded
only: their file takes 4 GB while it is there. `--load` leaves out the report everywhere.
`--resume` prints instead what it takes to find out what is left of a study of 200,000 finished
cases, and to list a home of 10,000 studies. A benchmark, not a test.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.case import Case
from benchsuite.grid.study import load_study
from benchsuite.records import FILE_NAME, Record
from benchsuite.records.attempts import new_attempt

MODELS = (
    *("lstm", "gru", "lstm_cell", "gru_cell", "lstm_peephole", "lstm_peephole_diag"),
    *("lstm_fused", "tcn", "tcn_fixed", "conv"),
)
LENGTHS = tuple(64 << k for k in range(8))
COMMITS = ("1" * 40, "2" * 40)
SIZES, LARGE = (20_000, 200_000), 2_000_000

_CHILD = """
import resource, sys, time
from pathlib import Path
from benchsuite.records import load_records
def clock():
    return time.perf_counter(), time.process_time()
def since(start):
    return " ".join(str(now - then) for now, then in zip(clock(), start))
start = clock()
frame = load_records(sys.argv[1])
loaded, reported, page = since(start), "0 0", 0
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[2]:
    from benchsuite.report import write_report
    start = clock()
    page = write_report(frame, Path(sys.argv[2]))["index"].stat().st_size
    reported = since(start)
whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(frame), loaded, most / 2**20, reported, whole / 2**20, page / 1e6)
"""

_RESUME = """
import resource, sys, time
from pathlib import Path
from benchsuite.grid.study import load_study
from benchsuite.records.attempts import finished_keys, study_keys
start = time.perf_counter(), time.process_time()
study = load_study(sys.argv[1])
known = finished_keys(Path(sys.argv[2]))
wanted = dict(study_keys(study))
left = sum(key not in known for key in wanted)
took = time.perf_counter() - start[0], time.process_time() - start[1]
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{len(wanted):,} measurements, {len(known):,} finished, {left} left:"
      f" {took[0]:.1f} s ({took[1]:.1f} s of processor), {most:.2f} GiB")
"""
_LIST = """
import sys, time
from pathlib import Path
from benchsuite.cli._sources import measured_studies
start = time.perf_counter(), time.process_time()
names = measured_studies(Path(sys.argv[1]))
print(f"{len(names):,} studies: {time.perf_counter() - start[0]:.2f} s"
      f" ({time.process_time() - start[1]:.2f} s of processor)")
"""


def resume() -> None:
    """Print the cost of planning a resumed study, and of listing many studies."""
    axes = {
        "model": ["lstm", "gru", "tcn", "conv"],
        "seq_len": list(range(1, 626)),
        "batch_size": list(range(1, 11)),
        "hidden_size": [8, 16, 32, 64],
        "mode": ["infer"],
    }
    study = load_study("quick").derive(axes, measures=["latency"], name="many").with_device("cpu")
    with tempfile.TemporaryDirectory() as directory:
        (definition := Path(directory) / "s.toml").write_text(study.to_toml(), encoding="utf-8")
        file = Path(directory) / FILE_NAME
        spec, samples = MEASURES.get("latency"), (1e-3,) * 15
        with file.open("w", encoding="utf-8") as out:
            for number, case in enumerate(study.cases("latency")):
                if number == study.size // 2:
                    continue  # the one that is left
                start = new_attempt(case, spec, study.budget, study="many", run="r")
                for record in (start, start.replace(status="ok", value=1e-3, samples=samples)):
                    out.write(json.dumps(record.to_row(), separators=(",", ":")) + "\n")
        print(f"{file.stat().st_size / 1e6:,.0f} MB of records")
        child = [sys.executable, "-c", _RESUME, str(definition), str(file)]
        subprocess.run(child, check=True)
    with tempfile.TemporaryDirectory() as directory:
        for number in range(10_000):
            place = Path(directory) / f"study{number}"
            place.mkdir()
            (place / FILE_NAME).touch()
        subprocess.run([sys.executable, "-c", _LIST, directory], check=True)


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
    with path.open("w", encoding="utf-8") as out:
        for index, case in enumerate(itertools.islice(cases(), -(-count // len(COMMITS)))):
            own = {**common, **case.as_dict(), "case": case.id}
            rank = 1 + MODELS.index(case.model)
            steps = case.seq_len * (case.batch_size * case.hidden_size / 64) ** 0.7
            true = 2e-5 * rank + 2e-6 / rank * steps
            for attempt, commit in enumerate(COMMITS[: count - index * len(COMMITS)]):
                number = index * len(COMMITS) + attempt
                row = {**own, "commit": commit, "uid": f"{number:016x}"}
                row["started_at"] = 1.8e9 + number
                out.write(json.dumps(row, separators=(",", ":")) + "\n")
                noise = rng.normal(0, 0.03) + rng.normal(0, 0.04, rng.integers(10, 21))
                samples = true * np.exp(noise)
                row |= {"status": "ok", "value": np.median(samples), "samples": samples.tolist()}
                if number % 200 == 199:
                    row |= {"status": "failed", "reason": "RuntimeError: out of luck"}
                    del row["value"], row["samples"]
                out.write(json.dumps(row, separators=(",", ":")) + "\n")


def main() -> None:
    """Generate, read and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("sizes", metavar="SIZE", nargs="*", type=int, default=SIZES)
    options.add_argument("--large", action="store_true")
    options.add_argument("--load", action="store_true")
    options.add_argument("--resume", action="store_true")
    own = options.parse_args()
    if own.resume:
        resume()
        return
    print("limits at 200,000: load 5 s, report 20 s, 1.5 GiB, page 5 MB; linear")
    before: list[float] = []
    for size in (*own.sizes, *([LARGE] if own.large else [])):
        with tempfile.TemporaryDirectory() as directory:
            file, report = Path(directory) / FILE_NAME, str(Path(directory) / "report")
            write_records(file, size)
            if own.load or size == LARGE:
                report = ""
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, str(file), report],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            megabytes = file.stat().st_size / 1e6
        rows, loaded, busy, most, reported, busy_too, whole, page = map(float, done.stdout.split())
        print(f"{size:,} attempts, {megabytes:,.0f} MB → {rows:,.0f} rows")
        print(f"  load   {loaded:6.1f} s ({busy:.1f} s of processor), {most:.2f} GiB")
        if report:
            times = f"{reported:6.1f} s ({busy_too:.1f} s of processor), {whole:.2f} GiB"
            print(f"  report {times}, page {page:.1f} MB")
        if before:
            ratios = [busy / before[1]] + ([busy_too / before[2]] if report else [])
            growth = " and ".join(f"{ratio:.1f}" for ratio in ratios)
            print(f"  {size / before[0]:.0f} times the attempts took {growth} times the processor")
        before = [size, busy, busy_too]
        sys.stdout.flush()


if __name__ == "__main__":
    main()
