"""Engines that compile or export: what they give, what they cannot do, and what is recorded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.attempt import measure
from benchsuite.runtime import engines, precision
from benchsuite.runtime.engines import compiled, missing, onnx_runtime
from benchsuite.runtime.workload import Workload, prepare

QUICK = Budget(min_run_time=0.01, max_run_time=0.02)
SIZES = {"seq_len": 6, "batch_size": 2, "hidden_size": 8}
EXPORTED = ("onnxruntime", "onnxruntime_int8", "openvino")


@pytest.fixture(autouse=True)
def _no_workload_of_another_test():
    prepare.cache_clear()


def needs(engine):
    package = engine.partition("_")[0]
    if importlib.util.find_spec(package) is None or importlib.util.find_spec("onnx") is None:
        pytest.skip(f"needs {package} and onnx (pip install 'benchsuite[engines]')")


def outcome(model, engine, name="latency", **axes):
    return measure(Case(model=model, engine=engine, **{**SIZES, **axes}), name, budget=QUICK)


class Branching(nn.Module):
    """Python that branches on data."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.linear = nn.Linear(input_size, hidden_size)

    def forward(self, x_BTF: Tensor) -> Tensor:
        y = self.linear(x_BTF)
        return 3 * y if x_BTF.sum() > 0 else -y


class Sorting(nn.Module):
    """An operator that ONNX does not have."""

    def __init__(self, input_size):
        super().__init__()

    def forward(self, x_BTF: Tensor) -> Tensor:
        return torch.linalg.eigvalsh(x_BTF @ x_BTF.mT)[..., None] * x_BTF


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("model", ["lstm", "lstm_cell", "lstm_fused", "gru", "tcn", "conv"])
def test_exported_models_give_the_same_outputs(model, engine):
    needs(engine)
    workload = Workload(Case(model=model, engine=engine, **SIZES))
    given = workload.step()
    expected = workload.module(workload.x_BTF).detach()
    assert torch.allclose(given, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_record_has_version_threads_and_the_precision_that_was_found(engine):
    needs(engine)
    record = outcome("lstm", engine, num_threads=1)
    facts = record.provenance
    assert (record.status, record.reason) == ("ok", "")
    assert facts["engine_version"].startswith(f"{engine} 20" if engine == "openvino" else engine)
    assert facts["engine_threads"] == 1
    assert facts["engine_precision"] == "float32"
    assert 0 < facts["engine_error"] < 1e-5
    assert facts["preparation"] > 0
    assert facts["kernel"] in {"ONNX Runtime", "OpenVINO"}


def test_eight_bits_are_found_as_less_than_float32():
    needs("onnxruntime_int8")
    for model in ("lstm", "tcn"):
        facts = outcome(model, "onnxruntime_int8", seq_len=16, hidden_size=64).provenance
        assert facts["engine_precision"] == precision.LESS
        assert 1e-4 < facts["engine_error"] < 0.05  # with weights of all 8 bits 0.33 for the LSTM
    assert outcome("tcn", "onnxruntime_int8", "numeric_error").value > 1000


def test_a_model_without_operators_of_eight_bits_is_skipped():
    needs("onnxruntime_int8")
    record = outcome("gru", "onnxruntime_int8")
    assert record.status == "skipped"
    assert "no 8-bit form" in record.reason


@pytest.mark.parametrize("engine", EXPORTED)
@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"mode": "train"}, "cannot train; use mode=infer"),
        ({"dtype": "bfloat16"}, "not in bfloat16; use dtype=float32"),
        ({"dtype": "float64"}, "not in float64; use dtype=float32"),
    ],
)
def test_what_an_exported_model_cannot_do_is_skipped(engine, axes, words):
    needs(engine)
    record = outcome("lstm", engine, **axes)
    assert record.status == "skipped"
    assert record.reason.startswith(engine)
    assert words in record.reason


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (f"{__name__}:Branching", "if its Python branches on data"),
        (f"{__name__}:Sorting", "cannot be exported to ONNX"),
        ("lru_scan", "cannot be exported to ONNX"),
        ("mingru_scan", "does not depend on the input"),
    ],
)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_model_that_cannot_be_exported_is_skipped_with_one_line(engine, model, words, capfd):
    needs(engine)
    record = outcome(model, engine)
    assert record.status == "skipped"
    assert words in record.reason
    assert "\n" not in record.reason
    assert "engine" in record.reason
    assert capfd.readouterr().out == ""  # the exporter prints the graph


