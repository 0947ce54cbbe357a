"""Predictors: a sequence model with a linear head for the outputs of a task.

Shape suffixes: B rows, T timesteps, F input features, O outputs.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchsuite.catalog.models import MODELS
from benchsuite.errors import Unsupported
from benchsuite.grid.case import Case
from benchsuite.models.chrono import chrono_
from benchsuite.runtime import count, device
from benchsuite.runtime.assemble import assemble
from benchsuite.runtime.build import SequenceModel, Sizes
from benchsuite.runtime.match import solve
from benchsuite.tasks.task import Task


class Predictor(nn.Module):
    """A model and a linear head that is applied at every timestep."""

    def __init__(self, model: SequenceModel, features: int, output_size: int) -> None:
        super().__init__()
        self.model = model
        self.head = nn.Linear(features, output_size)

    def forward(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, O)."""
        y_BTO: Tensor = self.head(self.model(x_BTF))
        return y_BTO

    @property
    def takes_state(self) -> bool:
        """See `SequenceModel.takes_state`."""
        return self.model.takes_state

    def continued(self, x_BTF: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Output (B, T, O) and state; see `SequenceModel.continued`."""
        output, state = self.model.continued(x_BTF, state)
        return self.head(output), state


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A predictor and facts about it.

    Attributes:
        module: The predictor, on the case's device and in its dtype.
        case: The case with the task's number of input features.
        width: Hidden units or channels after matching.
        match_deviation: Matched quantity over its target, minus one.
        parameters: Number of trainable parameters, including those of the head.
    """

    module: Predictor
    case: Case
    width: int
    match_deviation: float
    parameters: int


def build_predictor(case: Case, task: Task, *, chrono: bool = False) -> Built:
    """Build a case's model for a task.

    Parameters are drawn on the CPU in float32 after `torch.manual_seed(case.seed)`, those of the
    model before those of the head. They are converted afterwards, so that every device and dtype
    starts from the same numbers. Matching concerns the model; the head is not included.

    Args:
        case: The case to build; the task's input_size replaces its own. A model without the size
            num_layers is matched to an LSTM with the case's num_layers.
        task: The task, which determines the numbers of input features and outputs.
        chrono: Initialise the gates for dependencies as long as the sequence.

    Raises:
        Unsupported: if the device or an option is not available, if the model sees future inputs
            that hold the task's targets, or if it has no gates for `chrono`.
        UsageError: if the model is unknown, or does not map (batch, time, features).
    """
    target = device.require(case.device)
    case = case.replace(input_size=task.input_size)
    sizes, deviation = _sizes(case)
    model = assemble(case, sizes)
    features = _output_features(model, case, causal=task.closed_loop is not None)
    module = Predictor(model, features, task.output_size)
    if chrono and not chrono_(model, case.seq_len):
        raise Unsupported(
            f"{case.model} has no LSTM or GRU gates, which chrono needs; leave it out"
        )
    return Built(
        module=module.to(target, getattr(torch, case.dtype)),
        case=case,
        width=sizes.hidden_size,
        match_deviation=deviation,
        parameters=count.parameters(module),
    )


def _sizes(case: Case) -> tuple[Sizes, float]:
    """The sizes to build with, and the deviation of the match."""
    sizes = Sizes.of(case)
    if "num_layers" not in MODELS.get(case.model).accepts():
        sizes = dataclasses.replace(sizes, num_layers=1)
    match = solve(case.model, sizes, case.match, case.num_layers)
    return dataclasses.replace(sizes, hidden_size=match.width), match.deviation


@torch.no_grad()
def _output_features(model: SequenceModel, case: Case, *, causal: bool) -> int:
    """Number of output features, found by running the model; also checks that it is causal.

    The input is two rows that differ only in the last timestep. Outputs of a causal model differ
    only there too.

    Raises:
        Unsupported: if `causal` is required and the model is not.
    """
    x_BTF = torch.zeros(2, case.seq_len, case.input_size)
    x_BTF[1, -1] = 1.0
    y_BTF: Tensor = model.eval()(x_BTF)
    if causal and not torch.allclose(y_BTF[0, :-1], y_BTF[1, :-1], rtol=1e-4, atol=1e-6):
        raise Unsupported(
            f"{case.model} sees later timesteps, which hold the targets of this task; a causal"
            " model is needed"
        )
    return int(y_BTF.shape[-1])
