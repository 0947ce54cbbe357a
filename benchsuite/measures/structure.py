"""Measures that count without running a step: parameters, operations, streaming state."""

from __future__ import annotations

import torch
from torch import nn

from benchsuite.errors import Unsupported
from benchsuite.grid.study import Budget
from benchsuite.measures.iterations import iterations_of_step
from benchsuite.measures.reading import Reading
from benchsuite.runtime import count
from benchsuite.runtime.build import SequenceModel, build_on_meta
from benchsuite.runtime.workload import Workload


def parameters(workload: Workload, _: Budget) -> Reading:
    """Number of trainable parameters."""
    return Reading(value=count.parameters(_on_meta(workload)))


def flops(workload: Workload, _: Budget) -> Reading:
    """Operations of one step of the case's mode; see `runtime.count.flops`.

    The record's `extrapolated` says whether they, or the FLOPs that the width was matched by, are
    known from shorter sequences only. A model that iterates is run, and counted for as many
    iterations as its slowest sequence took.
    """
    case = workload.case
    taken = iterations_of_step(workload) if count.iterations_of(_on_meta(workload)) else ()
    counted = count.flops(
        case.model,
        workload.sizes,
        batch_size=case.batch_size,
        train=case.mode == "train",
        iterations=taken,
    )
    extrapolated = counted.extrapolated or workload.match.extrapolated
    return Reading(value=counted.total, provenance={"extrapolated": extrapolated})


def state_size(workload: Workload, _: Budget) -> Reading:
    """Bytes to keep between two timesteps of a stream, so that nothing is computed twice.

    The state that a recurrent model returns; for a convolutional one the last (k-1)·d inputs of
    each convolution of kernel size k and dilation d.

    Raises:
        Unsupported: for a bidirectional model, and where neither can be found.
    """
    case = workload.case
    if case.bidirectional:
        raise Unsupported("a bidirectional model needs the whole sequence and cannot be streamed")
    model = _on_meta(workload)
    x_BTF = torch.empty(case.batch_size, 1, case.input_size, device="meta")
    state = model.with_state(x_BTF)[1]
    elements = sum(tensor.numel() for tensor in state)
    if not elements:
        convolutions = [part for part in model.modules() if isinstance(part, nn.Conv1d)]
        if not convolutions:
            raise Unsupported(
                "no state is returned and there are no Conv1d layers to derive it from"
            )
        elements = case.batch_size * sum(_buffered(conv) for conv in convolutions)
    return Reading(value=elements * workload.dtype.itemsize)


def _buffered(conv: nn.Conv1d) -> int:
    (kernel,), (dilation,), (stride,) = conv.kernel_size, conv.dilation, conv.stride
    if stride != 1:
        raise Unsupported(f"a convolution of stride {stride} does not give one output per timestep")
    return (kernel - 1) * dilation * conv.in_channels


def _on_meta(workload: Workload) -> SequenceModel:
    return build_on_meta(workload.case.model, workload.sizes)
