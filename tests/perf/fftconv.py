"""Depthwise causal convolution by FFT and directly, over the number of taps; where they cross.

    python tests/perf/fftconv.py [--seconds 0.2] [--backward] [--batch 1] [--allocator held]

Prints, for a few numbers of channels C and timesteps T, the median time of `causal_fft_convolution`
and of torch's depthwise `conv1d` on an input padded on the left, of equal kernels, with half the
interquartile range over the median; the median of their ratios; and the number of taps at which
that passes one, interpolated in logarithms. The two are called in turn, so that another program
slows both, and compared with each other before. One thread, float32; with --backward forward and
backward. Taps beyond T and direct convolutions expected to take longer than five seconds a call are
left out. With the allocator `default`, freed memory goes back to the system and large transforms
spend much of their time on page faults.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from benchsuite import allocator
from benchsuite.models.fftconv import causal_fft_convolution, fft_size

SHAPES = ((16, 1024), (64, 1024), (64, 4096), (256, 1024))
TAPS = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
LONGEST = 5.0


def direct(u_BCT: Tensor, k_CL: Tensor) -> Tensor:
    padded = F.pad(u_BCT, (k_CL.shape[-1] - 1, 0))
    return F.conv1d(padded, k_CL.flip(-1)[:, None], groups=len(k_CL))


def sampled(u: Tensor, k: Tensor, seconds: float, backward: bool) -> list[tuple[float, float]]:
    """Times of both in turn, at least five pairs, for so many seconds; the first do not count."""
    u, k = (t.clone().requires_grad_(backward) for t in (u, k))

    def timed(function) -> float:
        start = time.perf_counter()
        with torch.set_grad_enabled(backward):
            y = function(u, k)
            if backward:
                torch.autograd.grad(y.sum(), (u, k))
        return time.perf_counter() - start

    pairs: list[tuple[float, float]] = []
    end = math.inf
    while len(pairs) < 6 or time.perf_counter() < end:
        pairs.append((timed(causal_fft_convolution), timed(direct)))
        end = min(end, time.perf_counter() + seconds)
    return pairs[1:]


def cell(samples: Sequence[float]) -> str:
    """Median and spread."""
    low, middle, high = statistics.quantiles(samples, n=4)
    return f"{middle * 1e6:,.0f} µs ±{(high - low) / middle / 2:.0%}"


def crossover(points: list[tuple[int, float]]) -> str:
    """Where the ratio of direct to FFT passes one for the last time."""
    text = "none: direct is faster throughout" if points[-1][1] < 1 else "none: FFT is faster"
    for (taps, ratio), (more, higher) in itertools.pairwise(points):
        if ratio < 1 <= higher:
            part = -math.log(ratio) / math.log(higher / ratio)
            text = f"{taps * (more / taps) ** part:.0f} taps"
    return text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("--allocator", choices=("default", "held"), default="held")
    given = parser.parse_args()
    allocator.use(given.allocator)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    step = "forward and backward" if given.backward else "forward"
    print(
        f"B={given.batch}, one thread, float32, {step}, torch {torch.__version__},"
        f" allocator={given.allocator}"
    )
    for channels, steps in SHAPES:
        print(f"\nC={channels} T={steps}: {'taps':>5}{'FFT':>20}{'direct':>20}{'direct/FFT':>12}")
        points: list[tuple[int, float]] = []
        pace = 0.0  # seconds per tap of the last direct convolution
        for taps in TAPS:
            if taps > steps:
                break
            if pace * taps > LONGEST:
                print(f"{taps:>20}  left out: a direct one takes about {pace * taps:.0f} s")
                break
            u, k = torch.randn(given.batch, channels, steps), torch.randn(channels, taps)
            torch.testing.assert_close(
                causal_fft_convolution(u, k), direct(u, k), rtol=1e-3, atol=1e-3
            )
            fast, slow = zip(*sampled(u, k, given.seconds, given.backward), strict=True)
            ratio = statistics.median(b / a for a, b in zip(fast, slow, strict=True))
            pace = statistics.median(slow) / taps
            points.append((taps, ratio))
            print(f"{taps:>20}{cell(fast):>20}{cell(slow):>20}{ratio:>12.2f}")
        print(f"crossover: {crossover(points)} (transforms of {fft_size(2 * steps - 1)} at most)")


if __name__ == "__main__":
    main()
