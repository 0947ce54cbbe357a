"""The FFT convolution against the direct one."""

from __future__ import annotations

import bisect

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchsuite.models.fftconv import causal_fft_convolution, fft_size


def direct(u_BCT: Tensor, k_CL: Tensor) -> Tensor:
    padded = F.pad(u_BCT, (k_CL.shape[-1] - 1, 0))
    return F.conv1d(padded, k_CL.flip(-1)[:, None], groups=len(k_CL))


def drawn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_a_size_is_the_least_even_product_of_twos_threes_and_fives() -> None:
    smooth = sorted(2 * 2**a * 3**b * 5**c for a in range(12) for b in range(8) for c in range(6))
    for least in range(1, 2500):
        assert fft_size(least) == smooth[bisect.bisect_left(smooth, least)]


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("taps", [1, 3, 64, 130])
def test_it_is_the_direct_convolution(steps: int, taps: int) -> None:
    u, k = drawn(2, 3, steps), drawn(3, taps, seed=1)
    torch.testing.assert_close(causal_fft_convolution(u, k), direct(u, k), rtol=0, atol=1e-12)


def test_float32_differs_by_rounding_relative_to_the_whole_row() -> None:
    u, k = drawn(2, 3, 500), drawn(3, 500, seed=1)
    error = causal_fft_convolution(u.float(), k.float()) - direct(u, k)
    assert error.abs().max() < 5e-7 * (u.norm(dim=-1).max() * k.norm(dim=-1).max())


def test_gradients() -> None:
    u, k = drawn(2, 3, 6).requires_grad_(), drawn(3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(causal_fft_convolution, (u, k))


def test_complex_values() -> None:
    u = torch.complex(drawn(2, 3, 20), drawn(2, 3, 20, seed=1))
    k = torch.complex(drawn(3, 20, seed=2), drawn(3, 20, seed=3))
    expected = torch.complex(
        direct(u.real, k.real) - direct(u.imag, k.imag),
        direct(u.real, k.imag) + direct(u.imag, k.real),
    )
    torch.testing.assert_close(causal_fft_convolution(u, k), expected)
    expected = torch.complex(direct(u.real, k.real), direct(u.real, k.imag))
    torch.testing.assert_close(causal_fft_convolution(u.real, k), expected)


def test_it_runs_without_values() -> None:
    u, k = drawn(2, 3, 9).to("meta"), drawn(3, 9).to("meta")
    assert causal_fft_convolution(u, k).shape == u.shape


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    u, k = drawn(2, 3, 50).to(dtype), drawn(3, 50, seed=1).to(dtype)
    y = causal_fft_convolution(u, k)
    assert y.dtype == dtype
    assert torch.equal(y, causal_fft_convolution(u.float(), k.float()).to(dtype))


def test_autocast_changes_nothing() -> None:
    u, k = drawn(1, 2, 9), drawn(2, 9, seed=1)
    for dtype in (torch.float64, torch.float32):
        given = u.to(dtype), k.to(dtype)
        expected = causal_fft_convolution(*given)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(causal_fft_convolution(*given), expected)


@pytest.mark.parametrize(
    ("u", "k", "words"),
    [
        ((3, 5), (3, 5), r"\(3, 5\) and \(3, 5\)"),
        ((1, 3, 5), (2, 5), r"\(1, 3, 5\) and \(2, 5\)"),
        ((1, 3, 0), (3, 5), "0 timesteps and 5 taps"),
        ((1, 3, 5), (3, 0), "5 timesteps and 0 taps"),
    ],
)
def test_what_does_not_fit(u: tuple[int, ...], k: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        causal_fft_convolution(drawn(*u), drawn(*k))
