"""Recurrences parallel in time against the loops with the same weights.

What LSTM and GRU share with their other variants is tested in test_drop_in.py.
"""

from __future__ import annotations

import copy
import re

import pytest
import torch

from benchsuite import measure
from benchsuite.catalog.models import MODELS
from benchsuite.grid.case import Case
from benchsuite.models import newton
from benchsuite.models.gru import GRU
from benchsuite.models.linear import scan
from benchsuite.models.lstm import LSTM
from benchsuite.models.newton import NotConverged
from benchsuite.models.paragru import ParaGRU
from benchsuite.runtime.build import SequenceModel, Sizes
from benchsuite.runtime.count import flops, iterations_of
from benchsuite.runtime.streams import Carried, stream_of

F, H = 4, 6
DOUBLE = torch.float64


class Kind:
    """How a kind is made parallel in time and as a loop, and which parameters make it recurrent."""

    def __init__(self, make, option, loop, recurrent):
        self.make, self.option, self.loop, self.recurrent = make, option, loop, recurrent

    def pair(self, gain=1.0, **options):
        torch.manual_seed(0)
        ours = self.make(F, H, **{self.option: "newton"}, **options).to(DOUBLE)
        with torch.no_grad():
            ours.get_parameter(self.recurrent).mul_(gain)
        torch.manual_seed(0)
        loop = self.make(F, H, **{self.option: self.loop}).to(DOUBLE)
        loop.load_state_dict(ours.state_dict())
        return ours, loop


def batched(cls):
    return lambda *sizes, **options: cls(*sizes, batch_first=True, **options)


KINDS = {
    "lstm": Kind(batched(LSTM), "variant", "plain", "weight_hh_l0"),
    "gru": Kind(batched(GRU), "variant", "plain", "weight_hh_l0"),
    "paragru": Kind(ParaGRU, "execution", "loop", "layers.0.from_state"),
}
each = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def taken(module):
    (found,) = iterations_of(module)
    return found.forward, found.backward


def outcome(module, x, states=()):
    """Outputs, states, and the gradients of input, initial states and parameters."""
    x = x.clone().requires_grad_()
    states = [state.clone().requires_grad_() for state in states]
    hx = () if not states else (tuple(states),) if len(states) > 1 else (states[0],)
    output, ends = module(x, *hx)
    results = [output, *(ends if isinstance(ends, tuple) else (ends,))]
    total = sum((y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).sum() for y in results)
    return results + list(torch.autograd.grad(total, [x, *states, *module.parameters()]))


def states_of(module, rows):
    return [
        torch.randn(1, rows, H, dtype=DOUBLE) for _ in range(2 if isinstance(module, LSTM) else 1)
    ]


@pytest.fixture(params=["native", "scan"])
def solver(request, monkeypatch):
    """Both ways to solve the linear part."""
    monkeypatch.setattr(newton, "execution_on", lambda _: request.param)
    monkeypatch.setattr("benchsuite.models.paragru.execution_on", lambda _: request.param)


@each
@pytest.mark.parametrize("steps", [1, 2, 13, 200])
@pytest.mark.usefixtures("solver")
def test_outputs_states_and_gradients_are_those_of_the_loop(kind, steps):
    ours, loop = kind.pair(gain=1.5)
    x = torch.randn(3, steps, F, dtype=DOUBLE)
    states = states_of(ours, 3)
    for given in ((), states):
        for mine, other in zip(outcome(ours, x, given), outcome(loop, x, given), strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)
    assert 0 <= taken(ours)[0] <= steps + 1


@each
def test_gradcheck(kind):
    ours, _ = kind.pair()
    names, values = zip(*ours.named_parameters(), strict=True)
    x = torch.randn(2, 5, F, dtype=DOUBLE, requires_grad=True)
    states = [state.requires_grad_() for state in states_of(ours, 2)]

    def run(x, *given):
        held, parameters = given[: len(states)], given[len(states) :]
        hx = held if len(held) > 1 else held[0]
        output, ends = torch.func.functional_call(
            ours, dict(zip(names, parameters, strict=True)), (x, hx)
        )
        return output, *(ends if isinstance(ends, tuple) else (ends,))

    assert torch.autograd.gradcheck(run, (x, *states, *values), fast_mode=True)


@each
def test_without_recurrent_weights_the_second_iteration_changes_nothing(kind):
    ours, _ = kind.pair(gain=0.0)
    outcome(ours, torch.randn(2, 50, F, dtype=DOUBLE))
    forward, backward = taken(ours)
    assert forward <= 2
    assert backward <= 2


