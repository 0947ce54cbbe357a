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

from benchsuite.models.gru import GRUCell
from benchsuite.models.lstm import FusedLSTMCell, LSTMCell


@torch.no_grad()
def chrono_(module: nn.Module, longest: int) -> int:
    """Set the biases of every LSTM and GRU inside of `module`, in place.

    Args:
        module: Any module; torch's own layers and the hand-written ones are known.
        longest: T_max, in timesteps; below 3 it counts as 3, which leaves one more than [1, 1].

    Returns:
        The number of layers and directions that were set; 0 if there is no known gate.
    """
    longest = max(longest, 3)
    found = 0
    for part in module.modules():
        if isinstance(part, LSTMCell):
            b_H = _drawn(part.hidden_size, longest)
            part.from_input["f"].bias.copy_(b_H)
            part.from_input["i"].bias.copy_(-b_H)
        elif isinstance(part, FusedLSTMCell):
            _set_rows(part.from_input.bias, _drawn(part.hidden_size, longest))
        elif isinstance(part, GRUCell):
            part.from_input["z"].bias.copy_(_drawn(part.hidden_size, longest))
        elif isinstance(part, nn.LSTM | nn.GRU):
            found += _library(part, longest)
            continue
        else:
            continue
        found += 1
    return found


def _library(layer: nn.LSTM | nn.GRU, longest: int) -> int:
    """Torch adds two biases: the drawn values go to the input's, the state's become zero."""
    inputs = [name for name, _ in layer.named_parameters() if name.startswith("bias_ih")]
    for name in inputs:
        b_ih, b_hh = getattr(layer, name), getattr(layer, name.replace("ih", "hh"))
        drawn_H = _drawn(layer.hidden_size, longest)
        if isinstance(layer, nn.LSTM):
            _set_rows(b_ih, drawn_H)
            b_hh[: 2 * layer.hidden_size] = 0
        else:
            rows = slice(layer.hidden_size, 2 * layer.hidden_size)
            b_ih[rows], b_hh[rows] = drawn_H, 0
    return len(inputs)


def _set_rows(bias: Tensor, b_H: Tensor) -> None:
    """Rows i and f of a bias in torch's order i, f, g, o."""
    size = len(b_H)
    bias[:size], bias[size : 2 * size] = -b_H, b_H


def _drawn(size: int, longest: int) -> Tensor:
    return torch.empty(size).uniform_(1, longest - 1).log()
