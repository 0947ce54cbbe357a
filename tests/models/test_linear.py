"""Linear recurrences: equal results in every execution, closed forms, and known traps."""

from __future__ import annotations

import importlib
import math
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchsuite.catalog.models import MODELS
from benchsuite.field.effective import effective_field
from benchsuite.field.subject import noise
from benchsuite.models.fftconv import fft_size
from benchsuite.models.linear.lru import LRU
from benchsuite.models.linear.minimal import MinGRU, MinLSTM
from benchsuite.models.linear.rglru import RGLRU
from benchsuite.models.linear.s4d import S4D
from benchsuite.models.linear.scan import CONSTANT, VARYING, powers, recur
from benchsuite.models.linear.selective import SelectiveScan
from benchsuite.runtime import count, flop_rules
from benchsuite.runtime.build import Sizes, build_on_meta

CLASSES = (LRU, S4D, MinGRU, MinLSTM, RGLRU, SelectiveScan)
LENGTHS = (1, 2, 7, 33, 64)
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}


def made(cls, input_size=4, hidden_size=4, dtype=torch.float64, **options):
    torch.manual_seed(0)
    return cls(input_size, hidden_size, **options).to(dtype)


def random(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=dtype, generator=generator)


def results(module, execution, x, state):
    """Output, last state, and all gradients; zeros where there is none."""
    module.execution = execution
    module.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    state = None if state is None else state.clone().requires_grad_()
    y, after = module(x, state)
    (y.square().sum() + after.square().sum()).backward()
    leaves = [x, *module.parameters(), *([] if state is None else [state])]
    return [y, after, *(torch.zeros_like(p) if p.grad is None else p.grad for p in leaves)]


# --- one mathematics, several executions


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("cls", CLASSES)
def test_executions_of_one_mathematics_agree(cls, dtype):
    module = made(cls, 3, dtype=dtype)
    held = made(cls, 3, dtype=dtype)(random(2, 5, 3, dtype=dtype))[1].detach()
    for steps in LENGTHS:
        x = random(2, steps, 3, dtype=dtype, seed=steps)
        for state in (None, held):
            expected = results(module, "loop", x, state)
            for execution in module.executions[1:]:
                for one, other in zip(expected, results(module, execution, x, state), strict=True):
                    scale = 1 + float(one.detach().abs().max())
                    torch.testing.assert_close(
                        other, one, rtol=0, atol=ROUNDING[dtype] * scale, msg=execution
                    )


@pytest.mark.parametrize("execution", CONSTANT)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_gradients_of_the_recurrence(execution, dtype):
    for steps in (1, 6):
        shapes = [(3,), (2, steps, 3)][: 1 if execution == "fft" else 2]
        for shape in shapes:
            inputs = [
                random(*s, dtype=dtype, seed=k)
                for k, s in enumerate([shape, (2, steps, 3), (2, 3)])
            ]
            inputs = [(0.5 * tensor).requires_grad_() for tensor in inputs]
            assert torch.autograd.gradcheck(lambda a, b, h: recur(a, b, h, execution), inputs)
            assert torch.autograd.gradcheck(lambda a, b: recur(a, b, None, execution), inputs[:2])


@pytest.mark.parametrize("cls", [MinGRU, MinLSTM])
def test_gradients_of_the_kernel_with_gates(cls):
    module = made(cls, 3, execution="native")
    x, state = random(2, 5, 3).requires_grad_(), random(2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda *given: module(*given)[0], (x, state))


@pytest.mark.skipif(
    not torch.__version__.startswith("2.13."), reason="shows a fault of torch 2.13; check again"
)
def test_the_pointwise_scan_of_torch_has_wrong_gradients():
    """Why the recurrences have their own gradients: torch's scan treats a and b as independent.

    `associative_scan(combine_mode="pointwise")` is for CUDA alone; the operator that it calls, with
    its gradient, runs on CPU too.
    """
    scan = importlib.import_module("torch._higher_order_ops.associative_scan")
    a = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
    b = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)

    def combine(a1, b1, a2, b2):
        return a1 * a2, a2 * b1 + b2

    theirs = scan.associative_scan_op(combine, [a, b], ())[1]
    ours = recur(a.unsqueeze(0), b.unsqueeze(0), None, "scan")[0]
    torch.testing.assert_close(theirs, ours)
    da, db = torch.autograd.grad(theirs.sum(), (a, b))
    right_da, right_db = torch.autograd.grad(ours.sum(), (a, b))
    torch.testing.assert_close(db, right_db)
    assert not da.any()
    assert right_da[1:].all()