@each
def test_iterations_grow_with_the_recurrent_weights_and_not_with_the_length(kind):
    def count(gain, steps):
        torch.manual_seed(1)
        ours, _ = kind.pair(gain)
        ours(torch.randn(1, steps, F, dtype=DOUBLE))
        return taken(ours)[0]

    assert count(0.5, 400) < count(1, 400) < count(2, 400)
    assert count(1, 1600) <= count(1, 400) + 2


def test_an_exact_jacobian_converges_quadratically():
    """The number of right digits doubles, so that half the precision is one iteration less."""
    ours, loop = KINDS["paragru"].pair(gain=2)
    x = torch.randn(1, 300, F, dtype=DOUBLE)
    exact = loop(x)[0].detach()
    errors = []
    for tolerance in (1e-1, 1e-3, 1e-7):
        module = copy.deepcopy(ours)
        module.iterations[0].tolerance = tolerance
        errors.append(float((module(x)[0].detach() - exact).abs().max()))
    assert errors[1] < 1e-5
    assert errors[2] < 1e-11


@each
def test_a_tolerance_bounds_the_error(kind):
    counts = []
    for tolerance in (1e-2, 1e-5, None):
        ours, loop = kind.pair(tolerance=tolerance)
        x = torch.randn(2, 100, F, dtype=DOUBLE)
        error = float((ours(x)[0] - loop(x)[0]).detach().abs().max())
        assert error < 10 * (tolerance or 1e-13)
        counts.append(taken(ours)[0])
    assert counts == sorted(set(counts))


@each
def test_too_many_iterations_are_one_line(kind):
    ours, _ = kind.pair(gain=3, max_iterations=3)
    with pytest.raises(NotConverged) as caught:
        ours(torch.randn(2, 60, F, dtype=DOUBLE))
    line = r"2 of 2 sequences did not converge in 3 iterations: the last changed a number by .*"
    assert re.fullmatch(line + r" is tolerated; run it as a loop", str(caught.value))
    with pytest.raises(ValueError, match="limit = 0 is not a positive number"):
        kind.pair(max_iterations=0)
    with pytest.raises(ValueError, match=r"tolerance = 0\.0 is not above zero"):
        kind.pair(tolerance=0.0)


def test_the_backward_pass_has_the_limit_too():
    ours, _ = KINDS["lstm"].pair()
    y, _ = ours(torch.randn(2, 60, F, dtype=DOUBLE))
    iterations_of(ours)[0].limit = 2
    with pytest.raises(NotConverged, match="did not converge in 2 backward iterations"):
        y.sum().backward()


@each
def test_a_sequence_does_not_depend_on_slower_ones(kind):
    """Gates that inputs saturate need few iterations; a NaN stays in its sequence."""
    ours, _ = kind.pair(gain=2)
    easy = 100 * torch.randn(1, 80, F, dtype=DOUBLE)
    slow = 0.1 * torch.randn(3, 80, F, dtype=DOUBLE)
    slow[2, 40] = torch.nan
    alone = ours(easy)[0]
    count = taken(ours)[0]
    together = ours(torch.cat([slow[:1], easy, slow[1:]]))[0]
    assert taken(ours)[0] > count
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-15)
    assert together[3, 40:].isnan().all()
    assert not together[3, :40].isnan().any()
    for row, given in zip((0, 2), slow, strict=False):
        torch.testing.assert_close(together[row], ours(given[None])[0][0], rtol=0, atol=1e-14)


@each
def test_deterministic_and_nothing_is_kept_but_the_counts(kind):
    ours, _ = kind.pair()
    x = torch.randn(3, 70, F, dtype=DOUBLE)
    first, second = outcome(ours, x), outcome(ours, x)
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(kind, dtype):
    ours, loop = kind.pair()
    ours.to(dtype)
    loop.load_state_dict(ours.state_dict())
    x = torch.randn(2, 30, F).to(dtype)
    y, _ = ours(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), loop(x.double())[0], rtol=0.01, atol=0.01)
    y.float().sum().backward()
    assert {parameter.grad.dtype for parameter in ours.parameters()} == {dtype}


@each
def test_large_states_and_inputs(kind):
    """States above one make the tolerance relative; saturated gates converge at once."""
    ours, loop = kind.pair()
    for scale in (0.0, 1e-30, 1e3, 1e30):
        x = scale * torch.randn(1, 20, F, dtype=DOUBLE)
        states = [1e4 * state for state in states_of(ours, 1)]
        hx = tuple(states) if len(states) > 1 else states[0]
        torch.testing.assert_close(ours(x, hx)[0], loop(x, hx)[0], rtol=1e-10, atol=1e-9)


