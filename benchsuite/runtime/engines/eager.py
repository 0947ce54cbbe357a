"""Plain PyTorch: operators called one by one from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from benchsuite.runtime.engines import Run


class Eager:
    """Calls the module itself."""

    def unavailable(self) -> str:
        """Always available."""
        return ""

    def prepare(self, module: nn.Module, x_BTF: Tensor, *, train: bool) -> Run:  # noqa: ARG002
        """Return the module itself."""
        return module
