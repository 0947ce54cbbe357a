"""torch's recurrent layers; the kernel library that runs them depends on the device."""

from __future__ import annotations

from torch import nn


def lstm(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> nn.LSTM:
    """`torch.nn.LSTM`: (batch, time, F) → (batch, time, D·H)."""
    return nn.LSTM(
        input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional
    )


def gru(input_size: int, hidden_size: int, num_layers: int, bidirectional: bool) -> nn.GRU:
    """`torch.nn.GRU`: (batch, time, F) → (batch, time, D·H)."""
    return nn.GRU(
        input_size, hidden_size, num_layers, batch_first=True, bidirectional=bidirectional
    )