@each
def test_a_single_timestep_is_a_step_of_the_loop(kind):
    ours, _ = kind.pair()
    x = torch.randn(2, 12, F, dtype=DOUBLE)
    ours(x[:, :1])
    assert taken(ours) == (0, 0)
    stream = stream_of(SequenceModel(ours), x)
    assert isinstance(stream, Carried)
    parts = torch.cat([stream.feed(x[:, t : t + 1]) for t in range(12)], 1)
    torch.testing.assert_close(parts, ours(x)[0], rtol=0, atol=1e-13)


def test_arguments_that_do_not_apply():
    with pytest.raises(ValueError, match="proj_size = 2 is not supported by variant='newton'"):
        LSTM(F, H, proj_size=2, variant="newton")
    with pytest.raises(ValueError, match="execution = 'fast' is not one of those of paragru: loop"):
        ParaGRU(F, H, execution="fast")
    ours, _ = KINDS["paragru"].pair()
    with pytest.raises(ValueError, match=r"the state is \(2, 6\); \(1, 2, 6\) is needed"):
        ours(torch.zeros(2, 3, F, dtype=DOUBLE), torch.zeros(2, H, dtype=DOUBLE))


def test_layers_and_directions_of_paragru():
    """The second direction is the first one on reversed sequences; a layer reads both."""
    torch.manual_seed(0)
    both = ParaGRU(F, H, 2, bidirectional=True).double()
    loop = ParaGRU(F, H, 2, bidirectional=True, execution="loop").double()
    loop.load_state_dict(both.state_dict())
    x = torch.randn(3, 20, F, dtype=DOUBLE)
    state = torch.randn(4, 3, H, dtype=DOUBLE)
    for mine, other in zip(outcome(both, x, [state]), outcome(loop, x, [state]), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-10)
    one = ParaGRU(F, H).double()
    one.layers[0].load_state_dict(both.layers[1].state_dict())
    first = ParaGRU(F, H, bidirectional=True).double()
    first.layers.load_state_dict(both.layers[:2].state_dict())
    torch.testing.assert_close(first(x)[0][..., H:], one(x.flip(1))[0].flip(1))


def test_a_reverse_recurrence_is_the_gradient():
    a, g = torch.rand(2, 9, 3, dtype=DOUBLE), torch.randn(2, 9, 3, dtype=DOUBLE)
    b = torch.zeros(2, 9, 3, dtype=DOUBLE, requires_grad=True)
    (scan.recur(a, b, None, "loop") * g).sum().backward()
    torch.testing.assert_close(newton.recur_back(a, g), b.grad)


# --- measures


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("model", [s.name for s in MODELS if s.execution == "Newton"])
def test_iterations_and_operations_of_a_case(model, mode):
    """Operations by the formulas of the docstrings, for the iterations that were taken."""
    case = Case(model=model, mode=mode, seq_len=32, batch_size=2, hidden_size=8, input_size=4)
    record = measure(case, "iterations")
    assert (record.status, record.unit, record.samples) == ("ok", "1", ())
    assert 2 <= record.value <= 40
    counted = measure(case, "flops").value
    steps, rows, units, features = 32, 2, 8, 4
    gates = 4 if model == "lstm_newton" else 3
    of_input = 2 * gates * units * features * rows * steps
    of_state = 2 * gates * units * units * rows if model != "paragru_newton" else 0
    if mode == "infer":
        assert counted == of_input + of_state * (steps * (record.value - 1) + 1)
    else:  # forward K - 1, backward L and the gradient of the weights
        assert counted == 2 * of_input + of_state * (steps * record.value + 1)


def test_a_model_that_does_not_iterate_has_none():
    record = measure(Case(model="lstm_fused", seq_len=4, hidden_size=4), "iterations")
    assert (record.status, record.reason) == ("skipped", "lstm_fused does not iterate")


def test_divergence_is_a_failed_row_with_the_reason(monkeypatch):
    def limited(input_size, hidden_size, num_layers, bidirectional):
        assert (num_layers, bidirectional) == (1, False)
        return LSTM(input_size, hidden_size, batch_first=True, variant="newton", max_iterations=3)

    monkeypatch.setattr("benchsuite.models.lstm.lstm_newton", limited)
    record = measure(Case(model="lstm_newton", seq_len=20, hidden_size=8), "latency")
    assert record.status == "failed"
    assert record.reason.startswith("NotConverged: 1 of 1 sequences did not converge in 3 iter")


def test_without_values_iterations_are_assumed():
    sizes = Sizes(input_size=5, hidden_size=7, num_layers=1, bidirectional=False, seq_len=64)
    counts = [
        flops("lstm_newton", sizes, batch_size=1, train=False, iterations=given).total
        for given in ((), [(2, 2)], [(9, 2)])
    ]
    assert counts[0] == counts[1]
    assert counts[2] - counts[1] == 7 * 2 * 4 * 7 * 7 * 64
