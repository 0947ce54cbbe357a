"""The kernels of recurrent.c against torch's layers, where shapes, values and threads are unusual.

What they share with the other variants is tested in test_drop_in.py.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from benchsuite.models.gru import GRU
from benchsuite.models.kernels import recurrent
from benchsuite.models.lstm import LSTM
from benchsuite.runtime.build import Sizes
from benchsuite.runtime.count import flops

LAYERS = {"lstm": (LSTM, nn.LSTM), "gru": (GRU, nn.GRU)}
#: T, B, F, H: sizes below, at and above those of vectors, tiles and panels.
SHAPES = [
    (1, 1, 1, 1),
    (5, 3, 4, 8),
    (9, 7, 16, 40),
    (3, 13, 5, 33),
    (33, 1, 7, 64),
    (4, 8, 3, 100),
]


def layers(kind, features, units, **options):
    ours, theirs = LAYERS[kind]
    torch.manual_seed(0)
    native, library = ours(features, units, variant="native", **options), None
    library = theirs(features, units, **options)
    library.load_state_dict(native.state_dict())
    return native, library


def outcome(module, x, states, weights):
    """Output, states, and gradients of input, states and parameters for a weighted sum of them."""
    x, states = x.clone().requires_grad_(), [s.clone().requires_grad_() for s in states]
    output, ends = module(x, tuple(states) if len(states) > 1 else states[0])
    results = [output, *(ends if isinstance(ends, tuple) else (ends,))]
    total = sum((result * weight).sum() for result, weight in zip(results, weights, strict=False))
    leaves = [x, *states, *module.parameters()]
    return [*results, *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_to_torchs(kind, dtype, error, shape):
    steps, rows, features, units = shape
    for batch_first, bidirectional in itertools.product((False, True), (False, True)):
        native, library = layers(
            kind,
            features,
            units,
            batch_first=batch_first,
            bidirectional=bidirectional,
            dtype=dtype,
        )
        x = torch.randn(*((rows, steps) if batch_first else (steps, rows)), features, dtype=dtype)
        count = 2 if kind == "lstm" else 1
        states = torch.randn(count, 1 + bidirectional, rows, units, dtype=dtype).unbind()
        weights = [torch.randn((), dtype=dtype) for _ in range(3)]
        mine, others = (outcome(module, x, states, weights) for module in (native, library))
        for one, other in zip(mine, others, strict=True):
            scale = 1 + other.abs().max()
            torch.testing.assert_close(one / scale, other / scale, rtol=0, atol=error)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gates_that_saturate(kind, dtype):
    native, library = layers(kind, 4, 9, dtype=dtype)
    values = torch.tensor([0.0, -0.0, 1e-30, 1e-8, 1e-3, 30.0, -30.0, 1e4, -1e4, 1e30, -1e30])
    x = values.to(dtype).view(-1, 1, 1).expand(-1, 2, 4)
    torch.testing.assert_close(native(x)[0], library(x)[0], rtol=1e-5, atol=1e-7)
    assert native(torch.full((2, 1, 4), torch.inf, dtype=dtype))[0].isnan().any()  # inf - inf


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_nan_stays_in_its_row_and_after_its_timestep(kind, batch_first):
    native, _ = layers(kind, 3, 17, batch_first=batch_first)
    x = torch.randn(5, 6, 3) if batch_first else torch.randn(6, 5, 3)
    row, step = (2, 3)
    x[(row, step) if batch_first else (step, row)] = torch.nan
    y = native(x)[0].isnan()
    y = y if batch_first else y.transpose(0, 1)
    assert y[row, step:].all()
    assert not y[row, :step].any()
    assert not y[torch.arange(5) != row].any()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rows", [1, 2, 7])
def test_threads_share_rows(kind, rows):
    native, _ = layers(kind, 3, 10)
    x = torch.randn(4, rows, 3)
    states = [torch.randn(1, rows, 10) for _ in range(2 if kind == "lstm" else 1)]
    weights = [torch.randn(()) for _ in range(3)]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(outcome(native, x, states, weights))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", LAYERS)
def test_gaps_in_memory(kind):
    native, library = layers(kind, 3, 6, dtype=torch.float64)
    x = torch.randn(4, 10, 6, dtype=torch.float64)[:, ::2, ::2]
    h = torch.randn(1, 1, 6, dtype=torch.float64).expand(1, 5, 6)
    hx = (h, h) if kind == "lstm" else h
    torch.testing.assert_close(native(x, hx)[0], library(x, hx)[0])


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_at_the_end(kind, dtype):
    native, library = layers(kind, 3, 6)
    native.to(dtype)
    library.load_state_dict(native.state_dict())  # the rounded weights, in float32
    x = torch.randn(4, 2, 3).to(dtype)
    y, states = native(x)
    torch.testing.assert_close(y, library(x.float())[0].to(dtype), rtol=0.01, atol=0.01)
    y.float().sum().backward()
    assert {parameter.grad.dtype for parameter in native.parameters()} == {dtype}
    assert all(state.dtype == dtype for state in (states if kind == "lstm" else [states]))


@pytest.mark.parametrize("kind", LAYERS)
def test_what_the_kernel_does_not_do_is_refused(kind):
    with pytest.raises(ValueError, match="proj_size"):
        LAYERS[kind][0](3, 6, proj_size=2, variant="native")
    with pytest.raises(ValueError, match="variant = 'fast' is not one of plain,"):
        LAYERS[kind][0](3, 6, variant="fast")
    x = torch.randn(2, 1, 3, requires_grad=True)
    (first,) = torch.autograd.grad(layers(kind, 3, 6)[0](x)[0].sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        first.sum().backward()


def test_shapes_are_checked_before_an_address_is_passed_on():
    x, state = torch.zeros(2, 3, 4), torch.zeros(3, 5)
    weights = torch.zeros(20, 4), torch.zeros(20, 5), torch.zeros(20)
    for position, wrong in ((0, torch.zeros(20, 3)), (1, torch.zeros(19, 5)), (2, torch.zeros(5))):
        given = [*weights]
        given[position] = wrong
        with pytest.raises(ValueError, match=r"was given where \(20"):
            recurrent.lstm(x, (state, state), *given)
    with pytest.raises(ValueError, match=r"torch\.float64"):
        recurrent.lstm(x, (state, state.double()), *weights)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    ("native", "library"), [("lstm_native", "lstm"), ("lstm_triton", "lstm"), ("gru_native", "gru")]
)
def test_as_many_operations_as_the_library(native, library, train):
    sizes = Sizes(input_size=5, hidden_size=7, num_layers=2, bidirectional=True, seq_len=6)
    counts = [flops(name, sizes, batch_size=3, train=train).total for name in (native, library)]
    assert counts[0] == counts[1]
