"""Engines: what runs a module that is already built.

An engine is a class with the two methods of `Engine` in a separate module, and a line in
`catalog.engines`. Such modules import torch, or what they wrap, only inside `prepare`, so that
engines can be listed without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
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

        An engine that compiles or exports does it here, and returns a `Prepared`. Its threads are
        those that torch has at the moment of the call.

        Args:
            module: The module on its device, in its dtype and mode.
            x_BTF: An example input, (batch, time, features).
            train: Whether outputs have to carry gradients. Without it the function is called in
                inference mode.

        Raises:
            Unsupported: if the engine cannot run this module, or cannot train.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A function that runs a module, and how it was prepared.

    Attributes:
        run: The function.
        kernel: The library that runs the module.
        version: What else the numbers depend on, such as "onnxruntime 1.32.0".
        threads: Threads that the engine reports.
        compile_time: Seconds to compile the module, or to export it.
        load_time: Seconds to load what was exported; None for an engine that exports nothing.
        artifact_size: Bytes of what was exported; None for an engine that exports nothing.
    """

    run: Run
    kernel: str
    version: str
    threads: int
    compile_time: float
    load_time: float | None = None
    artifact_size: int | None = None

    def __call__(self, x_BTF: Tensor) -> Tensor:
        """Run the module."""
        return self.run(x_BTF)

    @property
    def preparation(self) -> float:
        """Seconds before the first step: compiling or exporting, and loading."""
        return self.compile_time + (self.load_time or 0.0)


#: The command that installs what the engines need.
INSTALL = "pip install 'benchsuite[engines]'"


def missing(**least: str) -> str:
    """Why packages cannot be used: one is not installed, or too old; empty if all can.

    Args:
        least: Distribution → its least version, such as `onnxruntime="1.20"`.
    """
    for name, wanted in least.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            return f"{name} is not installed; {INSTALL} installs it"
        if _numbers(found) < _numbers(wanted):
            return f"{name} {found} is too old, {wanted} or later is needed; {INSTALL} updates it"
    return ""


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, which are compared: "1.20.0rc1" is (1, 20, 0)."""
    return tuple(map(int, re.findall(r"\d+", re.match(r"[\d.]*", text)[0])))  # type: ignore[index]
