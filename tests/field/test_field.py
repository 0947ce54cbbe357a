"""Fields: formulas against published networks, probes and closed forms, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchsuite import measure
from benchsuite.catalog.models import MODELS
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError
from benchsuite.field.derive import traced_field
from benchsuite.field.effective import effective_field, half_life, quantile
from benchsuite.field.formula import UNBOUNDED, Branches, Field, Layer, receptive_field
from benchsuite.field.perturb import perturb
from benchsuite.field.policy import find_field
from benchsuite.field.probe import probe
from benchsuite.field.subject import noise
from benchsuite.field.summary import field_of
from benchsuite.grid.case import Case
from benchsuite.models import wavenet
from benchsuite.models.conv import KERNEL_SIZE, levels_to_cover
from benchsuite.models.conv import receptive_field as tcn_field
from benchsuite.models.lstm import lstm_peephole
from benchsuite.runtime.build import Sizes, build

RECURRENT = [spec.name for spec in MODELS if spec.family == "recurrent"]
#: By FFT, all timesteps are mixed, and only perturbation shows what an output depends on.
LINEAR = [s.name for s in MODELS if s.family == "linear" and s.execution != "FFT"]
CONVOLUTIONAL = [spec.name for spec in MODELS if spec.family == "convolutional"]
DIRECT = [name for name in CONVOLUTIONAL if MODELS.get(name).execution != "FFT"]
C = 4  # features and channels


def small(name, seq_len=40, **options):
    sizes = {"num_layers": 1, "bidirectional": False, **options}
    torch.manual_seed(0)
    return build(name, Sizes(C, 6, **sizes, seq_len=seq_len))


class OverTime(nn.Sequential):
    """Layers over (batch, channels, time)."""

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Function(nn.Module):
    """A function of (batch, time, features)."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Residual(nn.Module):
    """x + layers(x) over (batch, channels, time), cut to the input's length."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)[..., : x.shape[-1]]


class ConvLoop(nn.Module):
    """A look back over five steps, in a loop that writes into a tensor."""

    def forward(self, x):
        out = torch.empty_like(x)
        for t in range(x.shape[1]):
            out[:, t] = x[:, max(0, t - 4) : t + 1].sum(1)
        return out


class Decay(nn.Module):
    """h_t = a h_{t-1} + x_t, whose gradient at lag k is a^k."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a, dtype=torch.float64))

    def forward(self, x):
        h, out = torch.zeros_like(x[:, 0]), []
        for x_t in x.unbind(1):
            h = self.a * h + x_t
            out.append(h)
        return torch.stack(out, 1)


class Mixing(nn.Module):
    """h_t = A h_{t-1} + x_t: the same Jacobian A^k for every input."""

    def __init__(self, size):
        super().__init__()
        self.A = nn.Parameter(0.8 * nn.init.orthogonal_(torch.empty(size, size).double()))

    def forward(self, x):
        h, out = torch.zeros_like(x[:, 0]), []
        for x_t in x.unbind(1):
            h = h @ self.A.T + x_t
            out.append(h)
        return torch.stack(out, 1)


