r"""Long convolutions: kernels as long as the sequence, made by a small network, applied by FFT.

In the spirit of CKConv (Romero et al. 2022, arXiv 2102.02611), whose kernels are a network of the
position, and of the filters of Hyena (Poli et al. 2023, arXiv 2302.10866, section 3.3), which are
that times a decaying window. With L taps, tap l at the position τ_l = l/L, and C channels, a layer
computes

    φ(τ)  = (τ, cos 2πτ, sin 2πτ, cos 4πτ, sin 4πτ, …, cos 2π·2^{J-1}τ, sin 2π·2^{J-1}τ)
    k(τ)  = W₃ sin(W₂ sin(W₁ φ(τ) + b₁) + b₂) ⊙ exp(-α τ)
    y_t   = Σ_{l<L} k(τ_l) ⊙ u_{t-l} + D ⊙ u_t
    u_t  ← u_t + P gelu(y_t) ⊙ σ(Q gelu(y_t))         (P and Q with biases)

for u_t = V x_t + b, and the output is u after the last layer. J = ⌊log₂ L⌋ (at least 1) octaves
reach half a period per tap, so that neighbouring taps can differ. The gated mixing of channels is
that of S4 (Gu, Goel & Ré 2022, arXiv 2111.00396, in the authors' code), and so is D.

Shape suffixes: B batch, T timesteps, F features, C channels, L taps, E features of a position, M
units of the kernel's network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchsuite.models.fftconv import causal_fft_convolution

LAYERS = 2
#: Units M of the kernel's network, as in Hyena's code by default.
UNITS = 16
#: Decays α of the window at the start: exp(-α τ) falls to 1 % at these parts of the kernel's length
#: in the slowest and the fastest channel (Hyena's code, ExponentialModulation).
SLOWEST, FASTEST = 1.5, 0.3


def receptive_field(taps: int, layers: int) -> int:
    """R = 1 + layers·(L-1) (Araujo, Norris & Sim 2019, equation 2)."""
    return 1 + layers * (taps - 1)


def position_features(taps: int) -> Tensor:
    """φ at every tap: (L, E) with E = 1 + 2·J."""
    position_L1 = torch.arange(taps, dtype=torch.float32)[:, None] / taps
    octaves = max(1, taps.bit_length() - 1)
    angle_LJ = 2 * math.pi * 2.0 ** torch.arange(octaves) * position_L1
    return torch.cat([position_L1, angle_LJ.cos(), angle_LJ.sin()], 1)


class ImplicitKernel(nn.Module):
    """k at the first taps: a network of the position times a decaying window; () → (C, L).

    (E + M + 2)·M + (M + 1)·C parameters, α among them as ln α. Initialisation: W₁ and W₂ from
    N(0, 2/inputs), b₁ and b₂ from U(±π), which gives every unit the variance ½; α rises evenly over
    the channels from ln 100/1.5 to ln 100/0.3; and W₃ is from N(0, 2/M), divided by the norm of
    each channel's window, so that the squares of a kernel's taps add up to one on average, whatever
    L and α are.

    Args:
        channels: C.
        taps: L.
        units: M.
    """

    features: Tensor

    def __init__(self, channels: int, taps: int, units: int = UNITS) -> None:
        super().__init__()
        features_LE = position_features(taps)
        self.register_buffer("features", features_LE, persistent=False)
        self.hidden1 = nn.Linear(features_LE.shape[1], units)
        self.hidden2 = nn.Linear(units, units)
        for layer in (self.hidden1, self.hidden2):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / layer.in_features))
            nn.init.uniform_(layer.bias, -math.pi, math.pi)
        decay_C = math.log(100) * torch.linspace(1 / SLOWEST, 1 / FASTEST, channels)
        window_CL = torch.exp(-decay_C[:, None] * features_LE[:, 0])
        scale_C1 = math.sqrt(2 / units) / window_CL.norm(dim=1, keepdim=True)
        self.weight = nn.Parameter(torch.randn(channels, units) * scale_C1)
        self.log_decay = nn.Parameter(decay_C.log())

    def forward(self, taps: int) -> Tensor:
        """The first `taps` of the kernel, all of them if there are fewer: (C, L)."""
        features_LE = self.features[:taps]
        hidden_LM = torch.sin(self.hidden2(torch.sin(self.hidden1(features_LE))))
        window_CL = torch.exp(-self.log_decay.exp()[:, None] * features_LE[:, 0])
        return (self.weight @ hidden_LM.t()) * window_CL


class LongConvLayer(nn.Module):
    """One long convolution and the mixing of channels after it.

    Beside the kernel's parameters there are 2·C² + 3·C: P and Q from U(±1/√C) as in
    `torch.nn.Linear`, and D from N(0, 1).

    Args:
        channels: C.
        taps: L.
    """

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.kernel = ImplicitKernel(channels, taps)
        self.direct = nn.Parameter(torch.randn(channels))
        self.mixing = nn.Linear(channels, 2 * channels)

    def forward(self, u_BTC: Tensor) -> Tensor:
        """(B, T, C) → (B, T, C)."""
        kernel_CL = self.kernel(u_BTC.shape[1])
        y_BCT = causal_fft_convolution(u_BTC.transpose(1, 2), kernel_CL)
        y_BTC = y_BCT.transpose(1, 2) + self.direct * u_BTC
        return u_BTC + F.glu(self.mixing(F.gelu(y_BTC)), -1)


class LongConv(nn.Module):
    """Layers of long convolutions.

    Kernels have L taps whatever the length T of a sequence: a shorter one uses the first T of them,
    in a longer one an output depends on the last `receptive_field(L, layers)` inputs. They are made
    again in every call. No state is returned, and a stream computes its whole past again.

    F·C + C + layers·(2·C² + (M + 4)·C + (E + M + 2)·M) parameters, with E and M as above. A forward
    pass with K = min(L, T) taps and transforms of N = `fftconv.fft_size(T + K - 1)` points takes

        2·B·T·F·C + layers·(2·K·M·(E + M + C) + 4·B·T·C² + (2·B + 1)·C·⌊5/2·N·log₂N⌋) FLOPs

    (`runtime.flop_rules` has the convention for transforms).

    Args:
        input_size, hidden_size: F and C.
        taps: L, usually the length of the sequences it is trained on.
        layers: Number of layers.
    """

    def __init__(self, input_size: int, hidden_size: int, taps: int, layers: int = LAYERS) -> None:
        super().__init__()
        self.entry = nn.Linear(input_size, hidden_size)
        self.layers = nn.Sequential(*(LongConvLayer(hidden_size, taps) for _ in range(layers)))

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, C)."""
        y_BTC: Tensor = self.layers(self.entry(x_BTF))
        return y_BTC


def longconv(input_size: int, hidden_size: int, seq_len: int) -> LongConv:
    """Two layers with kernels of `seq_len` taps: receptive field 2·seq_len - 1."""
    return LongConv(input_size, hidden_size, seq_len)
