"""FLOP formulas that torch's counter lacks, or has wrong.

- **Fourier transforms**, which it does not know: 5·N·log₂N for a complex transform of N points,
  half of it where one side is real. That is the count of the radix-2 algorithm of Cooley & Tukey
  (1965) and the convention of benchFFT (Frigo & Johnson, www.fftw.org/speed/method.html); fast
  implementations need somewhat fewer. The count of each transform is rounded down.
- **The backward pass of a grouped convolution**, whose gradient of the weights it takes for that of
  an ungrouped one, so that a depthwise convolution of C channels is counted C times too high: each
  of the two gradients takes as many multiplications as the forward pass.

The keys and functions are those of `FlopCounterMode(custom_mapping=…)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Shape = Sequence[int]


def transform_flops(points: int) -> float:
    """5·N·log₂N, of one complex transform."""
    return 5 * points * math.log2(points)


def _complex(x: Shape, dim: Shape, *_: Any, **__: Any) -> int:
    return _transforms(x, dim, 1.0)


def _from_real(x: Shape, dim: Shape, *_: Any, **__: Any) -> int:
    return _transforms(x, dim, 0.5)


def _to_real(_x: Shape, dim: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return _transforms(out_shape, dim, 0.5)


def _transforms(shape: Shape, dim: Shape, part: float) -> int:
    """All transforms over the dimensions `dim` of a shape that has all N points."""
    points = math.prod(shape[d] for d in dim)
    return math.prod(shape) // points * math.floor(part * transform_flops(points))


def _convolution_backward(
    gradient: Shape,
    x: Shape,
    weight: Shape,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_: Any,
) -> int:
    places = math.prod((x if transposed else gradient)[2:])
    return sum(output_mask[:2]) * 2 * gradient[0] * places * math.prod(weight)


_ATEN = torch.ops.aten
RULES: Mapping[Any, Callable[..., int]] = {
    _ATEN._fft_c2c: _complex,
    _ATEN._fft_r2c: _from_real,
    _ATEN._fft_c2r: _to_real,
    _ATEN.convolution_backward: _convolution_backward,
}
