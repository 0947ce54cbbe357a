"""Workloads: the live objects of one case, built once per process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from benchsuite import allocator, units
from benchsuite.catalog.engines import ENGINES
from benchsuite.catalog.models import MODELS
from benchsuite.errors import Unsupported
from benchsuite.grid.case import Case
from benchsuite.runtime import count, device
from benchsuite.runtime.assemble import assemble
from benchsuite.runtime.build import SequenceModel, build_on_meta
from benchsuite.runtime.engines import Engine, Prepared, Run
from benchsuite.runtime.kernels import KernelWatch
from benchsuite.runtime.match import matched
from benchsuite.runtime.precision import precision_found
from benchsuite.runtime.streams import Recomputed, Stream, stream_of

#: Called with a module, its input size and the length of the sequences that it is for: timesteps
#: that an output depends on, None where that is unknown or unbounded.
FieldOf = Callable[[SequenceModel, int, int], int | None]
#: Timesteps of the input that a stream is tried on first.
_TRIAL = 64


class TooLargeError(MemoryError):
    """The case cannot fit in memory; raised before anything is allocated."""


class Workload:
    """Module, input and step function of a case.

    In mode stream the input has `chunk` timesteps, the model is built to see `seq_len` of them, and
    a step is one call of a stream, which continues the one before.

    The constructor checks the device and solves the match; `build` allocates. Exact measures, which
    count on the meta device, do not need `build`.

    Attributes:
        case: The case.
        sizes: The sizes the model is built with, after matching.
        match: How that width matches the reference.
        device: The torch device.
        kernel: Kernel library that ran in the forward pass, known after `build`.
        looped: Whether Python called operators timestep by timestep, known after `build`.
        output_size: Features of the output per timestep, known after `build`.
        prepared: How the engine has prepared the module, known after `start`; None for an engine
            that prepares nothing.
        stream: What a step feeds in mode stream, known after `start`; None in other modes.

    Args:
        case: The case.
        field_of: Finds the receptive field of a model that cannot be streamed otherwise.

    Raises:
        Unsupported: if this machine lacks the device or engine, the model lacks an option, or the
            values of axes do not go together.
    """

    def __init__(self, case: Case, field_of: FieldOf = lambda *_: None) -> None:
        _require_compatible(case)
        self.case = case
        self.field_of = field_of
        self.device = device.require(case.device)
        self.engine: Engine = ENGINES.get(case.engine).factory()()
        if reason := self.engine.unavailable():
            raise Unsupported(f"engine {case.engine} is not available on this machine: {reason}")
        self.sizes, self.match = matched(case)
        self.dtype: torch.dtype = getattr(torch, case.dtype)
        self.kernel = ""
        self.looped: bool | None = None
        self.output_size: int | None = None
        self.prepared: Prepared | None = None
        self.stream: Stream | None = None
        self._precision: dict[str, Any] = {}
        self._module: SequenceModel | None = None
        self._run: Run | None = None
        self._x_BTF: Tensor | None = None

    @property
    def module(self) -> SequenceModel:
        """The model on its device, in the mode of the case."""
        self.build()
        assert self._module is not None
        return self._module

    @property
    def run(self) -> Run:
        """The function that the engine has prepared, to be called in `gradients()`."""
        return self.start()[2]

    @property
    def exported(self) -> bool:
        """Whether the engine runs an exported model, outside torch."""
        return self.prepared is not None and self.prepared.load_time is not None

    @property
    def x_BTF(self) -> Tensor:  # noqa: N802 - shape-suffixed
        """The input: (batch, time, features), standard normal."""
        self.build()
        assert self._x_BTF is not None
        return self._x_BTF

    def build(self) -> None:
        """Allocate module and input, and run the forward pass once to record its kernels.

        Raises:
            TooLargeError: if the case cannot fit in free memory.
            Unsupported: if this process cannot apply the case's policy of the allocator.
        """
        if self.output_size is not None:
            return
        module, x_BTF, run = self.start()
        other = -x_BTF  # an inference tensor, made below, would be compiled for once more
        with self.gradients():
            if self.prepared is None:
                with KernelWatch() as watch:
                    output = run(x_BTF)
                self.kernel = watch.kernel
                spec = MODELS.get(self.case.model)
                looped = watch.looped(module, x_BTF.shape[1])
                self.looped = spec.looped if spec.execution else looped
            else:
                output = run(x_BTF)
                self.kernel, self.looped = self.prepared.kernel, False
                self._precision = precision_found(module, run, other)
        device.synchronize(self.device)
        self.output_size = output.shape[-1]

    def start(self) -> tuple[SequenceModel, Tensor, Run]:
        """Module, input, and the function that the engine has prepared; allocated on first use.

        Raises:
            TooLargeError: if the case cannot fit in free memory.
            Unsupported: if this process cannot apply the case's policy of the allocator, or the
                engine cannot run the module.
        """
        if self._run is None:
            allocator.use(self.case.allocator)
            self._refuse_if_too_large()
            case = self.case
            train = case.mode == "train"
            module = assemble(case, self.sizes)
            x_BTF = torch.randn(case.batch_size, _timesteps(case), case.input_size)
            self._x_BTF = x_BTF.to(self.device, self.dtype)
            self._module = module.to(self.device, self.dtype).train(train)
            if case.mode == "stream":
                self.stream = self._open(self._module)
                self._run = self.stream.feed
            else:
                run = self.engine.prepare(self._module, self._x_BTF, train=train)
                self.prepared = run if isinstance(run, Prepared) else None
                self._run = run
        assert self._module is not None
        assert self._x_BTF is not None
        return self._module, self._x_BTF, self._run

    def _open(self, module: SequenceModel) -> Stream:
        """A new stream of the case's rows."""
        case = self.case
        x_BTF = torch.randn(case.batch_size, max(_TRIAL, 2 * case.chunk), case.input_size)
        field_of = functools.partial(self.field_of, module, case.input_size, case.seq_len)
        stream = stream_of(module, x_BTF.to(self.device, self.dtype), field_of)
        if isinstance(stream, Recomputed) and stream.field is None:
            raise Unsupported(
                f"{case.model} returns no state and its receptive field is not known to end: every"
                " call of a stream would compute the whole past again"
            )
        return stream

    def gradients(self) -> AbstractContextManager[object]:
        """The context that the engine's function is called in: with gradients or without."""
        if self.case.mode == "train":
            return torch.enable_grad()
        if self.case.mode == "stream":  # as the steps: its buffers stay in one mode
            return torch.inference_mode()
        return torch.no_grad() if self.prepared is None else torch.inference_mode()

    @functools.cached_property
    def step(self) -> Callable[[], object]:
        """One step of the case's mode.

        infer: the forward pass in inference mode. stream: one call, in inference mode. train:
        forward, mean square of the output, backward; gradients are dropped at the end, so that
        nothing is alive between steps. The optimiser is left out: its cost depends on parameters,
        not on sequence length or kernel.
        """
        module, x_BTF, run = self.start()
        if self.case.mode != "train":
            return torch.inference_mode()(lambda: run(x_BTF))

        def train() -> None:
            run(x_BTF).square().mean().backward()
            module.zero_grad(set_to_none=True)

        return train

    def _refuse_if_too_large(self) -> None:
        case = self.case
        weights = count.parameters(build_on_meta(case.model, self.sizes))
        per_step = case.input_size + self.sizes.hidden_size * (2 if case.bidirectional else 1)
        elements = weights * (2 if case.mode == "train" else 1)
        elements += case.batch_size * _timesteps(case) * per_step
        need, free = elements * self.dtype.itemsize, device.free_memory(self.device)
        if need > free:
            raise TooLargeError(
                f"refused: parameters, input and output alone need {units.show(need, 'B')},"
                f" {units.show(free, 'B')} are free"
            )

    def provenance(self) -> dict[str, Any]:
        """Facts about this workload, as columns of `records.SCHEMA`."""
        return {
            "kernel": self.kernel,
            "looped": self.looped,
            "width": self.sizes.hidden_size,
            "match_deviation": self.match.deviation,
            **({"extrapolated": self.match.extrapolated} if self.case.match == "flops" else {}),
            "output_size": self.output_size,
            **({"stream": self.stream.method} if self.stream is not None else {}),
            **self._engine_facts(),
        }

    def _engine_facts(self) -> dict[str, Any]:
        if self.prepared is None:
            return {}
        return {
            "engine_version": self.prepared.version,
            "engine_threads": self.prepared.threads,
            "preparation": self.prepared.preparation,
            **self._precision,
        }


