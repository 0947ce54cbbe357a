"""The long convolution against its equations, with the kernel applied directly."""

from __future__ import annotations

import math

import pytest
import torch

from benchsuite.models.longconv import (
    LongConv,
    LongConvLayer,
    longconv,
    position_features,
    receptive_field,
)

B, F, C = 2, 5, 8


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def written_out(kernel, taps, whole):
    """k(τ) of the docstring at each tap: (L, C)."""
    rows = []
    for tap in range(taps):
        tau = tap / whole
        octaves = max(1, math.floor(math.log2(whole)))
        angles = [2 * math.pi * 2**j * tau for j in range(octaves)]
        phi = torch.tensor([tau, *map(math.cos, angles), *map(math.sin, angles)]).double()
        hidden = torch.sin(kernel.hidden1.weight @ phi + kernel.hidden1.bias)
        hidden = torch.sin(kernel.hidden2.weight @ hidden + kernel.hidden2.bias)
        rows.append((kernel.weight @ hidden) * torch.exp(-kernel.log_decay.exp() * tau))
    return torch.stack(rows)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


@pytest.mark.parametrize(("taps", "steps"), [(1, 3), (12, 12), (12, 5), (12, 30)])
def test_a_layer_is_the_equation(taps, steps):
    torch.manual_seed(0)
    layer = LongConvLayer(C, taps).double()
    u_BTC = torch.randn(B, steps, C, dtype=torch.float64)
    kernel_LC = written_out(layer.kernel, min(taps, steps), taps)
    y = [
        layer.direct * u_BTC[:, t]
        + sum(kernel_LC[tap] * u_BTC[:, t - tap] for tap in range(min(taps, t + 1)))
        for t in range(steps)
    ]
    z_BTC = gelu(torch.stack(y, 1))
    P, Q = layer.mixing.weight.chunk(2)
    p, q = layer.mixing.bias.chunk(2)
    expected = u_BTC + (z_BTC @ P.T + p) * torch.sigmoid(z_BTC @ Q.T + q)
    # Features of positions are held in float32.
    torch.testing.assert_close(layer(u_BTC), expected, rtol=0, atol=2e-5)


def test_features_distinguish_neighbouring_taps():
    for taps in (2, 7, 64, 1000):
        features_LE = position_features(taps)
        assert features_LE.shape == (taps, 1 + 2 * max(1, math.floor(math.log2(taps))))
        assert (features_LE[1:, 1:] - features_LE[:-1, 1:]).norm(dim=1).min() > 1


@pytest.mark.parametrize("taps", [1, 12, 300])
def test_parameters_as_documented(taps):
    model, M, layers = LongConv(F, C, taps), 16, 2
    E = 1 + 2 * max(1, math.floor(math.log2(taps)))
    per_layer = 2 * C * C + (M + 4) * C + (E + M + 2) * M
    assert parameters(model) == F * C + C + layers * per_layer
    assert parameters(model.layers[0].kernel) == (E + M + 2) * M + (M + 1) * C
    # What is computed from the number of taps is not saved, nor counted.
    assert not [name for name in model.state_dict() if "features" in name]


@torch.no_grad()
@pytest.mark.parametrize("taps", [1, 30, 2000])
def test_the_squares_of_a_kernel_add_up_to_one_at_the_start(taps):
    torch.manual_seed(0)
    squares = [LongConvLayer(64, taps).kernel(taps).square().sum(1).mean() for _ in range(10)]
    assert 0.7 < float(torch.stack(squares).mean()) < 1.4


def test_the_start_of_a_sequence_does_not_depend_on_its_length():
    """Also in sequences longer than the kernels."""
    torch.manual_seed(0)
    model = longconv(F, C, 16).double()
    x_BTF = torch.randn(B, 50, F, dtype=torch.float64)
    whole = model(x_BTF)
    for steps in (1, 2, 15, 16, 17, 40):
        torch.testing.assert_close(model(x_BTF[:, :steps]), whole[:, :steps])


def test_an_output_depends_on_the_last_inputs_only():
    torch.manual_seed(0)
    model = longconv(F, C, 8).double()
    reach = receptive_field(8, 2)
    assert reach == 15
    x_BTF = torch.randn(1, 40, F, dtype=torch.float64)
    other = x_BTF.clone()
    other[:, : 40 - reach] += 1
    torch.testing.assert_close(model(x_BTF)[:, -1], model(other)[:, -1], rtol=0, atol=1e-13)
    other[:, 40 - reach] += 1
    assert (model(x_BTF)[:, -1] - model(other)[:, -1]).abs().max() > 1e-9


def test_half_precision_is_near():
    torch.manual_seed(0)
    model = longconv(F, C, 64).eval()
    x_BTF = torch.randn(B, 64, F)
    expected = model(x_BTF)
    actual = model.bfloat16()(x_BTF.bfloat16())
    assert actual.dtype == torch.bfloat16
    assert (actual - expected).norm() < 0.05 * expected.norm()