class UNet(nn.Module):
    """Half the steps, then all again: what an output sees depends on whether it is odd."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv1d(C, C, 2, stride=2)
        self.up = nn.Conv1d(C, C, 3, padding=1)

    def forward(self, x):
        x = self.down(x.transpose(1, 2)).repeat_interleave(2, -1)
        return self.up(x).transpose(1, 2)


class MaskedConv1d(nn.Conv1d):
    """Made causal by zeros in the kernel."""

    def __init__(self):
        super().__init__(C, C, 5, padding=2)
        self.register_buffer("mask", torch.tensor([1.0, 1, 1, 0, 0]))

    def forward(self, x):
        return F.conv1d(x, self.weight * self.mask, self.bias, padding=2)


def fft_conv():
    """A causal convolution as long as the sequence, by FFT."""

    def convolve(x):
        n = x.shape[1]
        kernel = 0.5 ** torch.arange(n, dtype=x.dtype)[:, None]
        return torch.fft.irfft(
            torch.fft.rfft(x, 2 * n, 1) * torch.fft.rfft(kernel, 2 * n, 0), dim=1
        )[:, :n]

    return Function(convolve)


def causal_attention(x):
    scores = x @ x.transpose(1, 2)
    future = torch.ones_like(scores).triu(1).bool()
    return scores.masked_fill(future, -math.inf).softmax(-1) @ x


# ---------------------------------------------------------------- by formula, on descriptions


def causal(kernel, dilation=1):
    return Layer(kernel, dilation=dilation, left=dilation * (kernel - 1))


@pytest.mark.parametrize(
    ("kernel", "dilations", "convolutions", "stacks", "size"),
    [
        (6, [2**i for i in range(7)], 2, 1, 1271),  # Bai et al. 2018, table 2: adding 200
        (7, [2**i for i in range(7)], 2, 1, 1525),  # adding 400
        (8, [2**i for i in range(8)], 2, 1, 3571),  # adding 600, copy 1000
        (7, [2**i for i in range(8)], 2, 1, 3061),  # sequential MNIST
        (3, [2**i for i in range(6)], 2, 1, 253),  # keras-tcn's default
        (2, [1, 2], 2, 1, 7),  # keras-tcn issue 226
        (2, [1, 2, 4, 8], 1, 1, 16),  # keras-tcn's README
        (2, [1, 2, 4, 8], 1, 2, 31),
        (2, [2**i for i in range(10)], 1, 1, 1024),  # a WaveNet block
        (2, [2**i for i in range(10)], 1, 3, 3070),
    ],
)
def test_published_temporal_networks(kernel, dilations, convolutions, stacks, size):
    blocks = [Branches(([causal(kernel, d)] * convolutions, [])) for d in dilations] * stacks
    assert receptive_field(blocks) == Field(0, size - 1)
    assert receptive_field(blocks).size == size


def test_published_strided_networks():
    """The table of Araujo, Norris & Sim 2019."""
    alexnet = [Layer(11, 4), Layer(3, 2), Layer(5), Layer(3, 2), *[Layer(3)] * 3, Layer(3, 2)]
    vgg16 = [layer for n in (2, 2, 3, 3, 3) for layer in (*[Layer(3)] * n, Layer(2, 2))]
    assert receptive_field(alexnet).size == 195
    assert receptive_field(vgg16).size == 212


def test_the_field_of_branches_is_the_hull_of_all_paths():
    assert receptive_field([]) == Field(0, 0)
    shifted = Branches(([Layer(1, left=7)], [Layer(5, left=2)]))
    assert receptive_field([shifted]) == Field(-2, 7)
    assert not receptive_field([shifted]).causal
    strided = Branches(([Layer(3, 2, left=1)], [Layer(1, 2)]))
    assert receptive_field([strided, Layer(3, left=2)]) == Field(-1, 5)
    with pytest.raises(UsageError, match="paths of strides 2, 1 cannot be combined"):
        receptive_field([Branches(([Layer(3, 2)], []))])


@pytest.mark.parametrize(
    "bad", [{"kernel_size": 0}, {"stride": 0}, {"dilation": 1.5}, {"left": -1}]
)
def test_impossible_layers_are_reported(bad):
    (name,) = bad
    with pytest.raises(UsageError, match=f"{name} = .* is not allowed"):
        Layer(**{"kernel_size": 3, **bad})


# ---------------------------------------------------------------- formula and probe, on modules


@pytest.mark.parametrize("seq_len", [8, 40, 100])
@pytest.mark.parametrize("name", DIRECT)
def test_formula_and_probe_agree_on_every_registered_convolution(name, seq_len):
    covering = tcn_field(KERNEL_SIZE, levels_to_cover(seq_len, KERNEL_SIZE))
    size = {
        **{"tcn": covering, "tcn_separable": covering, "tcn_fixed": 61, "conv": 9},
        "wavenet": 2 ** wavenet.levels_to_cover(seq_len),
    }[name]
    model = small(name, seq_len)
    assert traced_field(model, C, seq_len) == Field(0, size - 1)
    probed = probe(model, C, size + 3)
    assert probed.lags == tuple(range(size))
    assert (probed.size, probed.whole, probed.causal) == (size, False, True)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}], ids=str)
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrences_are_unbounded_and_causal(name, options):
    model = small(name, **options)
    assert traced_field(model, C) == Field(0, UNBOUNDED)
    assert traced_field(model, C).size is UNBOUNDED
    probed = probe(model, C, 20)
    assert (probed.lags, probed.whole, probed.causal) == (tuple(range(20)), True, True)


@pytest.mark.parametrize("name", LINEAR)
def test_linear_recurrences_are_unbounded_and_causal(name):
    model = small(name)
    assert traced_field(model, C) == Field(0, UNBOUNDED)
    probed = probe(model, C, 20)
    assert (probed.lags, probed.whole, probed.causal) == (tuple(range(20)), True, True)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_bidirectional_recurrence_sees_the_whole_sequence(name):
    model = small(name, bidirectional=True)
    assert traced_field(model, C) == Field(UNBOUNDED, UNBOUNDED)
    probed = probe(model, C, 20)
    assert (probed.size, probed.whole, probed.causal) == (20, True, False)


def test_random_networks_have_one_field_three_ways():
    """Descriptions of layers, the modules made from them, and the probe of those."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        description, modules = [], []
        for _ in range(rng.integers(1, 4)):
            path, layers = [], []
            for _ in range(rng.integers(1, 3)):
                kernel, dilation = int(rng.integers(1, 5)), int(rng.integers(1, 4))
                reach = dilation * (kernel - 1)
                left = int(rng.integers(0, reach + 1))
                path.append(Layer(kernel, dilation=dilation, left=left))
                layers += [
                    nn.ConstantPad1d((left, reach - left), 0.0),
                    nn.Conv1d(C, C, kernel, dilation=dilation),
                    nn.ReLU(),
                ]
            if rng.random() < 0.5:
                description.append(Branches((path, [])))
                modules.append(Residual(*layers))
            else:
                description += path
                modules += layers
        expected = receptive_field(description)
        model = OverTime(*modules)
        assert traced_field(model, C, 16) == expected
        lags = probe(model, C, 64).lags
        assert Field(lags[0], lags[-1]) == expected


def conv(*arguments, **options):
    return OverTime(nn.Conv1d(C, C, *arguments, **options))


