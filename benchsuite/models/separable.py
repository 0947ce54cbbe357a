"""The TCN with depthwise-separable convolutions.

A convolution from C to C' channels mixes timesteps and channels at once, with k·C·C' weights. The
separable one does so in turn, z_t = Σ_k w_k ⊙ x_{t-d·k} for each channel alone (depthwise), then
y_t = W z_t + b (pointwise), with k·C + C·C' (Sifre 2014; Chollet 2017, arXiv 1610.02357; Kaiser,
Gomez & Chollet 2018, arXiv 1706.03059, over time).

Shape suffixes: B batch, T timesteps, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from benchsuite.models.conv import KERNEL_SIZE, TCN, CausalConv1d, levels_to_cover


class SeparableConv1d(nn.Module):
    """A depthwise causal convolution and a pointwise one; (B, C, T) → (B, C', T).

    k·C + C·C' weights, as many multiplications a timestep, and C' biases: one of the depthwise part
    would only add to those. Initialisation as in `torch.nn.Conv1d`: the depthwise part from
    U(±1/√k), the pointwise one and the biases from U(±1/√C).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1
    ) -> None:
        super().__init__()
        self.depthwise = CausalConv1d(
            in_channels, in_channels, kernel_size, dilation, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv1d(in_channels, out_channels, 1)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T)."""
        y_BCT: Tensor = self.pointwise(self.depthwise(x_BCT))
        return y_BCT


def tcn_separable(input_size: int, hidden_size: int, seq_len: int) -> TCN:
    """The blocks and the depth of `conv.tcn`, hence its receptive field, of separable convolutions.

    With F inputs, C channels, L blocks and k = 3 there are (2·L - 1)·(k·C + C² + C) + k·F + F·C + C
    parameters, and F·C + C more for the first block's 1×1 skip unless F = C. A forward pass takes
    2·B·T FLOPs for each of them that is not a bias.
    """
    levels = levels_to_cover(seq_len, KERNEL_SIZE)
    return TCN(input_size, hidden_size, levels, convolution=SeparableConv1d)
