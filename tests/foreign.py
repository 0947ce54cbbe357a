"""Models as others write them: in other forms, and with faults that break a clause of the contract."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import nn

from benchsuite.adapt import channels_first, first_output, time_major, with_state

# Other forms


def rnn(input_size, hidden_size):
    """(T, B, F), and a state beside the output."""
    return nn.RNN(input_size, hidden_size)


def convolutions(input_size, hidden_size):
    """(B, F, T); causal by padding on the left."""
    return nn.Sequential(
        nn.ConstantPad1d((2, 0), 0.0),
        nn.Conv1d(input_size, hidden_size, 3),
        nn.ReLU(),
        nn.ConstantPad1d((4, 0), 0.0),
        nn.Conv1d(hidden_size, hidden_size, 3, dilation=2),
    )


def transformer(hidden_size):
    """Sees all timesteps."""
    return nn.TransformerEncoderLayer(hidden_size, 2, 2 * hidden_size, batch_first=True)


def time_major_transformer(hidden_size):
    return nn.TransformerEncoderLayer(hidden_size, 2, 2 * hidden_size)


class Attention(nn.Module):
    """(output, weights): the second is not a state."""

    def __init__(self, size):
        super().__init__()
        self.attention = nn.MultiheadAttention(size, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)


def attention(hidden_size):
    return Attention(hidden_size)


class NeedsState(nn.Module):
    """A loop over a cell, from a state that must be given."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.cell = nn.GRUCell(input_size, hidden_size)

    def forward(self, x, h):
        outputs = []
        for x_t in x.unbind(1):
            h = self.cell(x_t, h)
            outputs.append(h)
        return torch.stack(outputs, 1), h


def needs_state(input_size, hidden_size):
    return NeedsState(input_size, hidden_size)


class Listed(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)

    def forward(self, x):
        return [self.layer(x), "logged"]


def listed(input_size, hidden_size):
    return Listed(input_size, hidden_size)


def zeros(module, x):
    return x.new_zeros(len(x), module.hidden_size)


adapted_rnn = time_major(rnn)
adapted_convolutions = channels_first(convolutions)
adapted_attention = first_output(attention)
adapted_needs_state = with_state(needs_state, zeros)
adapted_listed = first_output(listed)
adapted_transformer = time_major(time_major_transformer)

# Such as break a clause: one each


class Broken(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.layer = nn.Linear(input_size, hidden_size)

    def forward(self, x):
        return self.layer(x)


class Flattens(Broken):
    def forward(self, x):
        return self.layer(x).flatten(1)


class MixesRows(Broken):
    def forward(self, x):
        return self.layer(x - x.mean(0))


class SinglePrecision(Broken):
    def forward(self, x):
        return torch.matmul(x, torch.ones(x.shape[-1], 8)) + self.layer(x)


class OneLength(Broken):
    def __init__(self, input_size, hidden_size, seq_len):
        super().__init__(input_size, hidden_size)
        self.positions = nn.Parameter(torch.randn(seq_len, hidden_size))

    def forward(self, x):
        return self.layer(x) + self.positions


class Remembers(Broken):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * self.calls


class OverwritesInput(Broken):
    def forward(self, x):
        with torch.no_grad():
            x.mul_(2)
        return self.layer(x)


class OwnRandomness(Broken):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        weights = np.random.default_rng().normal(size=(hidden_size, input_size))
        self.layer.weight.data.copy_(torch.tensor(weights))


class FailsInTraining(Broken):
    def forward(self, x):
        if self.training:
            raise ZeroDivisionError("planted")
        return self.layer(x)


class UnusedLayer(Broken):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.spare = nn.Linear(2, 2)


class Detached(Broken):
    def forward(self, x):
        return self.layer(x).detach()


class Blind(Broken):
    def forward(self, x):
        return self.layer(torch.ones_like(x))


class NestedState(Broken):
    def forward(self, x, state=None):
        y = self.layer(x)
        return y, ((y, y), y)


class Branches(Broken):
    def forward(self, x):
        return self.layer(x) if bool(x.abs().sum() > 1e9) else -self.layer(x)


class Normed(Broken):
    """By hooks, as before `torch.nn.utils.parametrizations`: it cannot be copied."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            nn.utils.weight_norm(self.layer)


class NotFinite(Broken):
    def forward(self, x):
        return self.layer(x) / 0


class Blocks(Broken):
    """Not broken: works in blocks of 64 timesteps, the last one filled up."""

    def forward(self, x):
        steps = x.shape[1]
        x = nn.functional.pad(x, (0, 0, 0, -steps % 64))
        return torch.cat([self.layer(block) for block in x.split(64, 1)], 1)[:, :steps]


class KeepsState(Broken):
    """Not broken: what it keeps of a call does not change the next, but is not released either."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.last = None

    def forward(self, x):
        y = self.last = self.layer(x)
        return y


class GrowingState(Broken):
    """Right, but its state has all inputs so far."""

    def forward(self, x, past=None):
        past = x if past is None else torch.cat([past, x], 1)
        return self.layer(past.cumsum(1)[:, -x.shape[1] :]), past


class KeepsAll(Broken):
    """Right, but outputs of all calls stay alive."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.outputs = []

    def forward(self, x):
        self.outputs.append(self.layer(x))
        return self.outputs[-1]


class KeepsMask(Broken):
    """Not broken: made in the first call, used again in the others."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.masks = {}

    def forward(self, x):
        mask = self.masks.setdefault(x.shape[1], x.new_ones(x.shape[1], 1))
        return self.layer(x) * mask.to(x)


class NormedFirst(Broken):
    """Not broken: a constant added to all features is cancelled."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.norm = nn.LayerNorm(input_size)

    def forward(self, x):
        return self.layer(self.norm(x))


class TooLarge(Broken):
    def forward(self, x):
        if x.shape[1] > 16:
            raise MemoryError("planted")
        return self.layer(x)


def does_not_fit(hidden_size):
    raise MemoryError


class Uncopyable(Broken):
    def __deepcopy__(self, memo):
        raise ValueError("planted")


class Ungated(Broken):
    """Not broken: a gate that starts at zero (ReZero) lets no gradient through at first."""

    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)
        self.gate = nn.Parameter(torch.zeros(()))
        self.inner = nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        y = self.layer(x)
        return y + self.gate * self.inner(y)


def fails(hidden_size):
    raise ZeroDivisionError("planted\nover two lines")