def test_a_session_that_fails_is_a_failed_row(monkeypatch):
    needs("onnxruntime")
    calls = []

    class Session:
        def run(self, *_):
            calls.append(1)
            if len(calls) > 1:
                raise RuntimeError("the session has died")
            return [torch.zeros(2, 6, 8).numpy()]

        def get_inputs(self):
            return ["x"]

        def get_session_options(self):
            return type("Options", (), {"intra_op_num_threads": 1})

    monkeypatch.setattr(onnx_runtime, "_session", lambda *_: Session())
    record = outcome("lstm", "onnxruntime")
    assert (record.status, record.reason) == ("failed", "RuntimeError: the session has died")


def test_packages_that_are_missing_or_too_old_are_named_with_the_fix(monkeypatch):
    assert missing(torch="2.0") == ""
    assert missing(torch="99.1").startswith(f"torch {torch.__version__} is too old, 99.1 or later")
    assert missing(torch="99.1").endswith("pip install 'benchsuite[engines]' updates it")
    assert missing(nosuchthing="1").startswith("nosuchthing is not installed; pip install")

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(engines, "version", absent)
    record = outcome("lstm", "openvino")
    assert record.status == "skipped"
    assert record.reason == (
        "engine openvino is not available on this machine: openvino is not installed;"
        " pip install 'benchsuite[engines]' installs it"
    )


def test_measures_of_preparing():
    needs("onnxruntime")
    found = {
        name: outcome("lstm", "onnxruntime", name)
        for name in ("first_call", "compile_time", "load_time", "artifact_size")
    }
    assert {name: (r.status, r.unit) for name, r in found.items()} == {
        "first_call": ("ok", "s"),
        "compile_time": ("ok", "s"),
        "load_time": ("ok", "s"),
        "artifact_size": ("ok", "B"),
    }
    weights = 4 * 8 * (8 + 8 + 2) * 4
    assert weights < found["artifact_size"].value < 4 * weights
    assert found["first_call"].provenance["preparation"] < found["first_call"].value


def test_what_eager_does_not_have_is_skipped_and_its_first_call_is_not():
    assert outcome("lstm", "eager", "first_call").status == "ok"
    for name, word in {
        "compile_time": "compiles",
        "load_time": "compiles",
        "artifact_size": "compiles",
    }.items():
        record = outcome("lstm", "eager", name)
        assert (record.status, record.reason) == ("skipped", f"engine eager {word} nothing")


@pytest.mark.parametrize("name", ["peak_memory", "tensor_memory"])
def test_memory_that_an_engine_keeps_is_not_reported_as_none(name):
    needs("onnxruntime")
    record = outcome("lstm", "onnxruntime", name)
    assert record.status == "skipped"
    assert record.reason.startswith("engine onnxruntime")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_numeric_error_is_that_of_the_engine(engine):
    needs(engine)
    assert 0 < outcome("lstm", engine, "numeric_error").value < 200
    # The TCN has no loop: float64 in eager PyTorch is what it is compared with.
    assert 0 < outcome("tcn", engine, "numeric_error").value < 200


def test_precision_follows_the_outputs():
    module = nn.Linear(8, 8)
    x = torch.randn(2, 6, 8)

    def rounded(dtype):
        other = nn.Linear(8, 8).to(dtype)
        other.load_state_dict(module.state_dict())
        return lambda x: other(x.to(dtype)).float()

    found = precision.precision_found
    assert found(module, module, x)["engine_precision"] == "float32"
    for dtype in (torch.bfloat16, torch.float16):
        assert found(module, rounded(dtype), x)["engine_precision"] == precision.LESS
    double = nn.Linear(8, 8).double()
    double.load_state_dict(module.state_dict())
    assert found(double, double, x.double())["engine_precision"] == "float64"
    narrow = lambda x: module(x.float()).double()  # noqa: E731
    assert found(double, narrow, x.double())["engine_precision"] == "float32"
    with pytest.raises(Unsupported, match="wrong by"):
        found(module, lambda x: -module(x), x)
    assert found(nn.Dropout(0.5), nn.Dropout(0.5), x) == {}  # random: not comparable


