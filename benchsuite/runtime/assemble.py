"""Build the module of a case; every module of a case is built here."""

from __future__ import annotations

import torch

from benchsuite.grid.case import Case
from benchsuite.runtime.build import SequenceModel, Sizes, build
from benchsuite.runtime.kernels import require_kernels
from benchsuite.runtime.match import matched


def assemble(case: Case, sizes: Sizes | None = None) -> SequenceModel:
    """Build a case's model with the case's threads, seed and matched width.

    Parameters are drawn on the CPU in float32 right after `torch.manual_seed(case.seed)`, so that
    every device and dtype starts from the same numbers; the caller converts them.

    Args:
        case: Model, sizes, match, threads and seed.
        sizes: The case's matched sizes, if they are known already.

    Returns:
        The model in training mode, on the CPU, in float32.

    Raises:
        Unsupported: if the model does not have a size, no width comes near the match, or its
            kernels cannot be compiled here or do not run on the case's device.
        UsageError: if the model is unknown or its factory does not return a module.
        BenchsuiteError: if the factory fails.
    """
    torch.set_num_threads(case.num_threads)
    return seeded(case.model, sizes or matched(case)[0], case.seed, case.device)


def seeded(model: str, sizes: Sizes, seed: int, device: str = "cpu") -> SequenceModel:
    """Build a model of given sizes right after `torch.manual_seed(seed)`; raises as `assemble`."""
    torch.manual_seed(seed)
    module = build(model, sizes)
    require_kernels(model, module, device)
    return module