@pytest.mark.parametrize(
    ("module", "nearest", "farthest"),
    [
        (nn.Linear(C, 3), 0, 0),
        (conv(5, padding=2), -2, 2),
        (conv(5, padding="same"), -2, 2),
        (conv(3, padding=4, dilation=4, groups=C), -4, 4),
        (conv(3, padding=1, padding_mode="reflect"), -1, 1),
        (conv(3, padding=1, padding_mode="replicate"), -1, 1),
        (OverTime(Residual(nn.Conv1d(C, C, 4, padding=3))), 0, 3),  # pad both sides, cut the right
        (OverTime(nn.utils.parametrizations.weight_norm(nn.Conv1d(C, C, 3, padding=1))), -1, 1),
        (OverTime(nn.BatchNorm1d(C), nn.Conv1d(C, 2 * C, 3, padding=1), nn.GLU(1)), -1, 1),
        (nn.LayerNorm(C), 0, 0),
        (OverTime(nn.GroupNorm(2, C)), UNBOUNDED, UNBOUNDED),
        (Function(lambda x: x - x.mean(1, keepdim=True)), UNBOUNDED, UNBOUNDED),
        (Function(lambda x: x.cumsum(1)), 0, UNBOUNDED),
        (Function(lambda x: x.flip(1).cumsum(1).flip(1)), UNBOUNDED, 0),
        (Function(lambda x: F.pad(x, (0, 0, 3, 0))[:, :-3]), 3, 3),
        (Function(lambda x: torch.softmax(x @ x.transpose(1, 2), -1) @ x), UNBOUNDED, UNBOUNDED),
        (Function(torch.ones_like), 0, -1),
        (Function(lambda x: x.cumsum(1).copy_(x)), 0, 0),  # written over
        (ConvLoop(), 0, 4),
        (UNet(), -2, 2),
        (nn.RNN(C, 3, batch_first=True), 0, UNBOUNDED),
    ],
)
def test_formula_and_probe_agree_on_other_modules(module, nearest, farthest):
    length = 32
    field = traced_field(module, C, length)
    assert (field.nearest, field.farthest) == (nearest, farthest)
    probed = probe(module, C, length)
    ends = (probed.lags[0], probed.lags[-1]) if probed.lags else (0, -1)
    assert ends == (
        1 - length if nearest is UNBOUNDED else nearest,
        length - 1 if farthest is UNBOUNDED else farthest,
    )
    assert probed.causal == field.causal


def test_the_probe_sees_gaps_and_the_formula_their_hull():
    module = conv(3, padding=8, dilation=4)
    module.append(nn.ConstantPad1d((0, -8), 0.0))
    assert probe(module, C, 32).lags == (0, 4, 8)
    assert traced_field(module, C).size == probe(module, C, 32).size == 9


def test_neither_depends_on_the_weights():
    """Dead ReLUs and zeros have misled probes by gradient."""
    module = OverTime(nn.Conv1d(C, C, 5, padding=2), nn.ReLU(), nn.Conv1d(C, C, 3, padding=2))
    module.append(nn.ConstantPad1d((0, -2), 0.0))
    with torch.no_grad():
        module[0].bias.fill_(-1e6)
        module[2].weight.zero_()
    assert traced_field(module, C) == Field(-2, 4)
    assert probe(module, C, 32).lags == tuple(range(-2, 5))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (fft_conv(), r"through aten\._fft_r2c\.default"),
        (Function(lambda x: x * x.max().item()), r"through aten\.max\.default"),
        (nn.TransformerEncoderLayer(C, 2, 8, batch_first=True), "cannot be derived through aten"),
        (Function(lambda x: torch.gather(x, 1, (x > 0).long())), "depends on the input's values"),
    ],
)
def test_what_cannot_be_derived_names_the_operation(module, words):
    with pytest.raises(Unsupported, match=words):
        traced_field(module, C)


def test_a_write_into_a_buffer_is_not_followed():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("memory", torch.zeros(1, 64, C))

        def forward(self, x):
            self.memory[:, : x.shape[1]] = x
            return self.memory[:, : x.shape[1]] + 0

    with pytest.raises(Unsupported, match="writes into a tensor made before"):
        traced_field(Writes(), C)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (fft_conv(), "an FFT .* cannot be probed structurally"),
        (OverTime(MaskedConv1d()), "meet the zeros of a mask"),
        (Function(causal_attention), "meet the zeros of a mask"),
        (Function(lambda x: torch.where(x > 0, x, 0.0)), "an operation drops NaNs"),
    ],
)
def test_a_refused_probe_gives_the_reason(module, words):
    with pytest.raises(Unsupported, match=words):
        probe(module, C, 32)


def nan_weights():
    module = small("tcn")
    next(module.parameters()).data[0, 0, 0] = math.nan
    return module


@pytest.mark.parametrize("find", [traced_field, probe])
@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nan_weights(), r"conv1.weight has 1 values that are NaN or infinite, of 72"),
        (conv(3, stride=2), "its Conv1d has stride 2, and only one output per timestep"),
        (Function(lambda x: x.mean(1)), r"returned \(\d, 4\) for an input of"),
        (nn.Linear(C + 1, 2), r"Linear fails on an input of \(\d, 32, 4\) .*: RuntimeError"),
    ],
)
def test_a_module_that_is_not_a_sequence_model_is_reported(find, module, words):
    with pytest.raises(UsageError, match=words) as error:
        find(module, C, 32)
    assert "\n" not in str(error.value)


def test_a_module_that_mixes_the_batch_is_reported():
    with pytest.raises(UsageError, match="batch_first=True"):
        probe(nn.LSTM(C, 3), C, 32)


# ---------------------------------------------------------------- effective


def decay_quantile(a, q, horizon):
    """K_q of a^k within a horizon."""
    return math.ceil(math.log(1 - q * (1 - a**horizon)) / math.log(a))


