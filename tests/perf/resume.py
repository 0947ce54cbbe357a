"""How soon a study of which one measurement of 200,000 is missing begins to measure it.

    python tests/perf/resume.py [COUNT]

Writes the finished records by hand, then runs `benchsuite run` and prints the seconds until the
missing measurement has begun, and the seconds of processor and the memory of the driver and of asv
by then. Limits for 200,000: 10 s, 500 MiB of the driver.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.study_file import parse_study
from benchsuite.records.attempts import new_attempt
from benchsuite.sweep import plan

AXES = "model = ['lstm', 'gru']\nhidden_size = [4, 8]\nmode = 'infer'\ndevice = 'cpu'\n"


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    lengths = list(range(1, count // 400 + 1))
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        text = f"measures = ['latency', 'parameters']\nmin_run_time = 0.05\n[axes]\n{AXES}"
        text += f"batch_size = {list(range(1, 51))}\nseq_len = {lengths}\n"
        Path("big.toml").write_text(text)
        study = parse_study(text, "big")
        wanted = plan.wanted(study)
        file = Path("home/big/records.jsonl")
        file.parent.mkdir(parents=True)
        encode = msgspec.json.Encoder().encode
        with file.open("wb") as out:
            for index, (case, name) in enumerate(wanted.values()):
                if index == 10:
                    continue
                spec = MEASURES.get(name)
                record = new_attempt(case, spec, study.budget, study="big", run="first")
                out.write(encode(record.to_row()) + b"\n")
                samples = (1e-3,) * 20 if spec.unit == "s" else ()
                ended = record.replace(status="ok", value=1e-3, samples=samples, duration=0.1)
                out.write(encode(ended.to_row()) + b"\n")
        size = file.stat().st_size
        words = [sys.executable, "-m", "benchsuite", "run", "big.toml", "--home", "home"]
        began = time.monotonic()
        driver = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        while file.stat().st_size == size and driver.poll() is None:
            time.sleep(0.05)
        seconds = time.monotonic() - began
        processes = _tree(driver.pid)
        memory = {name: _peak(pid) for name, pid in processes.items()}
        computed = {name: _computed(pid) for name, pid in processes.items()}
        print(f"{len(wanted):,} measurements, {size / 1e6:.0f} MB: begins after {seconds:.1f} s")
        print(f"load {os.getloadavg()[0]:.1f}; seconds of processor by then: {computed}")
        print("peak memory, MiB:", memory)
        driver.wait()
        print(f"the run took {time.monotonic() - began:.1f} s, exit code {driver.returncode}")


def _tree(pid):
    child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {"driver": pid, **({"asv": int(child[0])} if child else {})}


def _computed(pid):
    """Seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