def test_the_loop_has_second_derivatives_and_the_scans_refuse_them():
    x = random(1, 4, 4).requires_grad_()
    module = made(MinGRU, execution="loop")
    assert torch.autograd.gradgradcheck(lambda x: module(x)[0], x)
    for execution in ("scan", "native"):
        module.execution = execution
        with pytest.raises(
            RuntimeError, match=f"^execution '{execution}' has no second derivative"
        ):
            torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("cls", CLASSES)
def test_half_precision_is_computed_in_single_precision(cls, dtype):
    """All executions round the same states of float32, and a state survives being rounded once."""
    module = made(cls, dtype=dtype)
    x = random(2, 20, 4).to(dtype)
    expected = results(module, "loop", x, None)
    for execution in module.executions[1:]:
        y, state, *gradients = results(module, execution, x, None)
        assert {tensor.dtype for tensor in (y, state, *gradients)} == {dtype}
        scale = 1 + float(expected[0].detach().abs().max())
        torch.testing.assert_close(y, expected[0], rtol=0, atol=2 * torch.finfo(dtype).eps * scale)


@pytest.mark.parametrize("cls", CLASSES)
def test_another_execution_or_state_is_refused_in_one_line(cls):
    module = made(cls)
    with pytest.raises(ValueError, match="'parallel' is not one of those of") as error:
        cls(4, 4, execution="parallel")
    assert str(error.value).endswith(": " + ", ".join(module.executions))
    if cls not in {LRU, S4D}:
        with pytest.raises(ValueError, match=r"^execution = 'fft' is not one of .+: loop, scan"):
            cls(4, 4, execution="fft")
    state = module(random(2, 3, 4))[1].detach()
    for wrong in (state[:1], state[..., :1], state.unsqueeze(0)):
        for execution in module.executions:
            module.execution = execution
            with pytest.raises(ValueError, match=r"^the state is \([\d, ]+\); \(2, .+ is needed$"):
                module(random(2, 3, 4), wrong)


def test_logarithms_refuse_negative_states():
    module = made(MinGRU, execution="log")
    with pytest.raises(ValueError, match="needs states that are not negative"):
        module(random(2, 3, 4), -torch.ones(2, 4, dtype=torch.float64))


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="hidden_size = 6 is not a multiple of heads = 4"):
        RGLRU(6, 6, heads=4)
    with pytest.raises(ValueError, match="state_size = 5 is not an even number"):
        S4D(6, 6, state_size=5)
    with pytest.raises(ValueError, match="an FFT needs the same `a` at every timestep"):
        recur(torch.ones(1, 2, 1), torch.ones(1, 2, 1), None, "fft")


# --- closed forms


@pytest.mark.parametrize("execution", CONSTANT)
def test_an_impulse_decays_by_powers(execution):
    decay = torch.polar(
        torch.tensor([0.5, 0.9, 0.999]).double(), torch.tensor([0.1, 2.0, 3.0]).double()
    )
    b = torch.zeros(2, 100, 3, dtype=torch.complex128)
    b[:, 0] = 1
    expected = decay.numpy() ** np.arange(100)[:, None]
    for a in (decay, decay.expand_as(b))[: 1 if execution == "fft" else 2]:
        np.testing.assert_allclose(recur(a, b, None, execution)[1], expected, rtol=0, atol=1e-13)
        start = recur(a, torch.zeros_like(b), torch.ones_like(b[:, 0]), execution)
        np.testing.assert_allclose(start[0], decay.numpy() * expected, rtol=0, atol=1e-13)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def arrays(module):
    return {name: p.detach().numpy() for name, p in module.named_parameters()}


def lru_by_hand(w, x):
    factor = np.exp(-np.exp(w["nu"]) + 1j * np.exp(w["theta"]))
    B, C = (w[k][..., 0] + 1j * w[k][..., 1] for k in "BC")
    h, out = np.zeros(len(factor), complex), []
    for u in x:
        h = factor * h + np.exp(w["gamma"]) * (B @ u)
        out.append((C @ h).real + w["D"] * u)
    return out


