"""One step with its parts labelled: forward, backward, optimiser, and each timestep of a loop.

Models contain no labels: while a block is traced, the method that a model calls once per timestep
is wrapped from outside, and restored afterwards, so that it costs nothing elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.profiler import record_function

from benchsuite.models.recurrence import Cell, Recurrence
from benchsuite.runtime import device
from benchsuite.runtime.workload import Workload


def cells_of(module: nn.Module) -> list[Cell[Any] | nn.RNNCellBase]:
    """Cells called once per timestep: those of `Recurrence`, and torch's in models that loop."""
    found: list[Cell[Any] | nn.RNNCellBase] = []
    for part in module.modules():
        if isinstance(part, Recurrence):
            found.extend(part.cells)
        elif isinstance(part, nn.RNNCellBase):
            found.append(part)
    return found


@contextmanager
def timesteps(module: nn.Module) -> Iterator[Callable[[], None]]:
    """Label each timestep of an unrolled model: "timestep 3", with several cells "…, cell 1".

    Timesteps are numbered in the order in which they run; a reversed direction starts at the end of
    the sequence.

    Yields:
        A function that restarts the numbering, to be called before each forward pass.
    """
    cells = cells_of(module)
    counters = [itertools.count() for _ in cells]
    for index, cell in enumerate(cells):
        name = "step" if isinstance(cell, Cell) else "forward"
        suffix = f", cell {index}" if len(cells) > 1 else ""
        # The instance's attribute hides the method of its class until it is deleted.
        setattr(cell, name, _labelled(getattr(cell, name), counters, index, suffix))

    def restart() -> None:
        counters[:] = [itertools.count() for _ in cells]

    try:
        yield restart
    finally:
        for cell in cells:
            delattr(cell, "step" if isinstance(cell, Cell) else "forward")


def _labelled(
    call: Callable[..., Any], counters: list[itertools.count[int]], index: int, suffix: str
) -> Callable[..., Any]:
    def labelled(*args: Any, **kwargs: Any) -> Any:
        with record_function(f"timestep {next(counters[index])}{suffix}"):
            return call(*args, **kwargs)

    return labelled


@contextmanager
def labelled_step(workload: Workload) -> Iterator[Callable[[int], None]]:
    """A step of the workload with labels, as a function of its number.

    It is `Workload.step` in parts, followed in training by plain SGD, which the workload leaves
    out. All of it lies inside the range that TensorBoard recognises as a step. SGD's learning rate
    is zero: it does all its work and leaves the weights unchanged.
    """
    module, x_BTF = workload.module, workload.x_BTF
    with timesteps(module) as restart:

        def infer(number: int) -> None:
            restart()
            with record_function(f"ProfilerStep#{number}"):
                with record_function("forward"), torch.inference_mode():
                    module(x_BTF)
                device.synchronize(workload.device)

        def train(number: int) -> None:
            restart()
            with record_function(f"ProfilerStep#{number}"):
                with record_function("forward"):
                    loss = module(x_BTF).square().mean()
                with record_function("backward"):
                    loss.backward()
                with record_function("optimiser"):
                    optimiser.step()
                    optimiser.zero_grad(set_to_none=True)
                device.synchronize(workload.device)

        if workload.case.mode == "infer":
            yield infer
        else:
            optimiser = torch.optim.SGD(module.parameters(), lr=0.0)
            yield train
