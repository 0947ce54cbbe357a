"""Feeding a causal model its input piece by piece, with state carried from call to call.

Streams are fed without gradients (`torch.no_grad` or `torch.inference_mode`, the same from call to
call), with as many rows in every call.

Shape suffixes: B rows, T timesteps, F input features, O output features, C channels, K taps.
"""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchsuite.errors import Unsupported
from benchsuite.runtime.build import SequenceModel
from benchsuite.runtime.rounding import same_but_for_rounding


class Streamable(Protocol):
    """A module over (B, T, F) that may continue from a state, such as `SequenceModel`."""

    @property
    def takes_state(self) -> bool:
        """Whether `continued` accepts a state."""

    def __call__(self, x_BTF: Tensor) -> Tensor:
        """(B, T, F) → (B, T, O)."""

    def continued(self, x_BTF: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The output (B, T, O) and the state after it; see `SequenceModel.continued`."""

    def modules(self) -> Iterator[nn.Module]:
        """As of `nn.Module`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of `nn.Module`."""

    def buffers(self) -> Iterator[Tensor]:
        """As of `nn.Module`."""


class Stream(ABC):
    """Feeds a causal model its input piece by piece."""

    def __init__(self, model: Streamable) -> None:
        self.model = model

    @property
    @abstractmethod
    def method(self) -> str:
        """How outputs that depend on earlier calls are computed, in words."""

    @abstractmethod
    def feed(self, x_BTF: Tensor) -> Tensor:
        """The next timesteps of the input: (B, T, F) → their outputs (B, T, O)."""


class Carried(Stream):
    """Passes the state that the module returns to its next call, as for recurrent modules.

    The suite's own recurrences are called without the checks of their arguments.
    """

    method = "state"

    def __init__(self, model: Streamable) -> None:
        super().__init__(model)
        module = model.module if type(model) is SequenceModel else None
        stepper = getattr(module, "stepper", None) if isinstance(module, nn.RNNBase) else None
        self._continued: Callable[[Tensor, Any], tuple[Tensor, Any]] = (
            model.continued if stepper is None else stepper()
        )
        self._state: Any = None

    @staticmethod
    def fits(model: Streamable) -> bool:
        """Whether the module takes a state."""
        return model.takes_state

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        y_BTO, self._state = self._continued(x_BTF, self._state)
        return y_BTO


class Buffered(Stream):
    """Keeps the last (k-1)·d inputs of every causal convolution instead of its zero padding.

    It works on a copy of the module that shares its tensors. The weights of convolutions are those
    at the time when the stream is made.
    """

    method = "ring buffers"

    def __init__(self, model: Streamable) -> None:
        super().__init__(_streaming_copy(model))

    @staticmethod
    def fits(model: Streamable) -> bool:
        """Whether the module has causal convolutions."""
        return any(map(_is_causal, model.modules()))

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        return self.model(x_BTF)


class Recomputed(Stream):
    """Computes the outputs again from all inputs that they may depend on: slow, but always right.

    Args:
        model: A causal module.
        field: Timesteps that an output may depend on; None keeps the whole input, which makes
            every call slower than the one before.
    """

    def __init__(self, model: Streamable, field: int | None = None) -> None:
        super().__init__(model)
        self.field = field
        self._whole_BTF: Tensor | None = None
        self._ring = None if field is None else Ring(field - 1)
        self._fed = 0

    @property
    def method(self) -> str:
        """As `Stream.method`."""
        past = "the whole input" if self.field is None else f"{self.field} timesteps"
        return f"recomputed from {past}"

    def feed(self, x_BTF: Tensor) -> Tensor:
        """As `Stream.feed`."""
        steps = x_BTF.shape[1]
        y_BTO: Tensor = self.model(self._window(x_BTF))
        return y_BTO[:, y_BTO.shape[1] - steps :]

    def _window(self, x_BTF: Tensor) -> Tensor:
        if self._ring is None or self.field is None:
            whole_BTF = self._whole_BTF
            self._whole_BTF = x_BTF if whole_BTF is None else torch.cat([whole_BTF, x_BTF], 1)
            return self._whole_BTF
        window_BTF = self._ring.push(x_BTF)
        missing = max(0, self.field - 1 - self._fed)  # before the start there is no input
        self._fed = min(self._fed + x_BTF.shape[1], self.field)
        return window_BTF[:, missing:]


class Ring:
    """The last rows of a sequence, in a buffer that is allocated once.

    Every row is written twice, one buffer's length apart, so that any run of the last rows is a
    view: a call neither moves the past nor waits for a moment when there is more to do.

    Args:
        left: Rows of the past that are kept; those before the first are zero.
    """

    def __init__(self, left: int) -> None:
        self.left = left
        self._position = 0
        self._length = 0
        self._rows_B2LC: Tensor | None = None

    def push(self, x_BTC: Tensor) -> Tensor:
        """Append rows (B, T, C); return the view (B, left + T, C) of the last ones."""
        return self.windows(x_BTC, self.left + x_BTC.shape[1], 1, 1).select(1, 0)

    def windows(self, x_BTC: Tensor, taps: int, dilation: int, count: int) -> Tensor:
        """Append rows (B, T, C); return a view of windows that each begin one row later.

        Args:
            x_BTC: The next rows.
            taps: Rows K of a window.
            dilation: Distance of its rows.
            count: Number of windows; the first begins `left` rows before those appended.

        Returns:
            (B, count, K, C)
        """
        batch, steps, channels = x_BTC.shape
        rows_B2LC = self._rows_for(x_BTC)
        position, length = self._position, self._length
        end = position + steps
        if end <= length:
            rows_B2LC[:, :, position:end] = x_BTC.unsqueeze(1)
            self._position = end % length
            end += length
        else:
            first = length - position
            rows_B2LC[:, :, position:] = x_BTC[:, None, :first]
            rows_B2LC[:, :, : steps - first] = x_BTC[:, None, first:]
            self._position = end - length
        return rows_B2LC.as_strided(
            (batch, count, taps, channels),
            (2 * length * channels, channels, dilation * channels, 1),
            (end - steps - self.left) * channels,
        )

    def window(self, x_BC1: Tensor, taps: int, dilation: int) -> Tensor:
        """The same for one row, in fewer operations: (B, C, 1) → (B, K, C)."""
        rows_B2LC = self._rows_B2LC
        if rows_B2LC is None:
            rows_B2LC = self._rows_for(x_BC1.transpose(1, 2))
        batch, _, length, channels = rows_B2LC.shape
        position, per_copy = self._position, length * channels
        rows_B2LC.as_strided(
            (batch, channels, 2), (2 * per_copy, 1, per_copy), position * channels
        ).copy_(x_BC1)
        self._position = position + 1 if position + 1 < length else 0
        return rows_B2LC.as_strided(
            (batch, taps, channels),
            (2 * per_copy, dilation * channels, 1),
            (position + length - self.left) * channels,
        )

    def _rows_for(self, x_BTC: Tensor) -> Tensor:
        """The buffer, with room for pieces as long as this one beside the past."""
        batch, steps, channels = x_BTC.shape
        if self._rows_B2LC is not None and self._length >= self.left + steps:
            return self._rows_B2LC
        length = self.left + steps
        rows_B2LC = x_BTC.new_zeros(batch, 2, length, channels)
        if self._rows_B2LC is not None and self.left:
            end = self._position + self._length
            past_BTC = self._rows_B2LC.flatten(1, 2)[:, end - self.left : end]
            rows_B2LC[:, :, steps:] = past_BTC.unsqueeze(1)
        self._rows_B2LC, self._length, self._position = rows_B2LC, length, 0
        return rows_B2LC


class _StreamingConv:
    """A causal convolution over the taps in a ring; (B, C, T) → (B, C', T), outputs channels last.

    One product over the k·C numbers that an output depends on, or k for each channel alone where
    the convolution is depthwise; another division into groups goes through torch's convolution.
    """

    def __init__(self, part: nn.Conv1d) -> None:
        (self.taps,), (self.dilation,) = part.kernel_size, part.dilation
        self.groups = part.groups
        self.ring = Ring(int(part.left))  # type: ignore[arg-type]
        self.bias = None if part.bias is None else part.bias.detach()
        nothing = part.weight.new_empty(0)
        self._held = nothing.shape, nothing, nothing
        weight = part.weight.detach()
        self.product: Callable[[Tensor], Tensor]
        if part.groups == 1:
            self.weight = weight.permute(2, 1, 0).flatten(0, 1).contiguous()  # K·C, C'
            if self.bias is not None:
                self.weight = torch.cat([self.weight, self.bias[None]])  # one row more
            self.product = self._full
        elif part.groups == part.in_channels == part.out_channels:
            self.weight = weight[:, 0].t().contiguous()  # K, C
            self.product = self._depthwise
        else:
            self.weight = weight
            self.product = self._grouped

    def forward(self, x_BCT: Tensor) -> Tensor:
        """(B, C, T) → (B, C', T)."""
        batch, _, steps = x_BCT.shape
        if steps == 1:
            taps_BKC = self.ring.window(x_BCT, self.taps, self.dilation)
            y_BCT: Tensor = self.product(taps_BKC).unsqueeze(2)
            return y_BCT
        taps_BTKC = self.ring.windows(x_BCT.transpose(1, 2), self.taps, self.dilation, steps)
        y_NC = self.product(taps_BTKC)
        return y_NC.view(batch, steps, -1).transpose(1, 2)

    def _full(self, taps: Tensor) -> Tensor:
        """All channels mixed: (B, K, C) or (B, T, K, C) → (N, C')."""
        shape, held, held_ND = self._held
        if shape != taps.shape:
            shape, (rows, columns) = taps.shape, (taps.shape[:-2].numel(), taps.shape[-2:].numel())
            held_ND = taps.new_ones(rows, len(self.weight))  # a last column of ones for the bias
            held = held_ND[:, :columns].unflatten(1, shape[-2:]).unflatten(0, shape[:-2])
            self._held = shape, held, held_ND
        held.copy_(taps)
        return torch.mm(held_ND, self.weight)

    def _depthwise(self, taps: Tensor) -> Tensor:
        """Each channel alone: (B, K, C) or (B, T, K, C) → (B, C) or (B, T, C)."""
        y = (taps * self.weight).sum(-2)
        return y if self.bias is None else y.add_(self.bias)

    def _grouped(self, taps: Tensor) -> Tensor:
        """Groups of channels, by torch's convolution: (B, K, C) or (B, T, K, C) → (N, C')."""
        taps_NCK = taps.flatten(0, -3).transpose(1, 2)
        return F.conv1d(taps_NCK, self.weight, self.bias, groups=self.groups).squeeze(2)


def _pointwise(part: nn.Conv1d) -> Callable[[Tensor], Tensor]:
    """A convolution of one tap as a product, without a convolution's preparations."""
    weight = part.weight.detach()[:, :, 0].contiguous()
    bias = None if part.bias is None else part.bias.detach()

    def forward(x_BCT: Tensor) -> Tensor:
        return F.linear(x_BCT.transpose(1, 2), weight, bias).transpose(1, 2)

    return forward


_Model = TypeVar("_Model", bound=Streamable)


def _streaming_copy(model: _Model) -> _Model:
    """A copy of a module, with the same tensors, whose causal convolutions keep their inputs."""
    shared: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    copied = copy.deepcopy(model, shared)
    for parent in copied.modules():
        for name, part in parent.named_children():
            if _is_causal(part):
                assert isinstance(part, nn.Conv1d)
                part.forward = _StreamingConv(part).forward  # type: ignore[method-assign, assignment]
            elif type(part) is nn.Conv1d and _is_pointwise(part):
                part.forward = _pointwise(part)  # type: ignore[method-assign, assignment]
            else:
                continue
            # An attribute of the instance is found before the submodule: a call of it then costs
            # no look-up and no search for hooks, as much as a product over one timestep.
            vars(parent)[name] = part.forward
    return copied


def _is_causal(part: nn.Module) -> bool:
    """Whether a module is a `CausalConv1d` of models.conv, whose padding is its attribute `left`.

    Models are not imported here: every timing would be measured again after a change to any.
    """
    return isinstance(part, nn.Conv1d) and hasattr(part, "left")


def _is_pointwise(part: nn.Conv1d) -> bool:
    return (part.kernel_size, part.stride, part.padding, part.groups) == ((1,), (1,), (0,), 1)


@torch.no_grad()
def stream_of(
    model: Streamable, x_BTF: Tensor, field: Callable[[], int | None] = lambda: None
) -> Stream:
    """A new stream of the cheapest kind whose outputs are those of the model.

    Each kind is tried on `x_BTF`, of at least two timesteps: the state of a module from outside may
    be incomplete, or its convolutions mixed with operations that look further back.

    Args:
        model: The module, in eval mode.
        x_BTF: An input to try the kinds on.
        field: Called for a module whose outputs have to be computed again: timesteps that an output
            depends on, None where that is unknown or unbounded. It is tried, too.

    Raises:
        Unsupported: if an output depends on later inputs.
    """
    whole_BTO = model(x_BTF)
    for kind in (Carried, Buffered):
        if kind.fits(model) and _agrees(kind, model, x_BTF, whole_BTO):
            return kind(model)
    if (known := field()) is not None:
        bounded = functools.partial(Recomputed, field=known)
        rows, _, features = x_BTF.shape
        longer_BTF = torch.cat([x_BTF, x_BTF.new_empty(rows, known, features).normal_()], 1)
        if _agrees(bounded, model, longer_BTF, model(longer_BTF)):
            return bounded(model)
    if not _agrees(Recomputed, model, x_BTF, whole_BTO):
        raise Unsupported("an output depends on later inputs, or on the length of the sequence")
    return Recomputed(model)


def _agrees(
    kind: Callable[[Streamable], Stream], model: Streamable, x_BTF: Tensor, whole_BTO: Tensor
) -> bool:
    """Whether a stream in two pieces, the second one timestep longer, gives the same outputs."""
    cut = x_BTF.shape[1] // 2
    try:
        stream = kind(model)
        parts = [stream.feed(part_BTF) for part_BTF in (x_BTF[:, :cut], x_BTF[:, cut:])]
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False  # its second argument or result is not a state, or it cannot be copied
    return same_but_for_rounding(whole_BTO, torch.cat(parts, 1))