def s4d_by_hand(w, x):
    """The convolution with the kernel of the paper, tap by tap."""
    A = -np.exp(w["log_decay"]) + 1j * w["frequency"]
    scaled = np.exp(w["log_step"])[:, None] * A
    C = (w["C"][..., 0] + 1j * w["C"][..., 1]) * (np.exp(scaled) - 1) / A
    kernel = [2 * (C * np.exp(scaled * lag)).sum(1).real for lag in range(len(x))]
    return [
        sum(kernel[lag] * x[t - lag] for lag in range(t + 1)) + w["D"] * x[t] for t in range(len(x))
    ]


def mingru_by_hand(w, x):
    h, out = np.zeros(4), []
    for u in x:
        k, v = np.split(w["from_input.weight"] @ u + w["from_input.bias"], 2)
        h = (1 - sigmoid(k)) * h + sigmoid(k) * np.where(v >= 0, v + 0.5, sigmoid(v))
        out.append(h)
    return out


def minlstm_by_hand(w, x):
    h, out = np.zeros(4), []
    for u in x:
        f, i, v = np.split(w["from_input.weight"] @ u + w["from_input.bias"], 3)
        f, i = sigmoid(f), sigmoid(i)
        h = (f * h + i * np.where(v >= 0, v + 0.5, sigmoid(v))) / (f + i)
        out.append(h)
    return out


def rglru_by_hand(w, x):
    h, out = np.zeros(4), []
    for t, u in enumerate(x):
        blocks = [u[2 * k : 2 * k + 2] @ w["weight"][k] for k in range(2)]
        r, i = (
            sigmoid(np.concatenate([block[2 * g : 2 * g + 2] for block in blocks]) + w["bias"][g])
            for g in range(2)
        )
        a = np.exp(-8 * r * np.log1p(np.exp(w["Lambda"])))
        h = a * h + (np.sqrt(1 - a**2) if t else 1) * i * u
        out.append(h)
    return out


def selective_by_hand(w, x):
    h, out, A = np.zeros((4, 16)), [], -np.exp(w["log_A"])
    for u in x:
        d, B, C = np.split(w["from_input.weight"] @ u, [1, 17])
        step = np.log1p(np.exp(w["to_step.weight"] @ d + w["to_step.bias"]))[:, None]
        h = np.exp(step * A) * h + step * B * u[:, None]
        out.append(h @ C + w["D"] * u)
    return out


