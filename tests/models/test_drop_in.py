"""`LSTM` and `GRU` against `torch.nn.LSTM` and `GRU`, as users of these rely on them.

The list of what is tried follows torch's own module tests of recurrent layers (`test/test_nn.py`
and `test/nn/test_packed_sequence.py`).
"""

from __future__ import annotations

import copy
import inspect
import io
import itertools
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, prune
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)

from benchsuite.models.gru import GRU
from benchsuite.models.lstm import LSTM, VARIANTS

F, H = 4, 5
KINDS = [*VARIANTS, "gru", "gru_native", "gru_newton"]
#: Those with torch's parameters and no others.
EQUAL = [kind for kind in KINDS if not kind.startswith("peephole")]
OPTIONS = [
    {},
    {"bias": False},
    {"batch_first": True, "num_layers": 2},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "dropout": 0.5, "bidirectional": True, "batch_first": True},
]
LSTM_OPTIONS = [{"proj_size": 2, "num_layers": 2, "bidirectional": True}]
PROJECTED = [v for v in VARIANTS if v not in {"native", "triton", "newton"}]
CASES = [*itertools.product(KINDS, OPTIONS), *itertools.product(PROJECTED, LSTM_OPTIONS)]
LENGTHS = {"sorted": [6, 4, 4, 1], "unsorted": [1, 4, 6, 4], "equal": [3, 3], "one": [5]}

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings(
        "ignore:LSTM with projections is not supported with oneDNN",
        "ignore:RNN module weights are not part of single contiguous chunk",
        "ignore:.*autograd.function.Function.* should not be instantiated",  # what torch.compile does
        "ignore:The .grad attribute of a Tensor that is not a leaf",  # the same where a graph breaks
    ),
]


def ours_of(kind, *args, **options):
    if kind.startswith("gru"):
        return GRU(*args, **options, variant=kind.removeprefix("gru").strip("_") or "plain")
    return LSTM(*args, **options, variant=kind)


def theirs_of(kind, *args, **options):
    return (nn.GRU if kind.startswith("gru") else nn.LSTM)(*args, **options)


def twins(kind, **options):
    """Both from one seed, in float64; peepholes are zero, as torch has none."""
    options = {"dtype": torch.float64, **options}
    found = []
    for make in (ours_of, theirs_of):
        torch.manual_seed(0)
        found.append(make(kind, F, H, **options))
    ours, theirs = found
    for name, parameter in ours.named_parameters():
        if name.startswith("weight_ch"):
            parameter.data.zero_()
    return ours, theirs


def states_for(module, batch, dtype=torch.float64):
    """Random initial states, in the form that the module takes."""
    layers = module.num_layers * (2 if module.bidirectional else 1)
    shape = (layers,) if batch is None else (layers, batch)
    h = torch.randn(*shape, module.proj_size or module.hidden_size, dtype=dtype)
    if module.mode == "GRU":
        return h.requires_grad_()
    return h.requires_grad_(), torch.randn(*shape, H, dtype=dtype, requires_grad=True)


def flat(result):
    """Output and states as one list of tensors; a packed output by its data."""
    output, state = result
    output = output.data if isinstance(output, PackedSequence) else output
    return [output, *(state if isinstance(state, tuple) else (state,))]


def clone(value):
    if isinstance(value, tuple):
        return tuple(clone(part) for part in value)
    return value.detach().clone().requires_grad_()


def assert_same(mine, other):
    torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


def assert_twins_agree(ours, theirs, x, hx, pack=lambda x: x):
    """Outputs, states, and the gradients of input, state and every parameter."""
    found = []
    for module in (ours, theirs):
        leaves = [clone(x), *([] if hx is None else [clone(hx)])]
        torch.manual_seed(1)  # dropout draws the same masks
        results = flat(module(pack(leaves[0]), **({"hx": leaves[1]} if len(leaves) > 1 else {})))
        loss = sum((y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).sum() for y in results)
        loss.backward()
        grads = [
            leaf.grad
            for value in leaves
            for leaf in (value if isinstance(value, tuple) else (value,))
        ]
        found.append([*results, *grads])
    for mine, other in zip(*found, strict=True):
        assert mine.shape == other.shape
        assert_same(mine, other)
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        assert_same(mine[name].grad, parameter.grad)