def _timesteps(case: Case) -> int:
    """Timesteps of a step's input."""
    return case.chunk if case.mode == "stream" else case.seq_len


def _require_compatible(case: Case) -> None:
    """Raise `Unsupported` where the values of a stream's axes do not go together."""
    if case.mode != "stream":
        if case.chunk != 1:
            raise Unsupported(f"chunk={case.chunk} applies to mode stream, not to {case.mode}")
        return
    if case.bidirectional:
        raise Unsupported("a bidirectional model needs the whole sequence and cannot be streamed")
    if case.engine != "eager":
        raise Unsupported(f"engine {case.engine} runs whole sequences; streams run in eager")
    if case.seq_len == 1:
        raise Unsupported(
            "seq_len=1 in mode stream is a model whose outputs see one timestep; seq_len is the"
            " field to cover, and chunk the timesteps of a call"
        )
    if case.chunk > case.seq_len:
        raise Unsupported(
            f"chunk={case.chunk} is above seq_len={case.seq_len}, the field to cover: a call would"
            " feed more than an output has to see"
        )


@functools.lru_cache(maxsize=1)
def prepare(case: Case, field_of: FieldOf = lambda *_: None) -> Workload:
    """The workload of a case; asking again for the last one returns the same objects."""
    return Workload(case, field_of)
