"""The kernels of triton_kernels.py: against torch's LSTM, and compiled for devices that are absent.

The tests marked `gpu` need a CUDA device, or Triton's interpreter, which one test starts in another
process: triton decides when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from test_native import outcome
from torch import nn

from benchsuite.models.kernels import triton_lstm
from benchsuite.models.lstm import LSTM
from benchsuite.runtime.kernels import KernelWatch

DEVICE = "cpu" if triton_lstm.INTERPRETED else "cuda"
ERROR = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
on_device = [] if triton_lstm.INTERPRETED else [pytest.mark.gpu]

#: Dtype, T, B, F, H and options. Interpreted, they reach each kernel, with one and more tiles.
CASES = [
    (torch.float64, 3, 2, 3, 5, {"bidirectional": True, "num_layers": 2}),
    (torch.float64, 1, 1, 1, 1, {"bias": False}),
    (torch.float64, 2, 1, 2, 66, {"batch_first": True}),
    (torch.float32, 4, 2, 3, 7, {"batch_first": True}),
    (torch.float32, 2, 17, 2, 66, {}),
    (torch.float16, 3, 3, 2, 9, {"bidirectional": True}),
]
ON_CUDA = [
    (dtype, *shape, {"bidirectional": True})
    for dtype in ERROR
    for shape in [(7, 1, 5, 64), (33, 3, 4, 33), (5, 300, 3, 20), (6, 20, 8, 128), (3, 5, 7, 257)]
]


@pytest.fixture(autouse=True)
def _products_in_float32(monkeypatch):
    """cuDNN's default is TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def layers(dtype, features, units, **options):
    """Ours, and the library's with the same weights: of the CPU in float64 for half precision."""
    torch.manual_seed(0)
    ours = LSTM(features, units, variant="triton", **options).to(dtype)
    exact = dtype.itemsize == 2
    theirs = nn.LSTM(features, units, **options).to(torch.float64 if exact else dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours.to(DEVICE), theirs if exact else theirs.to(DEVICE)


if not triton_lstm.INTERPRETED:

    @pytest.mark.oracle
    def test_in_the_interpreter():
        pytest.importorskip("triton", reason="needs triton; pip install 'benchsuite[triton]'")
        words = ["-m", "pytest", "-q", "-m", "not gpu", "-p", "no:cacheprovider", __file__]
        environment = {**os.environ, "TRITON_INTERPRET": "1"}
        done = subprocess.run(
            [sys.executable, *words], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "skipped" not in done.stdout

    def test_on_the_cpu_the_fused_loop_runs():
        ours = LSTM(2, 3, variant="triton")
        with KernelWatch() as watch:
            ours(torch.zeros(4, 1, 2))
        assert watch.kernel == "ATen"
        assert ours.kernel_problem("cpu") == (
            "is a kernel for cuda and cannot run on cpu; choose -a device=cuda"
        )
        given = torch.zeros(4, 1, 2), (torch.zeros(1, 3),) * 2, torch.zeros(12, 2)
        with pytest.raises(ValueError, match="lstm_triton runs on cuda; the input is on cpu"):
            triton_lstm.lstm(*given, torch.zeros(12, 3), None)

    def test_without_triton_the_reason_says_what_to_install(monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        problem = LSTM(2, 3, variant="triton").kernel_problem("cuda")
        assert problem == "needs triton, which is not installed; pip install 'benchsuite[triton]'"

    @pytest.mark.parametrize(
        ("batch", "units", "itemsize", "expected"),
        [
            (1, 64, 4, ("resident", 1)),
            (264, 33, 4, ("resident", 1)),
            (265, 64, 4, ("tiled", 16)),
            (1, 65, 4, ("tiled", 1)),
            (1, 32, 8, ("resident", 1)),
            (500, 65, 8, ("tiled", 1)),
            (1, 128, 2, ("resident", 16)),
            (1, 129, 2, ("tiled", 16)),
        ],
    )
    def test_weights_stay_on_the_chip_where_they_fit(batch, units, itemsize, expected):
        large, small = triton_lstm.Limits(132, 227 << 10), triton_lstm.Limits(132, 99 << 10)
        plan = triton_lstm.plan(batch, units, itemsize, large)
        assert plan[:2] == expected
        assert plan.tiles.get("UNITS", units) >= units
        assert triton_lstm.plan(1, 128, 2, small).kind == "tiled"

    @pytest.mark.oracle
    @pytest.mark.parametrize(
        ("kernel", "dtype", "constants", "shared"),
        [
            ("lstm_forward_resident", "fp32", {"KEEP": True, "ROWS": 1, "UNITS": 64}, 1 << 10),
            ("lstm_backward_resident", "bf16", {"HAS_DY": True, "ROWS": 16, "UNITS": 64}, 48 << 10),
            ("lstm_forward_tiled", "bf16", {"KEEP": False, "ROWS": 16, "OUTS": 64, "INS": 64}, 48 << 10),
            ("lstm_backward_tiled", "fp64", {"HAS_DY": True, "ROWS": 1, "OUTS": 32, "INS": 64}, 1 << 10),
        ],
    )  # fmt: skip
    def test_kernels_compile_for_a_device_that_is_absent(
        kernel, dtype, constants, shared, monkeypatch, tmp_path
    ):
        """The interpreter accepts more than the compiler does, in types above all."""
        pytest.importorskip("triton", reason="needs triton; pip install 'benchsuite[triton]'")
        import triton.language as tl
        from triton import compile as compiled
        from triton.backends.compiler import GPUTarget
        from triton.compiler import ASTSource

        from benchsuite.models.kernels import triton_kernels

        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
        function = getattr(triton_kernels, kernel)
        wide = "fp64" if dtype == "fp64" else "fp32"
        state = tl.float64 if wide == "fp64" else tl.float32
        constants = {**constants, "STATE": state, "PRECISION": "ieee"}
        types = dict.fromkeys(function.arg_names, f"*{dtype}")
        types |= dict.fromkeys([n for n in ("cells", "dh", "dc") if n in types], f"*{wide}")
        numbers = ("steps", "products", "batch", "units", "gates_step", "state_step")
        types |= dict.fromkeys([name for name in numbers if name in types], "i32")
        types |= dict.fromkeys(constants, "constexpr")
        source = ASTSource(function, types, constants)
        options = {"num_warps": 8, "num_stages": 2, "enable_fp_fusion": True}
        found = compiled(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert found.asm["cubin"]
        assert found.metadata.shared <= shared


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=on_device, id=str(case)) for case in CASES]
)
def test_equal_to_the_library(case):
    dtype, steps, rows, features, units, options = case
    ours, theirs = layers(dtype, features, units, **options)
    shape = (rows, steps) if options.get("batch_first") else (steps, rows)
    x = torch.randn(*shape, features).to(DEVICE, dtype)
    count = len(ours.cells)
    states = torch.randn(2, count, rows, units).to(DEVICE, dtype).unbind()
    weights = torch.randn(3).to(DEVICE, dtype).unbind()
    mine = outcome(ours, x, states, weights)
    like = next(theirs.parameters())
    others = outcome(
        theirs, x.to(like), [s.to(like) for s in states], [w.to(like) for w in weights]
    )
    with torch.no_grad():  # nothing is kept for a backward pass
        output, ends = ours(x, tuple(states))
    for one, other in zip([*mine, output, *ends], [*others, *others[:3]], strict=True):
        scale = 1 + other.abs().max()
        torch.testing.assert_close(one.to(other) / scale, other / scale, rtol=0, atol=ERROR[dtype])


@pytest.mark.gpu
@pytest.mark.parametrize("case", ON_CUDA, ids=str)
def test_equal_to_cudnn(case):
    test_equal_to_the_library(case)


@pytest.mark.parametrize("rows", [pytest.param(rows, marks=on_device) for rows in (2, 3)])
def test_zeros_at_first_and_gradients_of_some(rows):
    """No state is given, and only the output, or only the last c, has a gradient."""
    ours, theirs = layers(torch.float32, 2, 5)
    x = torch.randn(3, rows, 2, device=DEVICE)
    for pick in (lambda y, ends: y.sum(), lambda y, ends: ends[1].square().sum()):
        grads = [
            torch.autograd.grad(pick(*module(x)), list(module.parameters()))
            for module in (ours, theirs)
        ]
        torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [pytest.param(rows, marks=on_device) for rows in (2, 3)])