# --- outputs and gradients


@pytest.mark.parametrize("given", [False, True], ids=["zeros", "hx"])
@pytest.mark.parametrize("batch", [None, 3], ids=["unbatched", "batched"])
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_outputs_and_every_gradient(kind, options, batch, given):
    ours, theirs = twins(kind, **options)
    shape = (6, F) if batch is None else (batch, 6, F) if ours.batch_first else (6, batch, F)
    x = torch.randn(shape, dtype=torch.float64)
    assert_twins_agree(ours, theirs, x, states_for(ours, batch) if given else None)


@pytest.mark.parametrize(
    ("lengths", "given"),
    [("sorted", True), ("unsorted", False), ("unsorted", True), ("equal", False), ("one", False)],
)
@pytest.mark.parametrize(("kind", "options"), CASES)
def test_packed_sequences(kind, options, lengths, given):
    """States come in and go out in the order before sorting."""
    ours, theirs = twins(kind, **options)
    sizes = LENGTHS[lengths]
    x = torch.randn(len(sizes), max(sizes), F, dtype=torch.float64)

    def pack(x):
        return pack_padded_sequence(
            x, torch.tensor(sizes), batch_first=True, enforce_sorted=lengths != "unsorted"
        )

    assert_twins_agree(ours, theirs, x, states_for(ours, len(sizes)) if given else None, pack)
    mine, other = ours.eval()(pack(x))[0], theirs.eval()(pack(x))[0]
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        one, two = getattr(mine, name), getattr(other, name)
        assert (one is None) == (two is None)
        assert one is None or torch.equal(one, two)


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_batch_equals_its_sequences_one_by_one(kind):
    """Peepholes included, which torch has no twin for."""
    torch.manual_seed(0)
    ours = ours_of(kind, F, H, 2, bidirectional=True, dtype=torch.float64)
    sequences = [torch.randn(length, F, dtype=torch.float64) for length in (2, 5, 3)]
    packed, ends = ours(pack_sequence(sequences, enforce_sorted=False))
    padded, lengths = pad_packed_sequence(packed)
    for index, sequence in enumerate(sequences):
        alone = flat(ours(sequence))
        assert_same(padded[: lengths[index], index], alone[0])
        for end, own in zip(ends if isinstance(ends, tuple) else (ends,), alone[1:], strict=True):
            assert_same(end[:, index], own)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("packed", [False, True])
