"""By how much an execution rounds: its results beside those of a float64 Python loop.

Shape suffixes: B batch, T timesteps, F features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from benchsuite.catalog.models import MODELS
from benchsuite.errors import Unsupported
from benchsuite.grid.study import Budget
from benchsuite.measures.reading import Reading
from benchsuite.runtime.build import SequenceModel, build
from benchsuite.runtime.engines import Run
from benchsuite.runtime.workload import Workload

#: A module's output and its last state.
Forward: TypeAlias = Callable[[Tensor], tuple[Tensor, tuple[Tensor, ...]]]


def numeric_error(workload: Workload, _: Budget) -> Reading:
    """The greatest error of outputs and last state, in mode train of all gradients too.

    The error of a tensor is its greatest difference from the reference, in units in the last place
    of the case's dtype at the reference's greatest number. The reference has the same weights and
    input, as the dtype rounds them, and runs in float64 on the CPU, timestep by timestep. An engine
    other than eager returns no state, and the reference of a model without a loop is then the model
    itself.

    Raises:
        Unsupported: if the model has no Python loop with the same weights.
    """
    reference = _reference(workload)
    x_BTF = workload.x_BTF
    train = workload.case.mode == "train"
    forward: Forward
    exact: Forward
    if workload.prepared is None:
        forward, exact = workload.module.with_state, reference.with_state
    else:
        forward, exact = _without_state(workload.run), _without_state(reference)
    with workload.gradients():
        given = _results(workload.module, forward, x_BTF, train=train)
    expected = _results(reference, exact, x_BTF.to("cpu", torch.float64), train=train)
    eps = torch.finfo(workload.dtype).eps
    errors = [
        float((one.to("cpu", torch.float64) - other).abs().max() / (eps * scale))
        for one, other in zip(given, expected, strict=True)
        if (scale := float(other.abs().max()))
    ]
    return Reading(value=max(errors, default=0.0))


def _reference(workload: Workload) -> SequenceModel:
    """The same weights in float64 on the CPU, executed by a Python loop."""
    module = copy.deepcopy(workload.module).to("cpu", torch.float64)
    inner = module.module
    if "loop" in getattr(inner, "executions", ()):
        inner.execution = "loop"  # type: ignore[assignment]
        return module
    spec = MODELS.get(workload.case.model)
    if spec.mathematics:
        for other in MODELS:
            if other.mathematics == spec.mathematics and other.execution == "Python loop":
                loop = build(other.name, workload.sizes).to("cpu", torch.float64)
                loop.load_state_dict(module.state_dict())
                return loop.train(module.training)
    if workload.prepared is not None:
        return module
    raise Unsupported(f"{spec.name} has no Python loop with the same weights to be compared with")


def _without_state(run: Run) -> Forward:
    return lambda x_BTF: (run(x_BTF), ())


def _results(
    module: SequenceModel,
    forward: Forward,
    x_BTF: Tensor,
    *,
    train: bool,
) -> list[Tensor]:
    """Output, last state, and in mode train the gradient of each parameter in their order."""
    with torch.set_grad_enabled(train):
        y_BTF, state = forward(x_BTF)
        found = [y_BTF.detach().clone(), *(tensor.detach() for tensor in state)]
        if train:
            y_BTF.square().mean().backward()
            found.extend(_gradients(module))
            module.zero_grad(set_to_none=True)
    return found


def _gradients(module: SequenceModel) -> Iterator[Tensor]:
    for parameter in module.parameters():
        if parameter.requires_grad:
            yield torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
