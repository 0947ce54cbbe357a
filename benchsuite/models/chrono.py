"""Chrono initialisation (Tallec & Ollivier 2018, arXiv 1804.11188, equation 16 and section 3).

A gate that keeps a share σ(b) of its state at every step forgets after about 1 + exp(b) steps. The
biases of these gates are drawn so that those times spread over the sequence:

    b_f ~ ln U[1, T_max - 1],  b_i = -b_f     in an LSTM
    b_z ~ ln U[1, T_max - 1]                  in a GRU whose z keeps the state, as torch's does

Shape suffixes: H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def chrono_(module: nn.Module, longest: int) -> int:
    """Set the biases of every LSTM and GRU inside `module`, in place.

    Each gate adds two biases, in torch's layers and the hand-written ones: the drawn values go to
    the one of the input, and the one of the state becomes zero.

    Args:
        module: Any module; torch's layers and the hand-written ones are recognised.
        longest: T_max, in timesteps; below 3 it counts as 3, which leaves one more than [1, 1].

    Returns:
        The number of layers and directions that were set; 0 if there is no such layer.
    """
    longest = max(longest, 3)
    count = 0
    for part in module.modules():
        if not isinstance(part, nn.RNNBase) or part.mode not in {"LSTM", "GRU"}:
            continue
        inputs = [name for name, _ in part.named_parameters() if name.startswith("bias_ih")]
        for name in inputs:
            b_ih, b_hh = getattr(part, name), getattr(part, name.replace("ih", "hh"))
            drawn_H = _drawn(part.hidden_size, longest)
            if part.mode == "LSTM":
                _set_rows(b_ih, drawn_H)
                b_hh[: 2 * part.hidden_size] = 0
            else:
                rows = slice(part.hidden_size, 2 * part.hidden_size)
                b_ih[rows], b_hh[rows] = drawn_H, 0
        count += len(inputs)
    return count


def _set_rows(bias: Tensor, b_H: Tensor) -> None:
    """Set rows i and f of a bias in torch's order i, f, g, o."""
    size = len(b_H)
    bias[:size], bias[size : 2 * size] = -b_H, b_H


def _drawn(size: int, longest: int) -> Tensor:
    return torch.empty(size).uniform_(1, longest - 1).log()
