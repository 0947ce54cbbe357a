"""On a CUDA device: clocks, memory, kernels, and asv's forkserver."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from benchsuite import measure
from benchsuite.catalog.models import MODELS
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.records import load_records

pytestmark = pytest.mark.gpu

NAMES = [spec.name for spec in MODELS if spec.family != "outside" and spec.execution != "native"]
BUDGET = Budget(min_run_time=0.05, max_run_time=0.5)


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("model", NAMES)
def test_every_model_is_timed_on_the_wall_and_on_the_device(model, mode):
    case = Case(model=model, mode=mode, device="cuda", seq_len=16, batch_size=4)
    wall, device = (measure(case, name, budget=BUDGET) for name in ("latency", "device_time"))
    assert (wall.status, device.status) == ("ok", "ok"), (wall.reason, device.reason)
    assert 0 < device.value < 2 * wall.value
    assert wall.provenance["gpu"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("model", ["lstm", "gru"])
def test_torchs_layers_run_on_cudnn(model):
    record = measure(Case(model=model, device="cuda", seq_len=16), "latency", budget=BUDGET)
    assert record.provenance["kernel"] == "cuDNN"
    assert record.provenance["cudnn"]


@pytest.mark.parametrize("model", NAMES)
def test_peak_memory_is_that_of_the_allocator(model):
    case = Case(model=model, mode="train", device="cuda", seq_len=64, batch_size=8)
    values = {measure(case, "peak_memory").value for _ in range(2)}
    assert len(values) == 1
    assert values.pop() >= 8 * 64 * 64 * 4  # the output, at the least


def test_a_case_that_cannot_fit_fails_alone():
    case = Case(model="conv", device="cuda", seq_len=1 << 20, batch_size=4096, hidden_size=1024)
    record = measure(case, "latency", budget=BUDGET)
    assert record.status == "oom"
    assert measure(Case(model="conv", device="cuda"), "latency", budget=BUDGET).status == "ok"


@pytest.mark.parametrize("model", [n for n in NAMES if MODELS.get(n).execution != "Triton"])
def test_cpu_and_cuda_agree(model):
    from benchsuite.runtime.workload import Workload

    outputs = [
        Workload(Case(model=model, device=d, dtype="float64", seq_len=16, batch_size=2)).step()
        for d in ("cpu", "cuda")
    ]
    torch.testing.assert_close(outputs[0], outputs[1].cpu(), rtol=1e-9, atol=1e-9)


def test_the_forkserver_survives_cuda(tmp_path):
    words = ["run", "gpu", "-a", "model=lstm,tcn", "-a", "seq_len=16", "-a", "batch_size=2"]
    words += ["-a", "hidden_size=16", "-a", "mode=train", "--name", "fork", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchsuite", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    frame = load_records(json.loads(done.stdout)["records"])
    assert set(frame["status"]) == {"ok"}
    assert set(frame["device"]) == {"cuda"}
