"""WaveNet against its equations, written out timestep by timestep."""

from __future__ import annotations

import pytest
import torch

from benchsuite.models.wavenet import (
    KERNEL_SIZE,
    WaveNet,
    levels_to_cover,
    receptive_field,
    wavenet,
)

T, B, F, C = 12, 2, 5, 8


def written_out(model, x_BTF):
    """The equations of the module's docstring, at one timestep after another."""
    h = [x_BC @ model.entry.weight[..., 0].T + model.entry.bias for x_BC in x_BTF.unbind(1)]
    skips = [torch.zeros(len(x_BTF), C)] * len(h)
    for level, layer in enumerate(model.layers):
        weight, bias = layer.gated.weight, layer.gated.bias
        taps, d = weight.shape[-1], 2**level
        z = []
        for t in range(len(h)):
            total = bias.expand(len(x_BTF), -1)
            for k in range(taps):
                if t - d * k >= 0:
                    total = total + h[t - d * k] @ weight[..., taps - 1 - k].T
            z.append(torch.tanh(total[:, :C]) * torch.sigmoid(total[:, C:]))
        mixed = [z_BC @ layer.mixed.weight[..., 0].T + layer.mixed.bias for z_BC in z]
        if level < len(model.layers) - 1:
            h = [h_t + m[:, :C] for h_t, m in zip(h, mixed, strict=True)]
        skips = [s + m[:, -C:] for s, m in zip(skips, mixed, strict=True)]
    output = model.output
    return torch.stack(
        [torch.relu(torch.relu(s) @ output.weight[..., 0].T + output.bias) for s in skips], 1
    )


@pytest.mark.parametrize(("levels", "kernel"), [(1, 2), (4, 2), (2, 3)])
def test_it_is_the_equation(levels, kernel):
    torch.manual_seed(0)
    model = WaveNet(F, C, levels, kernel)
    x_BTF = torch.randn(B, T, F)
    torch.testing.assert_close(model(x_BTF), written_out(model, x_BTF), rtol=0, atol=1e-6)


@pytest.mark.parametrize("levels", [1, 4])
def test_parameters_as_documented(levels):
    model = WaveNet(F, C, levels, kernel_size=3)
    weights = F * C + 2 * levels * (3 + 1) * C * C
    assert sum(p.numel() for p in model.parameters()) == weights + (4 * levels + 1) * C


@pytest.mark.parametrize("seq_len", [1, 2, 3, 4, 5, 64, 65, 1000, 4096])
def test_it_is_just_deep_enough(seq_len):
    levels = levels_to_cover(seq_len)
    assert len(wavenet(1, 1, seq_len).layers) == levels
    assert receptive_field(KERNEL_SIZE, levels) == 2**levels >= seq_len
    assert levels == 1 or receptive_field(KERNEL_SIZE, levels - 1) < seq_len
