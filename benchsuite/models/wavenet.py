"""WaveNet: gated causal convolutions with residual and skip connections.

Van den Oord et al. 2016 (arXiv 1609.03499), sections 2.3 and 2.4, for input vectors instead of
quantised samples. With x⁰ = V x + b, layer l of dilation d = 2^l computes

    z_t = tanh(b_f + Σ_k F_k x_{t-d·k}) ⊙ σ(b_g + Σ_k G_k x_{t-d·k})
    x^{l+1} = x^l + R z + b_r          s^l = S z + b_s

and the output is relu(O relu(Σ_l s^l) + b_o). The paper's last 1×1 convolution and its softmax
belong to the task, as the linear head of every model does.

Shape suffixes: B batch, T timesteps, F features, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchsuite.models.conv import CausalConv1d

#: Taps of every convolution, as published.
KERNEL_SIZE = 2


def receptive_field(kernel_size: int, levels: int) -> int:
    """R = 1 + (k-1) Σ 2^l (Araujo, Norris & Sim 2019, equation 2): 2^levels for two taps."""
    return 1 + (kernel_size - 1) * ((1 << levels) - 1)


def levels_to_cover(seq_len: int) -> int:
    """The smallest number of layers of two taps whose receptive field is at least `seq_len`."""
    return max(1, (seq_len - 1).bit_length())


class GatedLayer(nn.Module):
    """One gated convolution, and the 1×1 convolutions to the residual and the skip connection.

    Filter and gate are the halves of one convolution to 2·C channels, residual and skip those of
    one 1×1 convolution.

    Args:
        channels: C.
        kernel_size, dilation: Of the gated convolution.
        last: Without the residual connection: no layer follows to read it.
    """

    def __init__(self, channels: int, kernel_size: int, dilation: int, last: bool) -> None:
        super().__init__()
        self.gated = CausalConv1d(channels, 2 * channels, kernel_size, dilation)
        self.mixed = nn.Conv1d(channels, channels if last else 2 * channels, 1)
        self.last = last

    def forward(self, x_BCT: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T) → the input of the next layer and the skip connection, both (B, C, T)."""
        filter_BCT, gate_BCT = self.gated(x_BCT).chunk(2, dim=1)
        mixed_BCT = self.mixed(torch.tanh(filter_BCT) * torch.sigmoid(gate_BCT))
        if self.last:
            return x_BCT, mixed_BCT
        residual_BCT, skip_BCT = mixed_BCT.chunk(2, dim=1)
        return x_BCT + residual_BCT, skip_BCT


class WaveNet(nn.Module):
    """Gated layers whose dilation doubles; the output is made of all their skip connections.

    With L layers there are F·C + 2·L·(k+1)·C² weights, as many multiplications a timestep, and
    (4·L + 1)·C biases. Initialisation as in `torch.nn.Conv1d`, U(±1/√(k·inputs)).

    Args:
        input_size, hidden_size: F and C.
        levels: Number of layers L.
        kernel_size: Taps k of the gated convolutions.
    """

    def __init__(
        self, input_size: int, hidden_size: int, levels: int, kernel_size: int = KERNEL_SIZE
    ) -> None:
        super().__init__()
        self.entry = nn.Conv1d(input_size, hidden_size, 1)
        self.layers = nn.ModuleList(
            GatedLayer(hidden_size, kernel_size, 2**level, last=level == levels - 1)
            for level in range(levels)
        )
        self.output = nn.Conv1d(hidden_size, hidden_size, 1)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, C)."""
        x_BCT = self.entry(x_BTF.transpose(1, 2))
        total_BCT: Tensor | None = None
        for layer in self.layers:
            x_BCT, skip_BCT = layer(x_BCT)
            total_BCT = skip_BCT if total_BCT is None else total_BCT + skip_BCT
        assert total_BCT is not None
        y_BCT: Tensor = torch.relu(self.output(torch.relu(total_BCT)))
        return y_BCT.transpose(1, 2)


def wavenet(input_size: int, hidden_size: int, seq_len: int) -> WaveNet:
    """A WaveNet with as few layers as its receptive field needs to cover `seq_len`."""
    return WaveNet(input_size, hidden_size, levels_to_cover(seq_len))
