"""Causal convolutional networks over time: the dilated residual TCN, and a plain one.

The TCN is that of Bai, Kolter & Koltun 2018 (arXiv 1803.01271, section 3; their code is
locuslab/TCN): block l has two causal convolutions of dilation 2^l, each followed by a ReLU and
dropout, and a residual connection, a 1×1 convolution where the width changes. Their weight
normalisation and dropout are options of `TCN` that the models of the catalog leave off. Their code
draws weights from N(0, 0.01²), which its weight normalisation then overwrites; here they start as
in `torch.nn.Conv1d`, U(±1/√(k·inputs)), biases included.

Shape suffixes: B batch, T timesteps, F features, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

KERNEL_SIZE = 3
FIXED_LEVELS = 4
CONVS_PER_BLOCK = 2


def receptive_field(kernel_size: int, levels: int) -> int:
    """R = 1 + 2 (k-1) Σ 2^l of a TCN with `levels` blocks (Araujo, Norris & Sim 2019, eq. 2)."""
    return 1 + CONVS_PER_BLOCK * (kernel_size - 1) * ((1 << levels) - 1)


def levels_to_cover(seq_len: int, kernel_size: int) -> int:
    """The smallest number of blocks whose receptive field is at least `seq_len`."""
    steps = math.ceil((seq_len - 1) / (CONVS_PER_BLOCK * (kernel_size - 1)))
    return max(1, steps.bit_length())


class CausalConv1d(nn.Conv1d):
    """A convolution without future inputs: padded on the left only; (B, C, T) → (B, C', T)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, dilation=dilation, groups=groups, bias=bias
        )
        self.left = dilation * (kernel_size - 1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T)."""
        return self.convolve(F.pad(x_BCT, (self.left, 0)))

    def convolve(self, x_BCT: Tensor) -> Tensor:
        """Convolve without padding: (B, C, left + T) → (B, C', T)."""
        return super().forward(x_BCT)


#: `convolution(in_channels, out_channels, kernel_size, dilation)` → (B, C, T) → (B, C', T), causal.
Convolution = Callable[[int, int, int, int], nn.Module]


class ResidualBlock(nn.Module):
    """relu(x + conv-relu-conv-relu(x)), both convolutions of the same dilation.

    Args:
        in_channels, channels: C and C'.
        kernel_size, dilation: Of both convolutions.
        dropout: Probability with which an element is dropped after each of the inner ReLUs.
        convolution: Makes both.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_size: int,
        dilation: int,
        dropout: float = 0.0,
        convolution: Convolution = CausalConv1d,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, channels, kernel_size, dilation)
        self.conv2 = convolution(channels, channels, kernel_size, dilation)
        self.skip = nn.Conv1d(in_channels, channels, 1) if in_channels != channels else None
        self.dropout = dropout

    def forward(self, x_BCT: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T)."""
        y_BCT = self._dropped(torch.relu(self.conv1(x_BCT)))
        y_BCT = self._dropped(torch.relu(self.conv2(y_BCT)))
        return torch.relu(y_BCT + (x_BCT if self.skip is None else self.skip(x_BCT)))

    def _dropped(self, y_BCT: Tensor) -> Tensor:
        return F.dropout(y_BCT, self.dropout, self.training) if self.dropout else y_BCT


class TCN(nn.Module):
    """Dilated causal residual network.

    From C to C channels a block has 2·(k·C² + C) parameters and needs 2·k·C² multiplications a
    timestep; the first one, from F, has (k·F + k·C + F)·C + 3·C unless F = C.

    Args:
        input_size, hidden_size: F and C.
        levels: Number of blocks; dilation doubles with each.
        kernel_size: Taps k of every convolution, at least 1.
        dropout: Probability of dropping an element after each convolution's ReLU in train mode,
            from 0 to below 1; Bai et al. use 0 to 0.5.
        weight_norm: Normalise the weights of the convolutions (not of the 1×1 ones) as w = g·v/‖v‖
            for each output channel (Salimans & Kingma 2016, arXiv 1602.07868), as Bai et al. do: C
            parameters more in each. The weights start as without.
        convolution: Makes the convolutions; a causal `Conv1d` if left out.

    Raises:
        ValueError: for a number of taps or a dropout that is not allowed.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        levels: int,
        kernel_size: int = KERNEL_SIZE,
        dropout: float = 0.0,
        weight_norm: bool = False,
        convolution: Convolution = CausalConv1d,
    ) -> None:
        super().__init__()
        if kernel_size < 1:
            raise ValueError(f"kernel_size = {kernel_size} is not allowed; use 1 or more")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout = {dropout:g} is not allowed; use 0 or more, and below 1")
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(
                    hidden_size if level else input_size,
                    hidden_size,
                    kernel_size,
                    2**level,
                    dropout,
                    convolution,
                )
                for level in range(levels)
            )
        )
        if weight_norm:
            for part in list(self.modules()):
                if isinstance(part, CausalConv1d):
                    parametrizations.weight_norm(part)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, C)."""
        y_BCT: Tensor = self.blocks(x_BTF.transpose(1, 2))
        return y_BCT.transpose(1, 2)


class CausalCNN(nn.Module):
    """Causal convolutions of dilation 1, each followed by a ReLU; arguments as in `TCN`."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        levels: int = FIXED_LEVELS,
        kernel_size: int = KERNEL_SIZE,
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            CausalConv1d(hidden_size if level else input_size, hidden_size, kernel_size)
            for level in range(levels)
        )

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, C)."""
        y_BCT = x_BTF.transpose(1, 2)
        for conv in self.convs:
            y_BCT = torch.relu(conv(y_BCT))
        return y_BCT.transpose(1, 2)


def tcn(input_size: int, hidden_size: int, seq_len: int) -> TCN:
    """A TCN with as few blocks as its receptive field needs to cover `seq_len`."""
    return TCN(input_size, hidden_size, levels_to_cover(seq_len, KERNEL_SIZE))


def tcn_fixed(input_size: int, hidden_size: int) -> TCN:
    """A TCN of four blocks: receptive field 61 at any sequence length."""
    return TCN(input_size, hidden_size, FIXED_LEVELS)


def conv(input_size: int, hidden_size: int) -> CausalCNN:
    """Four undilated layers: receptive field 9."""
    return CausalCNN(input_size, hidden_size)
