"""Engines: what runs a module that is already built.

An engine is a class with the two methods of `Engine` in a separate module, and a line in
`catalog.engines`. Such modules import torch, or what they wrap, only inside `prepare`, so that
engines can be listed without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

#: What runs a module: (batch, time, features) → (batch, time, features of the output).
Run: TypeAlias = "Callable[[Tensor], Tensor]"


class Engine(Protocol):
    """Runs modules over (batch, time, features)."""

    def unavailable(self) -> str:
        """Why this machine cannot use the engine; empty if it can."""
        ...

    def prepare(self, module: nn.Module, x_BTF: Tensor, *, train: bool) -> Run:
        """Return a function that runs the module on inputs like `x_BTF`; called once, untimed.

        Args:
            module: The module on its device, in its dtype and mode.
            x_BTF: An example input, (batch, time, features).
            train: Whether outputs have to carry gradients.

        Raises:
            Unsupported: if the engine cannot run this module, or cannot train.
        """
        ...