@pytest.mark.parametrize("horizon", [5, 20, 400])
@pytest.mark.parametrize("a", [0.5, 0.9, 0.99])
def test_a_linear_recurrence_has_the_closed_forms(a, horizon):
    field = effective_field(Decay(a), noise(2, horizon, 1), at=horizon - 1, horizon=horizon)
    lags = np.arange(horizon)
    np.testing.assert_array_equal(field.lags, lags)
    np.testing.assert_allclose(field.norm, a**lags, rtol=1e-12)
    np.testing.assert_allclose(field.square, a ** (2 * lags), rtol=1e-12)
    for q in (0.5, 0.95):
        assert field.quantile(q) == decay_quantile(a, q, horizon)
        assert field.quantile(q, squared=True) == decay_quantile(a * a, q, horizon)
    centre = (lags * a**lags).sum() / (a**lags).sum()
    assert field.centre_of_mass == pytest.approx(centre)
    assert field.half_life() == pytest.approx(math.log(0.5) / math.log(a))
    assert field.support == horizon
    assert field.saturated == (decay_quantile(a, 0.95, horizon) > 0.9 * horizon)
    assert field.norm_error.max() < 1e-15


def test_the_closed_forms_themselves():
    found = [decay_quantile(b, 0.95, 10_000) for a in (0.5, 0.9) for b in (a, a * a)]
    assert found == [5, 3, 29, 15]


def test_horizon_and_saturation():
    """K_.95 is 10 of 10, 18 of 20 (exactly 90 % is not above it) and 29 of 400."""
    for horizon, saturated in ((10, True), (20, False), (400, False)):
        field = effective_field(Decay(0.9), noise(2, horizon, 1), at=horizon - 1, horizon=horizon)
        assert (field.horizon, field.saturated) == (horizon, saturated)


def zero_input_lstm(features, hidden):
    """Full-matrix peepholes and random biases, but none in g: x = 0 then keeps c = h = 0."""
    torch.manual_seed(3)
    model = lstm_peephole(features, hidden, 1, bidirectional=False).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
        for bias in (model.bias_ih_l0, model.bias_hh_l0):
            bias[2 * hidden : 3 * hidden] = 0
    return model


def test_the_lstm_identity_at_zero_input():
    """∂h_t/∂x_{t-k} = diag(o) A^k diag(i) W_g, A = diag(f) + diag(i) U_g diag(o), gates σ(b)."""
    features, hidden, horizon = 3, 5, 12
    model = zero_input_lstm(features, hidden)
    i, f, _, o = (model.bias_ih_l0 + model.bias_hh_l0).sigmoid().chunk(4)
    W, U = model.weight_ih_l0.chunk(4)[2], model.weight_hh_l0.chunk(4)[2]
    A = f.diag() + i.diag() @ U @ o.diag()
    expected = [o.diag() @ torch.linalg.matrix_power(A, k) @ i.diag() @ W for k in range(horizon)]
    x = torch.zeros(1, horizon, features, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x)[0][0, -1], x)[:, 0]
    for k, block in enumerate(expected):
        torch.testing.assert_close(jacobian[:, horizon - 1 - k], block, rtol=1e-10, atol=1e-12)
    field = effective_field(model, x.expand(2, -1, -1), at=horizon - 1, horizon=horizon, probes=0)
    norms = [block.norm().item() for block in expected]
    np.testing.assert_allclose(field.norm, norms, rtol=1e-10)
    np.testing.assert_allclose(field.square, np.square(norms), rtol=1e-10)


def lstm_at_zero(forget_bias=None, *, recurrent=True):
    torch.manual_seed(0)
    model = nn.LSTM(64, 64, batch_first=True)
    with torch.no_grad():
        if forget_bias is not None:
            model.bias_ih_l0[64:128], model.bias_hh_l0[64:128] = forget_bias, 0
        if not recurrent:  # nothing but f carries a gradient on
            model.weight_hh_l0.zero_()
            model.bias_ih_l0[128:192], model.bias_hh_l0[128:192] = 0, 0
    return effective_field(model, torch.zeros(2, 100, 64), at=99, horizon=100, probes=0)


def test_default_initialisation_forgets_within_steps():
    """f is about 1/2, so K_.95 is near that of 2^-k, which is 5; U_g adds a little."""
    assert lstm_at_zero().quantile(0.95) in {5, 6}
    assert lstm_at_zero(0.0, recurrent=False).quantile(0.95) == 5


def test_forget_bias_one_has_half_life_2_21():
    half = lstm_at_zero(1.0, recurrent=False).half_life()
    assert half == pytest.approx(-math.log(2) / math.log(1 / (1 + math.exp(-1))))
    assert half == pytest.approx(2.21, abs=0.005)


def test_a_large_forget_bias_saturates_the_horizon():
    assert lstm_at_zero(8.0).saturated
    assert not lstm_at_zero().saturated


def test_probes_agree_with_the_jacobian_within_their_standard_error():
    """The Jacobian of a linear recurrence is the same for all inputs: probes alone make noise."""
    torch.manual_seed(0)
    model, inputs = Mixing(24), noise(64, 20, 24)
    exact = effective_field(model, inputs, at=19, horizon=20, probes=0)
    assert exact.norm_error.max() < 1e-12
    np.testing.assert_allclose(exact.square, 24 * 0.64 ** np.arange(20), rtol=1e-10)
    for probes in (1, 4):
        found = effective_field(model, inputs, at=19, horizon=20, probes=probes)
        z = (found.square - exact.square) / found.square_error
        assert abs(z).max() < 4
        assert 0.005 < (found.square_error / found.square).max() < 0.2


