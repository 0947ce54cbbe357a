"""Valid files that mutations begin with: published records, explanations and studies, and a few made here."""

from __future__ import annotations

import json
from pathlib import Path

from pyarrow import parquet

from benchsuite.catalog.measures import MEASURES
from benchsuite.grid.case import Case
from benchsuite.records import SCHEMA, Record

ROOT = Path(__file__).parents[2]


def records() -> list[Record]:
    """Records of two models at several lengths, of most kinds of measures."""
    provenance = {"kernel": "oneDNN", "width": 8, "cpu": "a processor", "memory": 8e9, "torch": "2"}
    found = []
    for model in ("lstm", "conv"):
        for length in (16, 64, 256, 1024):
            case = Case(model=model, seq_len=length, hidden_size=8)
            true = 1e-5 + 1e-6 * length * (1 if model == "lstm" else 1.5)
            timed = tuple(true * (1 + 0.01 * (k % 3)) for k in range(9))
            waves = {"predicted": [0.1] * 40, "expected": [0.2] * 40}
            for name, value, samples, more in (
                ("latency", timed[4], timed, {}),
                ("peak_memory", 1000.0 + 64 * length, (), {}),
                ("parameters", 576.0, (), {}),
                ("flops", 1e4 * length, (), {}),
                ("receptive_field", 9.0, (), {"unbounded": False}),
                ("sine_mix_error", 0.1, (), waves),
            ):
                found.append(_record(case, name, value, samples, {**provenance, **more}))
    machine = Case(model="machine", seq_len=1, batch_size=1, hidden_size=1)
    for name, value in (("matmul_rate", 1e11), ("copy_bandwidth", 1e10)):
        found.append(_record(machine, name, value, (), provenance))
    return found


def _record(case: Case, name: str, value: float, samples: tuple, provenance: dict) -> Record:
    spec = MEASURES.get(name)
    return Record(
        case=case, measure=name, unit=spec.unit, version=spec.version, status="ok", value=value,
        samples=samples, study="fuzz", machine="here", started_at=1.7e9 + case.seq_len,
        uid=f"{case.model}{case.seq_len}{name}", timeout=60.0, run="r", commit="c" * 40,
        min_run_time=0.2, duration=0.3, provenance=provenance,
    )  # fmt: skip


def rows() -> list[dict]:
    """Rows of `records`, each after the row of its start."""
    found = []
    for record in records():
        start = record.replace(status="started", value=None, samples=())
        found += [start.to_row(), record.to_row()]
    return found


def published_rows() -> list[dict]:
    """Rows of the published default study, of an earlier schema: two models, one shape."""
    table = parquet.read_table(ROOT / "reports/default/records.parquet")
    found = []
    for row in table.to_pylist():
        shape = row["batch_size"], row["hidden_size"], row["mode"]
        if row["model"] not in {"lstm", "tcn", "machine"} or shape not in {
            *((1, 32, "infer"), (32, 32, "train"), (1, 1, "infer"))
        }:
            continue
        stored = {n: value for n, value in row.items() if value is not None and SCHEMA[n].stored}
        found.append({**stored, "samples": stored.get("samples", [])[:9]})
    return found


def explanations() -> list[dict]:
    """Published explanations of traces, and one as `benchsuite trace` writes it today."""
    files = sorted((ROOT / "reports").glob("**/explanation.json"))
    return [_explanation(), *(json.loads(file.read_text("utf-8")) for file in files)]


def _explanation() -> dict:
    return {
        "case": "lstm-T64-B1-H8-infer-cpu", "device": "cpu", "seconds": 0.01, "model": "lstm",
        "untraced_seconds": 0.008, "page_faults": 3.0, "fault_share": 0.1,
        "shares": {"python": 0.5, "dispatch": 0.2, "matmul": 0.3}, "phases": {"forward": 1.0},
        "bound": "overhead", "bounds": {"overhead": 0.7, "arithmetic": 0.2, "memory": 0.1},
        "timesteps": 64, "calls": 100, "works": 50, "products": 2, "kernels": 0, "unrolled": True,
        "idle": None, "libraries": {"oneDNN": 1.0}, "flops_rate": 1e9, "cut": [],
        "top": [{"op": "aten::mm", "category": "matmul", "calls": 3, "seconds": 0.1, "share": 0.2}],
        "sentences": ["A step takes 1 ms."],
    }  # fmt: skip


def studies() -> list[str]:
    """The studies that come with the suite, and one with every kind of entry."""
    files = sorted((ROOT / "benchsuite/grid/studies").glob("*.toml"))
    return [_STUDY, *(file.read_text("utf-8") for file in files)]


_STUDY = """name = "fuzzed"
description = "a study"
measures = ["latency", "peak_memory", "parameters"]
min_run_time = "100 ms"
max_run_time = 1.0
timeout = 60
[axes]
model = ["lstm", "conv", "own:model"]
seq_len = "64:1024:*2"
batch_size = [1, 4]
hidden_size = 8
match = ["width", "params"]
[only.peak_memory]
seq_len = [64, 256]
[families]
"own:model" = "convolutional"
"""


def trace() -> dict:
    """A trace as torch's profiler writes it, with the suite's notes."""
    shapes = {"Input Dims": [[1, 8], [8, 8]], "Input type": ["float", "float"]}
    steps = [
        {"ph": "X", "cat": "user_annotation", "name": f"ProfilerStep#{number}", "ts": 100 * number,
         "dur": 90, "pid": 1, "tid": 1}
        for number in (1, 2)
    ]  # fmt: skip
    operators = [
        {"ph": "X", "cat": "cpu_op", "name": name, "ts": 105 + 9 * at, "dur": 8, "pid": 1, "tid": 1,
         "args": {**shapes, "Sequence number": at, "External id": at}}
        for at, name in enumerate(["aten::mm", "aten::addmm", "aten::relu", "aten::copy_"])
    ]  # fmt: skip
    kernel = {"ph": "X", "cat": "kernel", "name": "k", "ts": 150, "dur": 3, "pid": 0, "tid": 7,
              "args": {"correlation": 3, "External id": 2}}  # fmt: skip
    notes = {
        "case": "c", "axes": {"seq_len": 2, "batch_size": 1, "model": "lstm", "mode": "infer"},
        "pace": {"flops": 1e9, "bandwidth": 1e9, "near_bandwidth": 2e9, "near_bytes": 1e5,
                 "floor": 1e-6, "fault_time": 1e-7},
        "cut": ["x"], "page_faults": 1.0, "untraced_step": 0.001,
    }  # fmt: skip
    return {"schemaVersion": 1, "traceEvents": [*steps, *operators, kernel], "benchsuite": notes}
