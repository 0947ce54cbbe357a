"""FLOPs of transforms and convolutions: the rules, and the formulas in the models' docstrings."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.models.conv import CausalConv1d
from benchsuite.models.fftconv import causal_fft_convolution, fft_size
from benchsuite.models.longconv import LAYERS, UNITS, LongConv
from benchsuite.runtime import count
from benchsuite.runtime.build import Sizes, build, build_on_meta
from benchsuite.runtime.flop_rules import RULES, transform_flops
from benchsuite.runtime.match import solve

F, C, B = 5, 8, 3
NEW = ("tcn_separable", "wavenet", "longconv")


def counted(function, *tensors):
    with FlopCounterMode(display=False, custom_mapping=dict(RULES)) as counter:
        function(*tensors)
    return counter.get_total_flops()


@pytest.mark.parametrize("points", [1, 8, 15, 1000])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_transform_of_n_points(points, device):
    """5·N·log₂N if complex, half if one side is real."""
    full = 5 * points * math.log2(points)
    assert transform_flops(points) == full
    real = torch.zeros(2, 3, points, device=device)
    both = real.to(torch.complex64)
    half = both[..., : points // 2 + 1]
    assert counted(torch.fft.fft, both) == counted(torch.fft.ifft, both) == 6 * math.floor(full)
    assert counted(torch.fft.rfft, real) == 6 * math.floor(full / 2)
    assert counted(lambda x: torch.fft.irfft(x, points), half) == 6 * math.floor(full / 2)


def test_a_transform_over_two_dimensions():
    x = torch.zeros(3, 8, 16)
    assert counted(torch.fft.rfft2, x) == 3 * math.floor(transform_flops(128) / 2)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_each_gradient_of_a_convolution_costs_as_much_as_the_convolution(groups):
    conv = CausalConv1d(8, 8, 3, dilation=2, groups=groups)
    forward = 2 * B * 20 * 8 * (8 // groups) * 3
    x = torch.zeros(B, 8, 20)
    assert counted(conv, x) == forward
    assert counted(lambda x: conv(x).sum().backward(), x) == 2 * forward  # of the weights alone
    x.requires_grad_()
    assert counted(lambda x: conv(x).sum().backward(), x) == 3 * forward


def test_each_gradient_of_a_transposed_convolution_costs_as_much_too():
    conv = nn.ConvTranspose1d(8, 4, 3, stride=2, groups=2)
    x = torch.zeros(B, 8, 20, requires_grad=True)
    forward = counted(conv, x)
    assert forward == 2 * B * 20 * 8 * 2 * 3
    assert counted(lambda x: conv(x).sum().backward(), x) == 3 * forward


def test_the_counter_of_torch_misses_transforms_and_overcounts_groups():
    """If this fails, torch has learnt it and the rules can go."""
    conv = CausalConv1d(8, 8, 3, groups=8)
    with FlopCounterMode(display=False) as counter:
        torch.fft.rfft(torch.zeros(4, 64))
        assert counter.get_total_flops() == 0
        conv(torch.zeros(B, 8, 20)).sum().backward()
    assert counter.get_total_flops() == (1 + 8) * 2 * B * 20 * 8 * 3


def test_the_fft_convolution_as_documented():
    """(2B + 1)·C real transforms forward."""
    u, k = torch.zeros(B, C, 50), torch.zeros(C, 20)
    half = math.floor(transform_flops(fft_size(69)) / 2)
    assert counted(causal_fft_convolution, u, k) == (2 * B + 1) * C * half


@pytest.mark.parametrize("steps", [1, 12, 40, 100])
def test_the_long_convolution_as_documented(steps):
    taps, M = 40, UNITS
    model = LongConv(F, C, taps)
    E, K = model.layers[0].kernel.features.shape[1], min(taps, steps)
    half = math.floor(transform_flops(fft_size(steps + K - 1)) / 2)
    layer = 2 * K * M * (E + M + C) + 4 * B * steps * C * C + (2 * B + 1) * C * half
    assert counted(model, torch.zeros(B, steps, F)) == 2 * B * steps * F * C + LAYERS * layer


@pytest.mark.parametrize("steps", [12, 200])
@pytest.mark.parametrize("name", ["tcn", "tcn_separable", "wavenet"])
def test_a_convolution_needs_two_flops_for_each_weight_and_timestep(name, steps):
    sizes = Sizes(F, C, 1, bidirectional=False, seq_len=steps)
    model = build(name, sizes)
    weights = sum(p.numel() for n, p in model.named_parameters() if n.endswith("weight"))
    forward = 2 * B * steps * weights
    assert count.flops(name, sizes, batch_size=B, train=False).total == forward
    # Of the convolutions that read the input, no gradient of it is taken.
    entry = {"tcn": ("0.conv1.weight", "0.skip.weight"), "wavenet": ("entry.weight",)}.get(
        name, ("0.conv1.depthwise.weight", "0.skip.weight")
    )
    first = sum(p.numel() for n, p in model.named_parameters() if n.endswith(entry))
    trained = count.flops(name, sizes, batch_size=B, train=True).total
    assert trained == 3 * forward - 2 * B * steps * first


@pytest.mark.parametrize("match", ["params", "flops"])
@pytest.mark.parametrize("name", NEW)
def test_the_convolutions_can_be_matched(name, match):
    sizes = Sizes(16, 32, 1, bidirectional=False, seq_len=64)
    found = solve(name, sizes, match)
    assert abs(found.deviation) < 0.05
    assert not found.extrapolated
    assert found.width != 32


def test_parameters_do_not_depend_on_the_device_of_counting():
    sizes = Sizes(F, C, 1, bidirectional=False, seq_len=50)
    for name in NEW:
        there = count.parameters(build_on_meta(name, sizes))
        assert there == count.parameters(build(name, sizes))