def test_gradcheck(kind, packed):
    torch.manual_seed(0)
    ours = ours_of(kind, 2, 3, bidirectional=True, dtype=torch.float64)
    if kind in PROJECTED:
        ours = ours_of(kind, 2, 3, proj_size=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    names, values = zip(*ours.named_parameters(), strict=True)

    def run(x, *values):
        given = pack_padded_sequence(x, torch.tensor([2, 3]), enforce_sorted=False) if packed else x
        return tuple(
            flat(torch.func.functional_call(ours, dict(zip(names, values, strict=True)), (given,)))
        )

    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
def test_training_stays_equal(kind):
    """Ten steps of SGD; one bias where torch has two would differ by 0.049 after them."""
    ours, theirs = twins(kind, num_layers=2)
    x, target = (torch.randn(6, 3, n, dtype=torch.float64) for n in (F, H))
    for module in (ours, theirs):
        shared = [p for n, p in module.named_parameters() if not n.startswith("weight_ch")]
        optimiser = torch.optim.SGD(shared, lr=0.5, momentum=0.9)
        for _ in range(10):
            optimiser.zero_grad()
            (module(x)[0] - target).square().mean().backward()
            optimiser.step()
    assert_same(ours(x)[0], theirs(x)[0])
    mine = dict(ours.named_parameters())
    for name, parameter in theirs.named_parameters():
        assert_same(mine[name], parameter)


@pytest.mark.parametrize("kind", KINDS)
def test_clipping_sees_the_same_norm(kind):
    ours, theirs = twins(kind)
    for module in (ours, theirs):
        module(torch.ones(6, 3, F, dtype=torch.float64))[0].sum().backward()
    norms = [
        nn.utils.clip_grad_norm_(
            [p for n, p in m.named_parameters() if not n.startswith("weight_ch")], 1.0
        )
        for m in (ours, theirs)
    ]
    assert_same(*norms)


# --- parameters


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_same_parameters_from_the_same_seed(kind, options):
    found = []
    for make in (ours_of, theirs_of):
        torch.manual_seed(3)
        module = make(kind, F, H, **options)
        first = {name: value.clone() for name, value in module.named_parameters()}
        torch.manual_seed(4)
        module.reset_parameters()
        found.append((first, dict(module.named_parameters())))
    for mine, theirs in zip(*found, strict=True):
        extra = [name for name in mine if name not in theirs]
        assert list(mine) == [*theirs, *extra]
        assert all(name.startswith("weight_ch_l") for name in extra)
        assert bool(extra) == kind.startswith("peephole")
        assert all(torch.equal(mine[name], value) for name, value in theirs.items())


@pytest.mark.parametrize(("kind", "options"), [c for c in CASES if c[0] in EQUAL])
def test_state_dicts_load_directly_both_ways(kind, options):
    ours, theirs = ours_of(kind, F, H, **options), theirs_of(kind, F, H, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    again = theirs_of(kind, F, H, **options)
    again.load_state_dict(ours.state_dict(), strict=True)
    assert torch.equal(*(parameters_to_vector(m.parameters()) for m in (again, theirs)))


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_attributes(kind, options):
    ours, theirs = twins(kind, **options)
    for name in (
        *("mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"),
        *("bidirectional", "proj_size"),
    ):
        assert getattr(ours, name) == getattr(theirs, name)
    for mine, other in zip(ours.all_weights, theirs.all_weights, strict=True):
        for one, two in zip(mine, other, strict=True):
            assert isinstance(one, nn.Parameter)
            assert torch.equal(one, two)
    assert ours.flatten_parameters() is None
    words = repr(theirs)
    variant = ours.variant
    assert repr(ours) == (words if variant == "plain" else f"{words[:-1]}, variant={variant!r})")


def test_the_repr_of_the_issue():
    assert repr(LSTM(4, 8, 2, batch_first=True)) == "LSTM(4, 8, num_layers=2, batch_first=True)"


@pytest.mark.parametrize("kind", EQUAL)
def test_arguments_have_torchs_names_and_places(kind):
    ours, theirs = ours_of(kind, F, H), theirs_of(kind, F, H)
    assert list(inspect.signature(ours.forward).parameters) == ["input", "hx"]
    names = list(inspect.signature(nn.RNNBase.__init__).parameters)
    own = inspect.signature(type(ours).__init__).parameters.values()
    assert [p.name for p in own if p.kind is not p.KEYWORD_ONLY] == [
        n for n in names if n != "mode"
    ]
    x = torch.zeros(6, 3, F)
    assert ours(input=x, hx=None)[0].shape == theirs(input=x, hx=None)[0].shape


@pytest.mark.parametrize("kind", KINDS)
def test_device_and_dtype(kind):
    ours = ours_of(kind, F, H, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in ours.parameters()} == {("meta", torch.bfloat16)}
    output, _ = ours(torch.empty(6, 3, F, device="meta", dtype=torch.bfloat16))
    assert (output.device.type, output.dtype) == ("meta", torch.bfloat16)


@pytest.mark.parametrize("kind", EQUAL)
def test_change_of_dtype(kind):
    ours, theirs = twins(kind, dtype=torch.float32)
    x = torch.randn(6, 3, F, dtype=torch.float64)
    assert_same(ours.double()(x)[0], theirs.double()(x)[0])
    with pytest.raises(ValueError, match="does not match weight dtype"):
        ours.float()(x)


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "torch.save"])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_whole_and_independent(kind, copied):
    torch.manual_seed(0)
    ours = ours_of(kind, F, H, 2, bidirectional=True)
    x = torch.randn(6, 3, F)
    before = ours(x)[0]
    before.sum().backward()  # a copy after a step must not meet what is left of its graph
    if copied == "deepcopy":
        twin = copy.deepcopy(ours)
    elif copied == "pickle":
        twin = pickle.loads(pickle.dumps(ours))
    else:
        file = io.BytesIO()
        torch.save(ours, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    assert torch.equal(twin(x)[0], before)
    twin.weight_ih_l0.data.zero_()
    assert torch.equal(ours(x)[0], before)


@pytest.mark.parametrize("kind", EQUAL)
def test_pruning(kind):
    ours, theirs = twins(kind)
    x = torch.randn(6, 3, F, dtype=torch.float64)
    for module in (ours, theirs):
        prune.l1_unstructured(module, "weight_hh_l0", amount=0.5)
    assert not torch.equal(ours.weight_hh_l0, ours.weight_hh_l0_orig)
    assert_same(ours(x)[0], theirs(x)[0])
    ours(x)[0].sum().backward()
    assert ours.weight_hh_l0_orig.grad is not None
    for module in (ours, theirs):
        prune.remove(module, "weight_hh_l0")
    ours.load_state_dict(theirs.state_dict())
    assert_same(ours(x)[0], theirs(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_parametrisations_and_shared_weights(kind):
    """Weights are read at each call, so that they may be replaced."""
    torch.manual_seed(0)
    ours = ours_of(kind, F, H)
    x = torch.randn(6, 3, F)
    before = ours(x)[0]
    nn.utils.parametrizations.weight_norm(ours, "weight_hh_l0")
    torch.testing.assert_close(ours(x)[0], before)
    other = ours_of(kind, F, H)
    other.weight_ih_l0 = nn.Parameter(torch.zeros(other.weight_ih_l0.shape))
    assert_same(other(x)[0], other(torch.zeros_like(x))[0])


@pytest.mark.parametrize("kind", KINDS)
def test_traced_and_compiled_in_one_piece(kind):
    """But for Newton's iterations, whose number depends on values."""
    torch.manual_seed(0)
    ours = ours_of(kind, F, H)
    x = torch.randn(3, 2, F)
    compiled = torch.compile(ours, backend="eager", fullgraph="newton" not in kind)
    assert torch.equal(compiled(x)[0], ours(x)[0])


# --- dropout


@pytest.mark.parametrize("kind", EQUAL)
def test_dropout_draws_what_torch_draws(kind):
    ours, theirs = twins(kind, num_layers=3, dropout=0.4)
    x = torch.randn(6, 3, F, dtype=torch.float64)
    outputs = []
    for module in (ours, theirs, ours):
        torch.manual_seed(7)
        outputs.append(module(x)[0])
    assert_same(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    assert not torch.allclose(outputs[0], ours(x)[0])  # another mask
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_one_layer_warns(kind):
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1"):
        ours_of(kind, F, H, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours_of(kind, F, H, 2, dropout=0.5)


# --- what is refused


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_layers": 0},
        {"input_size": 0},
        {"input_size": -1},
        {"input_size": 4.0},
        {"hidden_size": 0},
        {"hidden_size": "5"},
        {"bias": "True"},
        {"batch_first": 1},
        {"dropout": 2.0},
        {"dropout": -0.1},
        {"dropout": True},
        {"proj_size": 5},
        {"proj_size": -1},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["plain", "peephole", "gru"])
def test_arguments_that_torch_refuses(kind, wrong):
    arguments = {"input_size": F, "hidden_size": H, **wrong}
    with pytest.raises((ValueError, TypeError)) as theirs:
        theirs_of(kind, **arguments)
    with pytest.raises(type(theirs.value)) as ours:
        ours_of(kind, **arguments)
    assert str(ours.value) == str(theirs.value)


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="is not one of plain, stacked, fused"):
        LSTM(F, H, variant="fast")


def zeros(*shape):
    return torch.zeros(shape)


def packed(features=F):
    return pack_sequence([zeros(5, features), zeros(3, features)])


CALLS = {
    "1-D": (zeros(F), None),
    "4-D": (zeros(1, 1, 1, F), None),
    "features": (zeros(6, 3, F + 1), None),
    "features, unbatched": (zeros(6, F + 1), None),
    "dtype": (zeros(6, 3, F).double(), None),
    "no timestep": (zeros(0, 3, F), None),
    "hx of another batch": (zeros(6, 3, F), zeros(1, 2, H)),
    "hx of more layers": (zeros(6, 3, F), zeros(2, 3, H)),
    "hx of another size": (zeros(6, 3, F), zeros(1, 3, H + 1)),
    "hx without a batch": (zeros(6, 3, F), zeros(1, H)),
    "hx with a batch": (zeros(6, F), zeros(1, 1, H)),
}
PACKED_CALLS = {
    "features": (packed(F + 1), None),
    "hx of another batch": (packed(), zeros(1, 3, H)),
    "hx without a batch": (packed(), zeros(1, H)),
    "hx of another size": (packed(), zeros(1, 2, H + 1)),
}


def refusals(kind, x, h):
    hx = h if h is None or kind.startswith("gru") else (h, h)
    with pytest.raises((RuntimeError, ValueError)) as theirs:
        theirs_of(kind, F, H)(x, hx)
    with pytest.raises((RuntimeError, ValueError)) as ours:
        ours_of(kind, F, H)(x, hx)
    return ours.value, theirs.value


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", EQUAL)
def test_calls_that_torch_refuses(kind, call):
    ours, theirs = refusals(kind, *CALLS[call])
    assert (type(ours), str(ours)) == (type(theirs), str(theirs))


@pytest.mark.parametrize("call", PACKED_CALLS)
def test_packed_calls_that_torch_refuses(call):
    ours, theirs = refusals("gru", *PACKED_CALLS[call])
    assert (type(ours), str(ours)) == (type(theirs), str(theirs))
    x, h = PACKED_CALLS[call]
    with pytest.raises(RuntimeError, match=r"input_size\. Expected|Expected hidden\[0\] size"):
        LSTM(F, H)(x, None if h is None else (h, h))


@pytest.mark.parametrize("variant", PROJECTED)
def test_states_that_only_an_lstm_has(variant):
    ours, theirs = LSTM(F, H, proj_size=2, variant=variant), nn.LSTM(F, H, proj_size=2)
    x = zeros(6, 3, F)
    messages = []
    for module in (ours, theirs):
        for hx in ((zeros(1, 3, H), zeros(1, 3, H)), (zeros(1, 3, 2), zeros(1, 3, 2))):
            with pytest.raises(RuntimeError) as caught:
                module(x, hx)
            messages.append(str(caught.value))
    assert messages[:2] == messages[2:]
    assert "Expected hidden[0] size (1, 3, 2), got [1, 3, 5]" in messages
    with pytest.raises(RuntimeError, match="lstm expects two hidden states"):
        ours(x, (zeros(1, 3, 2),))


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_of_another_dtype_is_refused(kind):
    h = zeros(1, 3, H)
    states = [h.double()] if kind.startswith("gru") else [(h.double(), h), (h, h.double())]
    for hx in states:
        with pytest.raises(RuntimeError, match="not the same dtype"):
            ours_of(kind, F, H)(zeros(6, 3, F), hx)


@pytest.mark.parametrize("kind", EQUAL)
def test_an_empty_batch(kind):
    ours, theirs = twins(kind, bidirectional=True)
    x = torch.zeros(6, 0, F, dtype=torch.float64)
    for mine, other in zip(flat(ours(x)), flat(theirs(x)), strict=True):
        assert mine.shape == other.shape


# --- autocast


@pytest.mark.parametrize("kind", EQUAL)
@pytest.mark.parametrize("state", [None, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_keeps_the_dtype_of_the_state_as_torch_does_on_cpu(
    monkeypatch, kind, given, state
):
    """torch without oneDNN's LSTM, which refuses where the processor has no bfloat16."""
    ours, theirs = twins(kind, dtype=torch.float32, num_layers=2, bidirectional=True)
    x = torch.randn(6, 3, F).to(given)
    hx = None if state is None else states_for(ours, 3, state)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = list(zip(flat(ours(x, hx)), flat(theirs(x, hx)), strict=True))
    for mine, other in pairs:
        assert mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, rtol=0, atol=0.02)
    sum(mine.float().sum() for mine, _ in pairs).backward()
    assert {p.grad.dtype for p in ours.parameters()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.parametrize("kind", EQUAL)
def test_autocast_on_a_gpu_gives_the_dtype_of_cudnn(kind):
    ours, theirs = (module.cuda() for module in twins(kind, dtype=torch.float32))
    x = torch.randn(6, 3, F, device="cuda")
    with torch.autocast("cuda", dtype=torch.float16):
        pairs = zip(flat(ours(x)), flat(theirs(x)), strict=True)
    for mine, other in pairs:
        assert mine.dtype == other.dtype == torch.float16
        torch.testing.assert_close(mine, other, rtol=0, atol=0.02)