def test_a_nan_stays_in_its_row_and_after_its_timestep(rows):
    ours, _ = layers(torch.float32, 3, 17)
    x = torch.randn(4, rows, 3, device=DEVICE)
    x[2, 1] = torch.nan
    y = ours(x)[0].isnan()
    assert y[2:, 1].all()
    assert not y[:2].any()
    assert not y[:, [row for row in range(rows) if row != 1]].any()


@pytest.mark.parametrize(
    "gate", [pytest.param(gate, marks=on_device) for gate in (0.0, 30.0, -90.0)]
)
def test_gates_that_saturate(gate):
    ours, theirs = layers(torch.float32, 1, 2)
    with torch.no_grad():
        for parameter in (*ours.parameters(), *theirs.parameters()):
            parameter.fill_(1)
    x = torch.tensor([gate, gate / 1e4, -gate], device=DEVICE).view(3, 1, 1)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [pytest.param(torch.float32, marks=on_device)])
def test_the_operator_is_seen(dtype):
    ours, _ = layers(dtype, 2, 3)
    with KernelWatch() as watch:
        ours(torch.zeros(2, 1, 2, device=DEVICE))
    assert watch.kernel == "Triton"
    x = torch.zeros(2, 1, 2, device=DEVICE, requires_grad=True)
    (first,) = torch.autograd.grad(ours(x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        first.sum().backward()


@pytest.mark.gpu
def test_a_launch_goes_to_the_current_stream():
    ours, theirs = layers(torch.float32, 8, 32)
    x = torch.randn(64, 4, 8, device="cuda")
    expected = theirs(x)[0]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)  # a launch on another stream would run before the copy
        late = torch.empty_like(x).copy_(x)
        found = ours(late)[0]
    assert not stream.query()
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("units", [32, 100])
def test_a_cuda_graph_captures_forward_and_backward(units):
    ours, theirs = layers(torch.float32, 8, units)
    x = torch.randn(16, 4, 8, device="cuda")

    def step():
        ours.zero_grad(set_to_none=False)
        y, _ = ours(x)
        y.square().mean().backward()
        return y

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # compiles, and makes the gradients' tensors
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = step()
    x.copy_(torch.randn_like(x))
    graph.replay()
    expected = theirs(x)[0]
    expected.square().mean().backward()
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-5)
