"""Hand-written recurrences against their torch twins, weight for weight."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from benchsuite.models.gru import GRU
from benchsuite.models.lstm import LSTM

SHAPES = [
    {},
    {"num_layers": 2},
    {"bias": False},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]
LSTM_SHAPES = [*SHAPES, {"proj_size": 3}, {"num_layers": 2, "bidirectional": True, "proj_size": 2}]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def twins(kind, options, dtype):
    torch.manual_seed(0)
    if kind == "gru":
        ours, theirs = GRU(4, 5, **options), nn.GRU(4, 5, **options)
    else:
        ours, theirs = LSTM(4, 5, **options, variant=kind), nn.LSTM(4, 5, **options)
    ours, theirs = ours.to(dtype), theirs.to(dtype)
    ours.load_torch(theirs.state_dict())
    return ours, theirs


def flat(result):
    output, state = result
    return [output, *(state if isinstance(state, tuple) else (state,))]


def assert_close(mine, other, dtype):
    torch.testing.assert_close(mine, other, rtol=0, atol=TOLERANCE[dtype])


CASES = [
    *itertools.product(["plain", "stacked", "fused", "peephole", "peephole_diag"], LSTM_SHAPES),
    *itertools.product(["gru"], SHAPES),
]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_equals_torch_forward_and_every_gradient(kind, options, dtype):
    """Peepholes are zero after `load_torch`, so those variants equal the plain cell too."""
    ours, theirs = twins(kind, options, dtype)
    x = torch.randn(7, 3, 4, dtype=dtype)
    with torch.no_grad():
        shapes = [t.shape for t in flat(theirs(x))[1:]]
    initial = [torch.randn(s, dtype=dtype) for s in shapes]
    found = []
    for module in (ours, theirs):
        inputs = [x.clone().requires_grad_(), *(s.clone().requires_grad_() for s in initial)]
        state = inputs[1] if kind == "gru" else tuple(inputs[1:])
        outputs = flat(module(inputs[0], state))
        sum(
            (o * torch.linspace(0.5, 1.5, o.numel(), dtype=dtype).view_as(o)).sum() for o in outputs
        ).backward()
        found.append((outputs, [i.grad for i in inputs]))
    for mine, other in zip(*(itertools.chain(*f) for f in found), strict=True):
        assert_close(mine, other, dtype)
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        assert_close(mine[name].grad, parameter.grad, dtype)


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_state_dicts_go_both_ways(kind, options):
    ours, theirs = twins(kind, options, torch.float64)
    twin = type(theirs)(4, 5, **options).double()
    twin.load_state_dict(ours.to_torch())
    x = torch.randn(6, 2, 4, dtype=torch.float64)
    assert_close(twin(x)[0], theirs(x)[0], torch.float64)


@pytest.mark.parametrize("kind", ["plain", "fused", "gru"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_input_without_a_batch(kind, batch_first):
    ours, theirs = twins(kind, {"batch_first": batch_first}, torch.float64)
    x = torch.randn(6, 4, dtype=torch.float64)
    for mine, other in zip(flat(ours(x)), flat(theirs(x)), strict=True):
        assert mine.shape == other.shape
        assert_close(mine, other, torch.float64)


def test_dropout_works_between_layers_and_only_in_training():
    torch.manual_seed(0)
    ours = LSTM(4, 5, 2, dropout=1.0).double()
    x = torch.randn(6, 2, 4, dtype=torch.float64)
    second = LSTM(5, 5).double()
    second.load_torch({k.replace("l1", "l0"): v for k, v in ours.state_dict().items() if "l1" in k})
    assert_close(ours(x)[0], second(torch.zeros(6, 2, 5, dtype=torch.float64))[0], torch.float64)
    ours.eval()
    first = LSTM(4, 5).double()
    first.load_torch({k: v for k, v in ours.state_dict().items() if "l0" in k})
    assert_close(ours(x)[0], second(first(x)[0])[0], torch.float64)


def test_full_peepholes_with_diagonal_matrices_equal_the_diagonal_ones():
    torch.manual_seed(0)
    full, diagonal = (LSTM(4, 5, variant=v).double() for v in ("peephole", "peephole_diag"))
    weights = diagonal.state_dict()
    matrices = {
        k: torch.cat([gate.diag() for gate in v.chunk(3)]) if k == "weight_ch_l0" else v
        for k, v in weights.items()
    }
    full.load_state_dict(matrices)
    x = torch.randn(9, 3, 4, dtype=torch.float64)
    assert_close(full(x)[0], diagonal(x)[0], torch.float64)
    plain = LSTM(4, 5).double()
    plain.load_state_dict({k: v for k, v in weights.items() if k != "weight_ch_l0"})
    assert not torch.allclose(plain(x)[0], diagonal(x)[0])  # the peepholes do something


def test_peepholes_follow_the_equations():
    """One step by hand: i and f see the old cell state, o the new one."""
    torch.manual_seed(0)
    ours = LSTM(2, 3, variant="peephole").double()
    rows = {
        name: dict(zip(gates, weight.detach().split(3), strict=True))
        for (name, weight), gates in zip(
            ours.state_dict().items(), ("ifgo", "ifgo", "ifgo", "ifgo", "ifo"), strict=True
        )
    }
    x, h, c = (torch.randn(1, n, dtype=torch.float64) for n in (2, 3, 3))

    def part(gate, seen):
        total = x @ rows["weight_ih_l0"][gate].T + rows["bias_ih_l0"][gate]
        total = total + h @ rows["weight_hh_l0"][gate].T + rows["bias_hh_l0"][gate]
        return total if seen is None else total + seen @ rows["weight_ch_l0"][gate].T

    i, f, g = part("i", c).sigmoid(), part("f", c).sigmoid(), part("g", None).tanh()
    new = f * c + i * g
    o = part("o", new).sigmoid()
    _, (h_n, c_n) = ours(x.unsqueeze(0), (h.unsqueeze(0), c.unsqueeze(0)))
    assert_close(c_n[0], new, torch.float64)
    assert_close(h_n[0], o * new.tanh(), torch.float64)


@pytest.mark.parametrize("variant", ["plain", "fused", "peephole", "peephole_diag"])
def test_gradcheck(variant):
    torch.manual_seed(0)
    ours = LSTM(2, 3, bidirectional=True, proj_size=2, variant=variant).double()
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ours(x)[0], x)


def test_gradcheck_gru():
    torch.manual_seed(0)
    ours = GRU(2, 3, 2).double()
    x = torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ours(x)[0], x)


def test_nonzero_peepholes_have_no_torch_form():
    with pytest.raises(ValueError, match="no peepholes"):
        LSTM(2, 3, variant="peephole_diag").to_torch()


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (LSTM(4, 5), nn.LSTM(4, 5, 2), "bias_hh_l1 is unexpected"),
        (LSTM(4, 5), nn.LSTM(4, 5, bidirectional=True), "l0_reverse is unexpected"),
        (LSTM(4, 5, 2), nn.LSTM(4, 5), "bias_hh_l1 is missing"),
        (LSTM(4, 5, bias=False), nn.LSTM(4, 5), "bias_hh_l0 is unexpected"),
        (LSTM(4, 5), nn.LSTM(4, 6), r"bias_hh_l0 has shape \(24,\); needed: \(20,\)"),
        (GRU(4, 5), nn.GRU(4, 5, 2), "bias_hh_l1 is unexpected"),
    ],
)
def test_weights_of_another_layer_are_refused(ours, theirs, words):
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        ours.load_torch(theirs.state_dict())
    for name, value in ours.state_dict().items():
        assert torch.equal(value, before[name])


def test_backward_creates_no_full_size_gradient_per_step():
    """`x[:, t]` in the loop would make backward O(T²): a full-size tensor for every timestep."""
    nodes, seen = [LSTM(4, 5)(torch.randn(8, 2, 4, requires_grad=True))[0].grad_fn], set()
    names = set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        names.add(node.name())
        nodes.extend(n for n, _ in node.next_functions)
    assert "UnbindBackward0" in names
    assert not names & {"SelectBackward0", "IndexBackward0"}


@pytest.mark.parametrize(
    ("model", "calls"),
    [
        (LSTM(4, 5), 8),
        (LSTM(4, 5, proj_size=2), 9),
        (LSTM(4, 5, variant="peephole"), 11),
        (LSTM(4, 5, variant="peephole_diag"), 8),
        (GRU(4, 5), 6),
    ],
    ids=repr,
)
def test_a_cell_as_it_is_taught_calls_a_linear_module_per_gate_and_input(model, calls):
    """What these models measure: the stacked parameters must not turn into fewer, cheaper calls."""
    found = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: found.append(module))
    try:
        model(torch.zeros(7, 3, 4))
    finally:
        handle.remove()
    assert sum(isinstance(module, nn.Linear) for module in found) == 7 * calls
