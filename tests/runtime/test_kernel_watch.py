"""The libraries that a forward pass is found to call."""

from __future__ import annotations

import pytest
import torch

from benchsuite.models.fftconv import causal_fft_convolution
from benchsuite.runtime.kernels import KernelWatch


@pytest.mark.parametrize(("mkl", "library"), [(True, "MKL"), (False, "PocketFFT")])
def test_transforms_run_in_the_library_that_torch_was_built_with(monkeypatch, mkl, library):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    with KernelWatch() as watch:
        causal_fft_convolution(torch.zeros(1, 2, 8), torch.zeros(2, 8))
    assert watch.kernel == library
