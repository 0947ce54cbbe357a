"""The precision that an engine computes in, as its outputs show it.

Shape suffixes: B batch, T timesteps, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchsuite.errors import Unsupported

#: An engine may round differently from PyTorch: its error may be this many times as large.
_SLACK = 16.0
#: Relative error from which an output is another one, and not a rounded one.
_WRONG = 0.2
#: The word for an error larger than float32's.
LESS = "less than float32"


def precision_found(
    module: nn.Module, run: Callable[[Tensor], Tensor], x_BTF: Tensor
) -> dict[str, Any]:
    """Compare an engine's output with those of the module itself, in its dtype and in float64.

    Args:
        module: The module, which is not changed.
        run: The engine's function.
        x_BTF: Another input than the engine's example, such as its negative: what the engine has
            fixed while it followed the example, such as the way through a branch that depends on
            data, shows itself.

    Returns:
        `engine_error`, the greatest difference from float64 relative to the greatest output, and
        `engine_precision`: the module's dtype if that is at most 16 times the error of PyTorch's
        own operators, else "float32" or "less than float32". Nothing, if the module gives different
        outputs for equal inputs, as with dropout, or float64 gives none.

    Raises:
        Unsupported: if the outputs are others.
    """
    given = run(x_BTF).detach().to(torch.float64, copy=True)
    with torch.no_grad():
        plain = copy.deepcopy(module)(x_BTF).double()
        if module.training and not torch.equal(plain, copy.deepcopy(module)(x_BTF).double()):
            return {}
        try:
            exact = copy.deepcopy(module).double()(x_BTF.double())
        except (RuntimeError, TypeError):  # a module whose own code fixes its dtype
            exact = plain
    scale = float(exact.abs().max())
    if not 0 < scale < float("inf"):
        return {}
    error = float((given - exact).abs().max()) / scale
    own = max(float((plain - exact).abs().max()) / scale, torch.finfo(x_BTF.dtype).eps)
    if not error <= max(_WRONG, _SLACK * own):
        raise Unsupported(
            f"its output for another input than the example is wrong by {error:.1g} of the"
            " greatest: if its Python branches on data, write the branch with torch.where; else use"
            " another engine"
        )
    if error <= _SLACK * own:
        precision = str(x_BTF.dtype).removeprefix("torch.")
    else:
        growth = own / torch.finfo(x_BTF.dtype).eps
        small = error <= _SLACK * growth * torch.finfo(torch.float32).eps
        precision = "float32" if small else LESS
    return {"engine_error": error, "engine_precision": precision}