def test_the_root_of_a_noisy_mean_is_corrected():
    """Left alone, eight probes of two features are 1.6 % low: four standard errors here."""
    model, inputs = Mixing(2), noise(2000, 3, 2)
    exact = effective_field(model, inputs, at=2, horizon=3, probes=0)
    found = effective_field(model, inputs, at=2, horizon=3, probes=8)
    assert (found.norm_error / found.norm).max() < 0.005
    assert abs((found.norm - exact.norm) / found.norm_error).max() < 2


def test_probes_agree_with_the_jacobian_of_an_lstm_on_other_inputs():
    torch.manual_seed(0)
    model = nn.LSTM(8, 24, batch_first=True)
    exact = effective_field(model, noise(64, 12, 8, seed=1), at=11, horizon=12, probes=0)
    found = effective_field(model, noise(64, 12, 8, seed=2), at=11, horizon=12)
    assert (exact.probes, found.probes) == (0, 8)
    for name in ("norm", "square"):
        difference = getattr(found, name) - getattr(exact, name)
        error = np.hypot(getattr(found, f"{name}_error"), getattr(exact, f"{name}_error"))
        assert abs(difference / error).max() < 4
        assert (error / getattr(exact, name)).max() < 0.2


def test_few_output_features_are_differentiated_exactly():
    assert effective_field(Decay(0.5), noise(2, 9, 8), at=8, horizon=9).probes == 0
    assert effective_field(Decay(0.5), noise(2, 9, 9), at=8, horizon=9).probes == 8


def test_the_support_lies_within_the_receptive_field():
    """Far smaller gradients than the square of which float64 can hold count too."""
    field = effective_field(Decay(1e-20), noise(2, 16, 1), at=15, horizon=16)
    assert field.support == 16
    for name in CONVOLUTIONAL:
        found = field_of(small(name), input_size=C, seq_len=100)
        assert found.effective.support == found.receptive_field


def test_the_future_counts_by_distance():
    module = conv(5, padding=2, groups=C, bias=False)
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([1.0, 2.0, 8.0, 4.0, 16.0]))
    field = field_of(module, input_size=C, seq_len=10).effective
    seen = dict(zip(field.lags.tolist(), field.norm / field.norm.max(), strict=True))
    assert [seen[k] for k in (2, 1, 0, -1, -2)] == pytest.approx([1 / 16, 1 / 8, 1 / 2, 1 / 4, 1])
    assert field.support == 5
    assert field.quantile(0.5) == 3  # 8 at 0, 6 at 1, 17 at 2, of 31
    assert field.quantile(0.25) == 1


def test_quantiles_and_half_lives_of_plain_numbers():
    assert [quantile(np.ones(10), q) for q in (0.1, 0.5, 0.55, 0.95, 1.0)] == [1, 5, 6, 10, 10]
    assert half_life(0.5 ** np.arange(9), 2, 9) == pytest.approx(1)
    assert half_life(np.ones(9), 0, 9) is None
    assert half_life(0.5 ** np.arange(9), 0, 2) is None
    late = np.r_[5.0, 3.0, 4 * 0.25 ** np.arange(7)]
    assert half_life(late, 2, 9) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("module", "error", "words"),
    [
        (nan_weights(), UsageError, "NaN or infinite"),
        (Function(torch.ones_like), Unsupported, "no gradient leads"),
        (Function(lambda x: torch.relu(x * 0 - 1)), Unsupported, "every derivative by it is zero"),
        (Decay(1e80), BenchsuiteError, "overflows within the horizon"),
    ],
)
def test_useless_gradients_are_reported(module, error, words):
    with pytest.raises(error, match=words):
        effective_field(module, noise(2, 8, C), at=7, horizon=8)


# ---------------------------------------------------------------- all together


def test_a_module_is_left_as_it_was():
    module = small("lstm_cell").train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    field_of(module, input_size=C, seq_len=12)
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    for name, tensor in module.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_an_output_is_looked_at_that_sees_no_padding():
    """A constant in the padding, or a field longer than the sequence, changes nothing."""
    torch.manual_seed(0)
    layers = [nn.ConstantPad1d((60, 0), 1e6), nn.Conv1d(C, C, 3, dilation=30), nn.Tanh()]
    loud = OverTime(*layers)
    quiet = OverTime(nn.ConstantPad1d((60, 0), 0.0), *layers[1:])
    fields = [field_of(module, input_size=C, seq_len=40).effective for module in (loud, quiet)]
    np.testing.assert_array_equal(fields[0].norm, fields[1].norm)
    assert fields[0].lags[fields[0].norm > 0].tolist() == [0, 30]
    assert fields[0].horizon == 40


def test_a_bidirectional_model_is_looked_at_in_its_middle():
    found = field_of(small("lstm", bidirectional=True), input_size=C, seq_len=21)
    assert found.as_dict()["receptive_field"] == "unbounded"
    assert (found.probe.size, found.causal) == (21, False)
    assert found.effective.horizon == 11
    assert found.effective.lags.tolist() == list(range(-10, 11))


def test_what_cannot_be_derived_or_probed_is_perturbed_and_noted():
    found = field_of(fft_conv(), input_size=1, seq_len=32)
    assert (found.theory, found.receptive_field, found.causal) == (None, UNBOUNDED, True)
    assert [note for note in found.notes if "cannot be probed structurally" in note]
    assert [note for note in found.notes if "fade to rounding" in note]
    seen = dict(zip(found.effective.lags.tolist(), found.effective.norm, strict=True))
    assert seen[3] / seen[1] == pytest.approx(0.25)


