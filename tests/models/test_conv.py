"""The TCN and its options, and the separable one, against their equations written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from benchsuite.contract import check_model
from benchsuite.models.conv import TCN, levels_to_cover, tcn
from benchsuite.models.separable import SeparableConv1d, tcn_separable

T, B, FEATURES, C = 40, 2, 5, 8


def input_BTF():
    return torch.randn(B, T, FEATURES, generator=torch.Generator().manual_seed(1))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def bai(x_BCT, blocks):
    """Pad both sides and cut the right, as the authors' code does; each block (conv, conv, skip)."""
    for conv1, conv2, skip in blocks:
        y_BCT = x_BCT
        for conv in (conv1, conv2):
            y_BCT = torch.relu(conv(y_BCT)[..., : x_BCT.shape[-1]])
        x_BCT = torch.relu(y_BCT + (x_BCT if skip is None else skip(x_BCT)))
    return x_BCT


def drawn(levels, kernel, *, normed):
    """The layers of the authors' network, in the order in which they are drawn."""
    torch.manual_seed(3)
    blocks = []
    for level in range(levels):
        d = 2**level
        before = FEATURES if level == 0 else C
        convs = [
            nn.Conv1d(width, C, kernel, dilation=d, padding=d * (kernel - 1))
            for width in (before, C)
        ]
        skip = nn.Conv1d(before, C, 1) if level == 0 else None
        blocks.append((*(map(parametrizations.weight_norm, convs) if normed else convs), skip))
    return blocks


def test_the_default_is_what_it_was():
    """Same weights from the same seed, same outputs, same names."""
    levels = levels_to_cover(T, 3)
    blocks = drawn(levels, 3, normed=False)
    torch.manual_seed(3)
    model = tcn(FEATURES, C, T)
    names = [
        f"blocks.{block}.{part}.{name}"
        for block in range(levels)
        for part in ("conv1", "conv2", *(["skip"] if block == 0 else []))
        for name in ("weight", "bias")
    ]
    assert list(model.state_dict()) == names
    x_BTF = input_BTF()
    expected = bai(x_BTF.transpose(1, 2), blocks).transpose(1, 2)
    torch.testing.assert_close(model(x_BTF), expected, rtol=0, atol=1e-6)
    for block, (conv1, conv2, _) in zip(model.blocks, blocks, strict=True):
        assert torch.equal(block.conv1.weight, conv1.weight)
        assert torch.equal(block.conv2.bias, conv2.bias)


@pytest.mark.parametrize("kernel", [1, 2, 6])
def test_kernel_size_and_weight_normalisation(kernel):
    blocks = drawn(3, kernel, normed=True)
    torch.manual_seed(3)
    model = TCN(FEATURES, C, 3, kernel_size=kernel, weight_norm=True)
    x_BTF = input_BTF()
    expected = bai(x_BTF.transpose(1, 2), blocks).transpose(1, 2)
    torch.testing.assert_close(model(x_BTF), expected, rtol=0, atol=1e-6)
    torch.manual_seed(3)
    plain = TCN(FEATURES, C, 3, kernel_size=kernel)
    torch.testing.assert_close(model(x_BTF), plain(x_BTF), rtol=0, atol=1e-6)  # at the start
    assert parameters(model) == parameters(plain) + 6 * C
    weight = model.blocks[1].conv1.parametrizations.weight
    with torch.no_grad():
        weight.original0.fill_(2.0)
    norms = model.blocks[1].conv1.weight.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.full((C,), 2.0))


def test_dropout_drops_in_train_mode_alone_and_scales_the_rest():
    torch.manual_seed(3)
    model = TCN(FEATURES, C, 1, dropout=0.4)
    torch.manual_seed(3)
    plain = TCN(FEATURES, C, 1)
    x_BTF = input_BTF()
    assert torch.equal(model.eval()(x_BTF), plain(x_BTF))
    assert not torch.equal(model.train()(x_BTF), plain(x_BTF))
    block = model.blocks[0]
    torch.manual_seed(7)
    y_BCT = F.dropout(torch.relu(block.conv1(x_BTF.transpose(1, 2))), 0.4)
    y_BCT = F.dropout(torch.relu(block.conv2(y_BCT)), 0.4)
    expected = torch.relu(y_BCT + block.skip(x_BTF.transpose(1, 2)))
    torch.manual_seed(7)
    assert torch.equal(block(x_BTF.transpose(1, 2)), expected)


def test_without_dropout_train_mode_draws_no_numbers():
    model = TCN(FEATURES, C, 2).train()
    torch.manual_seed(7)
    model(input_BTF())
    after = torch.rand(1)
    torch.manual_seed(7)
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernel_size": 0}, "kernel_size = 0 is not allowed; use 1 or more"),
        ({"dropout": 1.0}, "dropout = 1 is not allowed; use 0 or more, and below 1"),
        ({"dropout": -0.1}, "dropout = -0.1 is not allowed"),
    ],
)
def test_options_that_are_not_allowed(options, words):
    with pytest.raises(ValueError, match=words):
        TCN(FEATURES, C, 2, **options)


@pytest.mark.parametrize("features", [FEATURES, C])
def test_parameters_as_documented(features):
    levels, k = 4, 6
    skip = 0 if features == C else features * C + C
    first = k * features * C + k * C * C + 2 * C + skip
    model = TCN(features, C, levels, kernel_size=k)
    assert parameters(model) == first + (levels - 1) * 2 * (k * C * C + C)


def tcn_adding(input_size, hidden_size):
    """The factory in docs/own-model.md, with dropout."""
    return TCN(input_size, hidden_size, levels=7, kernel_size=6, dropout=0.2, weight_norm=True)


def test_a_tcn_with_all_options_keeps_to_the_contract():
    found = {finding.check: finding for finding in check_model(f"{__name__}:tcn_adding")}
    assert {finding.status for finding in found.values()} == {"pass"}
    assert "another output than eval mode, as with dropout" in found["modes"].observed
    assert found["receptive_field"].observed == "1271 timesteps, by formula and as probed"
    assert "keeps the last inputs" in found["state"].observed


# ---------------------------------------------------------------- separable


def test_a_separable_convolution_is_the_equation():
    torch.manual_seed(0)
    conv = SeparableConv1d(FEATURES, C, 3, dilation=2)
    x_BCT = input_BTF().transpose(1, 2)
    taps_CK = conv.depthwise.weight[:, 0]
    expected = []
    for t in range(T):
        z_BC = torch.zeros(B, FEATURES)
        for k in range(3):
            if t - 2 * k >= 0:
                z_BC = z_BC + taps_CK[:, 2 - k] * x_BCT[..., t - 2 * k]
        expected.append(z_BC @ conv.pointwise.weight[..., 0].T + conv.pointwise.bias)
    torch.testing.assert_close(conv(x_BCT), torch.stack(expected, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("features", [FEATURES, C])
def test_parameters_of_the_separable_tcn_as_documented(features):
    model, k = tcn_separable(features, C, T), 3
    levels = len(model.blocks)
    assert levels == levels_to_cover(T, k)
    skip = 0 if features == C else features * C + C
    assert parameters(model) == (
        (2 * levels - 1) * (k * C + C * C + C) + k * features + features * C + C + skip
    )
