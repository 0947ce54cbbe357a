r"""Causal depthwise convolution by FFT, for kernels as long as the sequence.

The convolution theorem turns y_t = Σ_l k_l u_{t-l} into a product of spectra. A product of spectra
of size N is a *circular* convolution: outputs beyond the end are added at the start, so that the
future reaches the past. Padding both with zeros to N ≥ T + L - 1 keeps them apart (Oppenheim &
Schafer, Discrete-Time Signal Processing, 3rd ed. 2010, section 8.7; Press et al., Numerical
Recipes, 3rd ed. 2007, section 13.1).

Shape suffixes: B batch, C channels, T timesteps, L taps, S points of a spectrum.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Transforms of other dtypes do not exist on CPU (or, half on CUDA, only for powers of two).
_DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def fft_size(least: int) -> int:
    """The smallest even 2^a·3^b·5^c that is at least `least`, a size with a fast transform.

    At most 12 % above `least` from 128 on, where the next power of two may be almost twice it.
    """
    best = 2
    while best < least:
        best *= 2
    five = 1
    while 2 * five < best:
        three = five
        while 2 * three < best:
            size = 2 * three
            while size < least:
                size *= 2
            best = min(best, size)
            three *= 3
        five *= 5
    return best


def causal_fft_convolution(u_BCT: Tensor, k_CL: Tensor) -> Tensor:
    """Each channel with its own kernel, causally: y[b,c,t] = Σ_{l<L} k[c,l] u[b,c,t-l].

    Inputs before the first count as zero. With N = `fft_size(T + min(L, T) - 1)`, the cost is 2·B·C
    + C real transforms of N points and B·C·N/2 complex products: O(B·C·N log N) whatever L, where a
    direct convolution needs B·C·T·L multiplications. Complex inputs take full transforms, twice as
    expensive. Autograd differentiates through `torch.fft`; the spectra are saved for it.

    The rounding error of an output is relative to the greatest values of its whole row, not to its
    own: about eps·log₂N·‖k‖·‖u‖. A large late input thus changes early outputs by rounding noise.

    bfloat16 and float16 are computed in float32, and the result is rounded to the dtype of `u_BCT`:
    torch has no such transforms on CPU. float32 and float64 are computed as they are, whatever
    autocast is set to.

    Args:
        u_BCT: The input (B, C, T), real or complex.
        k_CL: The kernels (C, L), tap l for the input l steps ago; taps beyond T are not used.

    Returns:
        (B, C, T), complex if either argument is, otherwise of the dtype of `u_BCT`.

    Raises:
        ValueError: if the dimensions or channels do not fit, or there is no timestep or no tap.
    """
    if u_BCT.dim() != 3 or k_CL.dim() != 2 or u_BCT.shape[1] != k_CL.shape[0]:
        raise ValueError(
            "an input (batch, channels, time) and kernels (channels, taps) are needed, not"
            f" {tuple(u_BCT.shape)} and {tuple(k_CL.shape)}"
        )
    steps = u_BCT.shape[-1]
    if not steps or not k_CL.shape[-1]:
        raise ValueError(
            f"{steps} timesteps and {k_CL.shape[-1]} taps: at least one of each is needed"
        )
    k_CL = k_CL[:, :steps]
    size = fft_size(steps + k_CL.shape[-1] - 1)
    dtype = torch.promote_types(u_BCT.dtype, k_CL.dtype)
    dtype = dtype if dtype in _DTYPES else torch.float32
    u, k = u_BCT.to(dtype), k_CL.to(dtype)
    y_BCS: Tensor
    if dtype.is_complex:
        y_BCS = torch.fft.ifft(torch.fft.fft(u, size) * torch.fft.fft(k, size))
        return y_BCS[..., :steps]
    y_BCS = torch.fft.irfft(torch.fft.rfft(u, size) * torch.fft.rfft(k, size), size)
    return y_BCS[..., :steps].to(u_BCT.dtype)