def attention(see, module=None):
    """Self-attention of a step to those at the distances d (positive: past) where see(d)."""

    def attend(x):
        step = torch.arange(x.shape[1])
        hidden = ~see(step[:, None] - step)
        if module is not None:
            return module(x, src_mask=hidden)
        scores = (x @ x.transpose(1, 2)).masked_fill(hidden, -math.inf)
        return scores.softmax(-1) @ x

    return Function(attend)


def past(d):
    return d >= 0


def eight(d):
    return (d >= 0) & (d < 8)


def both_sides(d):
    return d.abs() <= 3


def encoder():
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(C, 2, 8, batch_first=True).double().eval()


@pytest.mark.parametrize("module", [None, encoder()], ids=["by hand", "TransformerEncoderLayer"])
@pytest.mark.parametrize(
    ("see", "nearest", "farthest"),
    [(past, 0, UNBOUNDED), (eight, 0, 7), (both_sides, -3, 3)],
)
def test_masked_attention_is_perturbed(see, nearest, farthest, module):
    model = attention(see, module)
    for seq_len in (20, 130):
        known = find_field(model, C, seq_len)
        assert known.field == Field(nearest, farthest)
        assert (known.causal, known.found_by, known.theory) == (nearest == 0, "probe", None)
        assert any("zeros of a mask" in note for note in known.notes)
    if nearest == 0:
        assert field_of(model, input_size=C, seq_len=20, causal=True).causal


def test_a_mask_in_a_kernel_is_perturbed():
    torch.manual_seed(0)
    assert find_field(OverTime(MaskedConv1d()), C, 32).field == Field(0, 2)


@pytest.mark.parametrize(
    "norm",
    [
        nn.InstanceNorm1d(C),
        nn.InstanceNorm1d(C, affine=True),
        nn.BatchNorm1d(C, track_running_stats=False),
        nn.GroupNorm(2, C),
    ],
    ids=str,
)
def test_a_normalisation_over_time_sees_the_whole_sequence(norm):
    module = OverTime(nn.Conv1d(C, C, 5, padding=2), norm)
    assert traced_field(module, C) == Field(UNBOUNDED, UNBOUNDED)
    assert find_field(module, C, 40).field == Field(UNBOUNDED, UNBOUNDED)


@pytest.mark.parametrize("seq_len", [1, 2, 3, 4])
def test_a_recurrence_is_unbounded_by_formula_in_the_shortest_sequences(seq_len):
    known = find_field(small("lstm"), C, seq_len)
    assert (known.field, known.found_by, known.notes) == (Field(0, UNBOUNDED), "formula", ())


def test_a_finite_field_longer_than_the_sequence_is_seen_in_a_longer_one():
    """By FFT, which neither the formula nor a NaN follows."""
    kernel = torch.ones(40, C, dtype=torch.float64)

    def convolve(x):
        n = 2 * x.shape[1] + 80
        product = torch.fft.rfft(x, n, 1) * torch.fft.rfft(kernel, n, 0)
        return torch.fft.irfft(product, dim=1)[:, : x.shape[1]]

    assert find_field(Function(convolve), C, 24).field == Field(0, 39)


def test_a_batch_norm_with_running_statistics_sees_one_step():
    module = OverTime(nn.Conv1d(C, C, 5, padding=2), nn.BatchNorm1d(C))
    assert find_field(module, C, 40).field == Field(-2, 2)