def test_compile_and_cuda_graphs_say_what_they_need(monkeypatch):
    monkeypatch.setattr(compiled.shutil, "which", lambda _: None)
    monkeypatch.setattr(compiled, "find_spec", lambda _: None)
    record = outcome("lstm", "compile")
    assert record.status == "skipped"
    assert "needs a C++ compiler; install one" in record.reason
    if not torch.cuda.is_available():
        assert outcome("lstm", "cudagraph").reason.startswith("engine cudagraph is not available")


def _with_compiler():
    if not any(map(shutil.which, ("g++", "clang++"))):
        pytest.skip("needs a C++ compiler (apt-get install g++)")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_compile_leaves_torchs_lstm_to_eager():
    _with_compiler()
    record = outcome("lstm", "compile", seq_len=4)
    assert record.status == "skipped"
    assert "leaves all of it to eager PyTorch" in record.reason


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_step_compiles_nothing_again(mode, tmp_path, monkeypatch):
    _with_compiler()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    workload = Workload(Case(model="mingru_loop", engine="compile", mode=mode, seq_len=2))
    workload.build()
    before = [p.detach().clone() for p in workload.module.parameters()]
    workload.step()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    for own, old in zip(workload.module.parameters(), before, strict=True):
        assert torch.equal(own, old)
        assert own.grad is None
    assert workload.provenance()["engine_precision"] == "float32"
    assert workload.provenance()["preparation"] > 0
    # What was compiled is removed: torch's headers alone may remain, in the run's directory.
    left = {path.name for path in tmp_path.glob("*/*")}
    assert left <= {"precompiled_headers", "locks"}


SLOW_COMPILER = """
import subprocess, sys
from pathlib import Path
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.measures.attempt import measure
from benchsuite.records import RecordFile
from benchsuite.runtime.engines.eager import Eager

def prepare(self, module, x_BTF, *, train):
    compiler = subprocess.Popen(["sleep", "300"])
    Path(sys.argv[2]).write_text(str(compiler.pid))
    compiler.wait()

Eager.prepare = prepare
measure(Case(model="lstm", seq_len=4), "latency", budget=Budget(timeout=0.5),
        file=RecordFile(Path(sys.argv[1])), watch=True)
"""


@pytest.mark.oracle
def test_a_compile_beyond_the_limit_is_a_timeout_row_and_its_compiler_ends(tmp_path):
    file, pid = tmp_path / "records.jsonl", tmp_path / "pid"
    done = subprocess.run(
        [sys.executable, "-c", SLOW_COMPILER, str(file), str(pid)], capture_output=True, timeout=60
    )
    assert done.returncode == 1
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["started", "timeout"]
    assert rows[-1]["reason"] == "gave up after 0.5 s"
    stat = Path(f"/proc/{pid.read_text()}/stat")
    deadline = time.monotonic() + 10
    while stat.exists() and " Z " not in stat.read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not stat.exists() or " Z " in stat.read_text()


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("model", ["lstm_fused", "lstm", "tcn"])
def test_cuda_graphs_give_the_same_outputs_and_gradients(model, mode):
    case = Case(model=model, engine="cudagraph", device="cuda", mode=mode, **SIZES)
    workload = Workload(case)
    x = workload.x_BTF
    with workload.gradients():
        for _ in range(2):  # the second replay overwrites the first one's output
            assert torch.allclose(workload.run(x), workload.module(x), atol=1e-5)
    if mode == "train":
        workload.run(x).square().mean().backward()
        given = [p.grad.clone() for p in workload.module.parameters()]
        workload.module.zero_grad(set_to_none=True)
        workload.module(x).square().mean().backward()
        for own, other in zip(given, workload.module.parameters(), strict=True):
            assert torch.allclose(own, other.grad, atol=1e-5)
    assert measure(case, "latency", budget=QUICK).status == "ok"