@pytest.mark.parametrize(
    ("cls", "options", "by_hand"),
    [
        (LRU, {}, lru_by_hand),
        (S4D, {}, s4d_by_hand),
        (MinGRU, {}, mingru_by_hand),
        (MinLSTM, {}, minlstm_by_hand),
        (RGLRU, {"heads": 2}, rglru_by_hand),
        (SelectiveScan, {}, selective_by_hand),
    ],
)
def test_outputs_are_those_of_the_published_equations(cls, options, by_hand):
    module, x = made(cls, **options), random(1, 12, 4)
    expected = by_hand(arrays(module), x[0].numpy())
    np.testing.assert_allclose(module(x)[0][0].detach(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("cls", "parameters", "operations"),
    [
        (LRU, lambda H: 4 * H * H + 3 * H + H, lambda H: 8 * H * H),
        (S4D, lambda H: 2 * 64 * H + 2 * H, lambda H: 2 * 64 * H),
        (MinGRU, lambda H: 2 * H * H + 2 * H, lambda H: 4 * H * H),
        (MinLSTM, lambda H: 3 * H * H + 3 * H, lambda H: 6 * H * H),
        (RGLRU, lambda H: 2 * H * H + 3 * H, lambda H: 4 * H * H),
        (
            SelectiveScan,
            lambda H: H * (H // 16 + 32) + H // 16 * H + H + 16 * H + H,
            lambda H: 2 * H * (H // 16 + 32) + 2 * H * (H // 16) + 32 * H,
        ),
    ],
)
def test_parameters_and_operations_by_formula(cls, parameters, operations):
    H, T = 32, 9
    names = [s.name for s in MODELS if s.family == "linear" and s.mathematics == cls.mathematics]
    assert names
    for name in names:
        module = build_on_meta(name, Sizes(H, H, 1, bidirectional=False, seq_len=T))
        assert type(module.module) is cls
        assert count.parameters(module) == parameters(H)
        expected = 2 * T * operations(H)
        if name == "s4d_fft":  # the kernel, and the last state of each row
            expected = (1 + 2) * T * operations(H)
        if name.endswith("_fft"):  # of two rows and a kernel, and of two rows back
            part = 0.5 if cls is S4D else 1.0
            expected += (
                (2 + 1 + 2) * H * math.floor(part * flop_rules.transform_flops(fft_size(2 * T - 1)))
            )
        assert count._count(module, H, 2, T, train=False)[0] == expected


def test_the_effective_field_of_a_constant_recurrence_is_its_kernel():
    """J_k = Re(C diag(λ^k) exp(γ) B), and D at lag 0."""
    module = made(LRU)
    field = effective_field(module, noise(2, 40, 4), at=39, horizon=40)
    w = arrays(module)
    factor = np.exp(-np.exp(w["nu"]) + 1j * np.exp(w["theta"]))
    B, C = (w[k][..., 0] + 1j * w[k][..., 1] for k in "BC")
    for lag, norm in zip(field.lags, field.norm, strict=True):
        jacobian = (C @ np.diag(factor**lag * np.exp(w["gamma"])) @ B).real
        jacobian += np.diag(w["D"]) * (lag == 0)
        assert norm == pytest.approx(np.linalg.norm(jacobian), rel=1e-9)


def test_powers_are_exact_where_repeated_products_are_not():
    """After 65,536 steps, in single precision, within a few units in the last place."""
    a = torch.polar(torch.tensor([0.99999]), torch.tensor([3.0]))
    exact = a.to(torch.complex128).numpy() ** np.arange(65536)[:, None]
    assert np.abs(powers(a, 65536).numpy() - exact).max() < 1e-6
    assert [len(powers(a, steps)) for steps in (1, 2, 3, 10)] == [1, 2, 3, 10]


# --- traps


def test_a_stable_state_space_stays_stable_when_discretised():
    """An inverted bilinear rule gives |λ| > 1 for Re A < 0."""
    module = made(S4D, hidden_size=64, input_size=64)
    factor = module.discretised()[0].detach()
    step, A = module.log_step.detach().exp()[:, None], -0.5 + 1j * math.pi * torch.arange(32)
    torch.testing.assert_close(factor, torch.exp(step * A).to(factor.dtype), rtol=1e-6, atol=1e-6)
    assert float(factor.abs().max()) < 1
    assert float(step.min()) > 0.9e-3
    assert float(step.max()) < 0.11


def test_the_initial_decay_of_rglru_is_on_the_ring():
    """Storing log a and then applying σ to it gives decays of ½."""
    module = made(RGLRU, 4096, 4096, heads=256)
    ring = torch.exp(-F.softplus(module.Lambda.detach()))
    assert 0.9 <= float(ring.min()) < 0.901
    assert 0.998 < float(ring.max()) <= 0.999
    assert float(ring.square().mean()) == pytest.approx((0.9**2 + 0.999**2) / 2, abs=2e-3)
    half = torch.full((1, 1, 4096), 0.5, dtype=torch.float64)
    torch.testing.assert_close(module.decay(half).exp()[0, 0].detach(), ring**4)


def test_the_eigenvalues_of_lru_are_on_their_ring():
    module = LRU(8, 8, 4096, r_min=0.4, r_max=0.8, max_phase=0.5)
    factor = module.eigenvalues().detach()
    assert 0.4 <= float(factor.abs().min()) <= float(factor.abs().max()) <= 0.8
    assert float(factor.abs().square().mean()) == pytest.approx((0.4**2 + 0.8**2) / 2, abs=0.01)
    assert 0 <= float(factor.angle().min()) <= float(factor.angle().max()) <= 0.5
    torch.testing.assert_close(module.gamma.detach().exp().square(), 1 - factor.abs().square())


@pytest.mark.parametrize("cls", [MinGRU, MinLSTM])
def test_logarithms_start_from_the_state_itself(cls):
    """A parallel path that starts from g(h_0) differs from the sequential one from the first step."""
    module, state = made(cls), torch.full((1, 4), 2.5, dtype=torch.float64)
    x = random(1, 6, 4)
    torch.testing.assert_close(
        results(module, "log", x, state)[0], results(module, "loop", x, state)[0]
    )
    assert (module(x, state)[0] - module(x, torch.full_like(state, 3.0))[0]).abs().min() > 0


@pytest.mark.parametrize("execution", CONSTANT)
def test_products_may_underflow(execution):
    """0.9^t is zero in single precision after 981 steps; dividing by it gives NaN."""
    b = torch.ones(1, 4096, 2)
    for a in (torch.full((2,), 0.9), torch.full_like(b, 0.9))[: 1 if execution == "fft" else 2]:
        a.requires_grad_()
        h = recur(a, b, None, execution)
        exact = 10 * (1 - 0.9 ** torch.arange(1, 4097).double())
        assert (h[0, :, 0] - exact).abs().max() < 1e-4
        (gradient,) = torch.autograd.grad(h[:, -1].sum(), a)
        assert gradient.isfinite().all()


def test_the_error_of_logarithms_grows_with_time():
    """At a = ½ the sum of log a is 2,839 after 4,096 steps, spaced by 2.4e-4 in single precision."""
    module = MinGRU(1, 1)
    with torch.no_grad():
        module.from_input.weight.copy_(torch.tensor([[0.0], [1.0]]))
        module.from_input.bias.zero_()
    x = random(1, 4096, 1).float()
    exact = module.double()(x.double())[0]
    module.float()
    error = {}
    for execution in ("loop", "scan", "native", "log"):
        module.execution = execution
        error[execution] = float(((module(x)[0] - exact) / exact).abs().max().detach())
    assert max(error[name] for name in ("loop", "scan", "native")) < 1e-6
    assert 1e-5 < error["log"] < 1e-3


@pytest.mark.parametrize("flush", [False, True])
def test_denormals_are_as_torchs(flush):
    b = torch.zeros(1, 400, 2)
    b[:, 0] = 1
    a = torch.full((2,), 0.6)
    if not torch.set_flush_denormal(flush):
        pytest.skip("this processor has no such mode")
    try:
        states = {execution: recur(a, b, None, execution) for execution in ("loop", "native")}
        assert torch.equal(states["loop"], states["native"])
        smallest = states["native"][states["native"] > 0].min()
    finally:
        torch.set_flush_denormal(False)
    assert (float(smallest) < torch.finfo(torch.float32).tiny) is not flush


def test_the_memory_of_the_input_is_used_where_nothing_is_recorded():
    a, b = torch.full((2,), 0.5), torch.ones(1, 3, 4)[..., ::2]
    for given in (b.clone(), b):  # contiguous, and not
        with torch.no_grad():
            kept = recur(a, given, None, "native")
            assert torch.equal(given, torch.ones(1, 3, 2))
            h = recur(a, given, None, "native", overwrite=True)
        assert h.data_ptr() == given.data_ptr()
        assert torch.equal(h, kept)
    given = torch.ones(1, 3, 2)
    recur(a.requires_grad_(), given, None, "native", overwrite=True).sum().backward()
    assert torch.equal(given, torch.ones(1, 3, 2))
    assert a.grad.tolist() == [3.0, 3.0]  # of 1 + (1 + a) + (1 + a + a²)


def test_not_a_number_reaches_all_later_states_and_no_earlier_ones():
    for cls in CLASSES:
        module = made(cls)
        x = random(1, 9, 4)
        x[0, 4] = math.nan
        for execution in set(module.executions) - {"fft"}:
            module.execution = execution
            with torch.no_grad():
                reached = module(x)[0][0].isnan()
            assert reached[4:].all()
            assert not reached[:4].any()


def test_the_exponential_of_the_kernels():
    """Through the gate of minGRU: h_1 = z g(v), where v = 0, so that h_1 = σ(k) / 2."""
    for dtype in (torch.float32, torch.float64):
        module = MinGRU(1, 1, execution="native").to(dtype)
        with torch.no_grad():
            module.from_input.weight.copy_(torch.tensor([[1.0], [0.0]]))
            module.from_input.bias.zero_()
        x = torch.linspace(-80, 80, 4001, dtype=dtype)
        found = module(x.view(-1, 1, 1))[0].flatten().detach()
        exact = torch.sigmoid(x.double()) / 2
        assert ((found - exact) / exact).abs().max() < 8 * torch.finfo(dtype).eps


def test_modules_show_their_execution():
    assert re.match(r"LRU\(\s+execution='fft'", repr(LRU(2, 2, execution="fft")))
    assert isinstance(LRU(2, 2).project, nn.Identity)
    assert set(VARYING) < set(MinGRU.executions)