class Quartered(nn.Module):
    """Takes multiples of four timesteps only; its field is longer than most sequences."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv1d(C, C, 4, stride=4)
        self.middle = nn.Conv1d(C, C, 7, padding=12, dilation=4)

    def forward(self, x):
        if x.shape[1] % 4:
            raise ValueError(f"{x.shape[1]} timesteps are not a multiple of 4")
        y = self.middle(self.down(x.transpose(1, 2)))
        return y.repeat_interleave(4, -1).transpose(1, 2)


@pytest.mark.parametrize("seq_len", [40, 64, 96])
def test_lengths_are_chosen_that_the_module_accepts(seq_len):
    found = field_of(Quartered(), input_size=C, seq_len=seq_len)
    assert found.known.field == Field(-51, 51)
    assert found.effective is not None
    with pytest.raises(UsageError, match="30 timesteps are not a multiple of 4"):
        field_of(Quartered(), input_size=C, seq_len=30)


def test_where_nan_and_perturbation_differ_the_larger_field_holds():
    """A NaN does not pass integers; a dead ReLU does not pass a change."""

    def steps(x):
        return torch.stack([x.amax(-1), F.pad(x[:, :-2], (0, 0, 2, 0)).amax(-1)], -1)

    moved = find_field(Function(lambda x: torch.special.entr(steps(x).nan_to_num(0).abs())), C, 20)
    assert moved.field == Field(0, 2)
    dead = Function(lambda x: torch.relu(x.sort(-1).values - 1e6) + F.pad(x, (0, 0, 2, 0))[:, :-2])
    assert find_field(dead, C, 20).field == Field(0, 2)


def test_a_change_that_needs_a_large_or_a_small_input_is_seen():
    """A threshold that only large inputs pass, and a softmax that large ones saturate."""
    large = Function(lambda x: F.pad(torch.relu(x - 6).cummax(-1).values, (0, 0, 3, 0))[:, :-3] + x)
    assert perturb(large, C, 20).probe.lags == (0, 3)
    sharp = Function(lambda x: F.pad((1e2 * x).softmax(-1), (0, 0, 1, 0))[:, :-1])
    assert perturb(sharp, C, 20).probe.lags == (1,)


def test_noise_is_seen_through_a_normalisation_of_features():
    module = nn.Sequential(nn.LayerNorm(C), nn.Linear(C, 2))
    assert perturb(module, C, 20).probe.lags == (0,)


def test_a_refused_perturbation_gives_the_reason():
    with pytest.raises(Unsupported, match="the same input gives different outputs"):
        perturb(Function(lambda x: x + torch.rand_like(x)), C, 8)
    with pytest.raises(Unsupported, match="NaN or infinite"):
        perturb(Function(lambda x: x / 0), C, 8)


def test_changes_that_fade_are_distinguished_from_a_field_that_ends():
    faded = perturb(Decay(0.1), C, 40)
    assert faded.probe.lags[-1] < 39
    assert faded.fades == (False, True)
    assert perturb(ConvLoop(), C, 40).fades == (False, False)


def test_a_formula_that_the_probe_contradicts_is_withdrawn():
    """A look back over most of the sequence looks unbounded to the formula."""

    def window(size):
        def look(x):
            sums = [x[:, max(0, t + 1 - size) : t + 1].sum(1) for t in range(x.shape[1])]
            return torch.stack(sums, 1)

        return Function(look)

    assert traced_field(window(18), C, 20).size is UNBOUNDED
    assert field_of(window(18), input_size=C, seq_len=40).receptive_field == 18
    # The first attempt, of 96 steps, takes this for unbounded; the probe of all steps denies it.
    assert traced_field(window(90), C, 96).size is UNBOUNDED
    assert field_of(window(90), input_size=C, seq_len=140).receptive_field == 90
    detour = Function(lambda x: torch.from_numpy(x.detach().numpy().cumsum(1)))
    found = field_of(detour, input_size=C, seq_len=20)
    assert found.theory is None
    assert "no lag by formula, but lags 0 to 19 as probed" in found.notes[0]


def test_a_module_of_one_length_only():
    over_time = OverTime(nn.Linear(120, 120))
    found = field_of(over_time, input_size=C, seq_len=120)
    assert (found.receptive_field, found.probe.size, found.causal) == (UNBOUNDED, 120, False)
    assert found.effective.horizon == 60
    with pytest.raises(UsageError, match="OverTime fails on an input"):
        field_of(over_time, input_size=C, seq_len=119)


def test_a_causal_module_can_be_asked_for():
    assert field_of(small("conv"), input_size=C, seq_len=12, causal=True).causal
    with pytest.raises(UsageError, match="LSTM is not causal"):
        field_of(small("lstm", bidirectional=True), input_size=C, seq_len=12, causal=True)
    assert field_of(fft_conv(), input_size=C, seq_len=12, causal=True).causal
    unknown = Function(lambda x: torch.fft.ifft(torch.fft.fft(x, dim=1), dim=1).real / 0)
    with pytest.raises(UsageError, match="whether Function is causal is not known: cannot be pert"):
        field_of(unknown, input_size=C, seq_len=12, causal=True)


def test_inputs_of_ones_own():
    """What a trained model looks at depends on what it is shown."""
    gate = Function(lambda x: F.pad(torch.relu(x), (0, 0, 1, 0))[:, :-1] + x)
    both = field_of(gate, input_size=1, seq_len=5, draw=lambda n, t: torch.ones(n, t, 1))
    one = field_of(gate, input_size=1, seq_len=5, draw=lambda n, t: -torch.ones(n, t, 1))
    assert (both.effective.support, one.effective.support) == (2, 1)
    assert both.receptive_field == one.receptive_field == 2


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["lstm", "gru", "tcn"])
def test_a_module_on_the_device_gives_the_same_field(name):
    """cuDNN's recurrent layers refuse a backward pass in eval mode."""
    module = small(name)
    here = field_of(module, input_size=C, seq_len=30)
    there = field_of(module.to("cuda"), input_size=C, seq_len=30)
    assert (there.theory, there.probe) == (here.theory, here.probe)
    np.testing.assert_allclose(there.effective.norm, here.effective.norm, rtol=1e-9)


# ---------------------------------------------------------------- measures and command line


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_the_measures_are_the_fields_numbers(name):
    case = Case(model=name, seq_len=24, hidden_size=6, batch_size=3, seed=5)
    torch.manual_seed(5)
    found = field_of(build(name, Sizes.of(case)), input_size=6, seq_len=24, seed=5).as_dict()
    for measured in ("receptive_field", "erf50", "erf95"):
        record = measure(case, measured)
        assert (record.status, record.unit, record.value) == ("ok", "step", found[measured])


def test_an_unbounded_field_is_skipped_and_its_quantiles_are_not():
    case = Case(model="gru", seq_len=16, hidden_size=6)
    record = measure(case, "receptive_field")
    assert (record.status, record.value) == ("skipped", None)
    assert record.reason.startswith("unbounded")
    assert 1 <= measure(case, "erf50").value <= measure(case, "erf95").value <= 16
    both = measure(case.replace(bidirectional=True), "erf95")
    assert "not known to be causal" in both.warning


def fft_factory():
    return fft_conv()


def sees_all(input_size):
    return nn.LSTM(input_size, 3, batch_first=True, bidirectional=True)


def counts_items(input_size):
    """Not derivable, but finite when probed."""
    return OverTime(nn.Conv1d(input_size, 2, 3, padding=1), nn.MaxPool1d(3, 1, 1))


