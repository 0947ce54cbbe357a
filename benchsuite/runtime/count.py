"""Exact counts, taken on the meta device: no memory, no data, no kernel that hides its work."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchsuite.runtime.build import SequenceModel, Sizes, build_on_meta


def parameters(module: torch.nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


#: Lengths counted instead of a long one; the third tests what the first two predict.
_SHORT = (3, 4, 33)


def flops(model: str, sizes: Sizes, *, batch_size: int, train: bool) -> int:
    """Floating-point operations of one step; 1 MAC = 2 FLOP, elementwise work is not counted.

    `torch.nn.LSTM` runs as one opaque kernel on CPU and CUDA, which the counter sees as nothing; on
    the meta device it falls apart into its matrix products: 2·g·H·(I+H)·T·B forward, g = 4 for an
    LSTM, 3 for a GRU.

    Unrolled models take milliseconds a timestep to count, so a long sequence is counted at 3 and 4
    timesteps, and where the line through both predicts the count at 33 exactly, it is followed to
    `seq_len`. Otherwise the whole sequence is counted.

    Args:
        model: A model's name.
        sizes: Sizes to build it with; `sizes.seq_len` timesteps are counted.
        batch_size: Sequences in the batch.
        train: Count the backward pass too.
    """
    module = build_on_meta(model, sizes)

    def count(seq_len: int) -> int:
        return _count(module, sizes.input_size, batch_size, seq_len, train=train)

    if sizes.seq_len > max(_SHORT):
        first, second, third = _SHORT
        slope = (count(second) - count(first)) // (second - first)
        start = count(first) - slope * first
        if count(third) == start + slope * third:
            return start + slope * sizes.seq_len
    return count(sizes.seq_len)


def flops_per_timestep(model: str, sizes: Sizes) -> int:
    """Forward operations that one more timestep of one sequence costs."""
    module = build_on_meta(model, sizes)
    first, second, _ = _SHORT
    return _count(module, sizes.input_size, 1, second, train=False) - _count(
        module, sizes.input_size, 1, first, train=False
    )


def _count(
    module: SequenceModel, input_size: int, batch_size: int, seq_len: int, *, train: bool
) -> int:
    x_BTF = torch.empty(batch_size, seq_len, input_size, device="meta")
    module.train(train)
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(train):
        output = module(x_BTF)
        if train:
            output.square().mean().backward()
    return int(counter.get_total_flops())