def test_a_field_that_is_only_probed_has_a_note():
    record = measure(Case(model=f"{__name__}:counts_items", seq_len=16), "receptive_field")
    assert (record.status, record.value) == ("ok", 5)
    assert record.warning.startswith("probed: the field cannot be derived through aten.max_pool2d")
    record = measure(Case(model=f"{__name__}:fft_factory", seq_len=16), "receptive_field")
    assert (record.status, record.value) == ("skipped", None)
    assert record.reason == "unbounded: an output depends on the whole past"


def normed_over_time(input_size):
    return OverTime(nn.Conv1d(input_size, 2, 5, padding=2), nn.InstanceNorm1d(2))


def batch_normed(input_size):
    norm = nn.BatchNorm1d(2, track_running_stats=False)
    return OverTime(nn.Conv1d(input_size, 2, 5, padding=2), norm)


def windowed():
    return attention(eight)


def test_the_measure_follows_the_policy():
    for factory in ("normed_over_time", "batch_normed"):
        record = measure(Case(model=f"{__name__}:{factory}", seq_len=16), "receptive_field")
        assert (record.status, record.value) == ("skipped", None)
        assert record.reason == "unbounded: an output depends on the whole sequence"
    record = measure(Case(model=f"{__name__}:windowed", seq_len=24), "receptive_field")
    assert (record.status, record.value) == ("ok", 8)
    assert record.warning.startswith("probed: ")


def test_a_windowed_attention_is_causal_in_the_command(cli):
    code, out, _ = cli(f"{__name__}:windowed", *SMALL, "--causal", "--json")
    row = json.loads(out)
    assert (code, row["causal"], row["receptive_field"]) == (0, True, 8)


@pytest.fixture
def cli(monkeypatch, run_command, tmp_path):
    """(exit code, standard output, standard error) of a command, in this process."""
    monkeypatch.chdir(tmp_path)

    return lambda *words: run_command("field", *words)


SMALL = ("-a", "seq_len=16", "-a", "hidden_size=6")
KEYS = [
    *("model", "receptive_field", "probed_field", "causal", "erf50", "erf95", "erf50_sq"),
    *("erf95_sq", "centre_of_mass", "half_life", "support", "horizon", "saturated"),
]


def test_json_of_one_model_is_an_object(cli):
    code, out, err = cli("conv", *SMALL, "--json")
    row = json.loads(out)
    assert (code, err, list(row)) == (0, "", KEYS)
    assert (row["receptive_field"], row["probed_field"], row["horizon"]) == (9, 9, 16)
    assert row["causal"] is True
    assert row["saturated"] is False


def test_json_of_several_models_is_a_list_and_the_figure_holds_them_all(cli, tmp_path):
    code, out, _ = cli("lstm", "tcn", f"{__name__}:fft_factory", *SMALL, "-o", "out", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [list(row) for row in rows] == [KEYS] * 3
    assert [row["receptive_field"] for row in rows] == ["unbounded", 29, "unbounded"]
    assert [row["probed_field"] for row in rows] == [16, 29, 16]
    svg = (tmp_path / "out" / "field.svg").read_text()
    for word in ("lstm", "tcn", "fft_factory", "lag k in timesteps", "T=16, H=6", "match=width"):
        assert word in svg


def test_all_models_as_a_table(cli, tmp_path):
    code, out, err = cli("all", "-a", "seq_len=8", "-a", "hidden_size=3", "-a", "input_size=1")
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    assert code == 0
    assert "skipped: lstm_triton: lstm_triton is a kernel for cuda" in err
    for name in [*RECURRENT, *CONVOLUTIONAL]:
        assert name in lines
    assert lines["conv"][1:4] == ["9", "9", "yes"]
    assert lines["gru"][1:4] == ["unbounded", "8", "yes"]
    assert str(tmp_path / ".benchsuite" / "field" / "field.svg") in out


def test_an_outside_model_of_one_feature(cli):
    code, out, _ = cli(f"{__name__}:sees_all", *SMALL, "-a", "input_size=1", "--json")
    row = json.loads(out)
    assert (code, row["causal"], row["horizon"]) == (0, False, 8)
    assert (row["receptive_field"], row["probed_field"]) == ("unbounded", 16)


def test_one_bad_model_among_several_is_reported_and_kept(cli):
    code, out, err = cli("conv", f"{__name__}:sees_all", *SMALL, "--causal", "--json")
    rows = json.loads(out)
    assert code == 1
    assert "sees_all: LSTM is not causal" in err
    assert list(rows[1]) == KEYS
    assert {*rows[1].values()} == {f"{__name__}:sees_all", None}


def no_time(input_size):
    return Function(lambda x: x.mean(1))


def spoilt(input_size):
    module = nn.Conv1d(input_size, 2, 1)
    module.weight.data.fill_(math.nan)
    return OverTime(module)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lsmt"], "unknown model 'lsmt': did you mean 'lstm'"),
        (["lstm", "-a", "dtype=float32"], "unknown axis of a field 'dtype'"),
        (["lstm", "-a", "seq_len=8,16"], "axis 'seq_len': 2 values; a field has one of each axis"),
        (["lstm", "-a", "seq_len=0"], "0 is not allowed"),
        ([f"{__name__}:sees_all", *SMALL, "--causal"], "LSTM is not causal"),
        ([f"{__name__}:no_time", *SMALL], "(batch, time, features) is needed"),
        ([f"{__name__}:spoilt", *SMALL], "NaN or infinite"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, words, message):
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
