"""The measures: everything that is measured of a case is one line of data here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from benchsuite.catalog.registry import Registry, resolve
from benchsuite.catalog.tasks import TASKS

#: Modes that run a whole sequence, and all of them.
_SEQUENCES = ("infer", "train")
_ALL = (*_SEQUENCES, "stream")


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """Something measured of a case.

    Attributes:
        name: What people type, and the measure's name in the records.
        unit: Base unit of the value: "s", "B", "FLOP", "step", "ulp", "1", "FLOP/s" or "B/s".
        version: Raise it by hand when the meaning of the number changes. asv and the resuming of
            studies use it: cosmetic edits keep the history, and a new version begins another.
        direction: Which way is better.
        target: `module:function` with `function(workload, budget) -> Reading`.
        summary: One line on what it is.
        runs: Whether the model itself is run, so that its workload has to be built.
        of_machine: Whether it measures the machine and not a model: once per device, dtype and
            number of threads.
        task: The task that it trains on; empty for other measures.
        tolerance: Relative difference below which two counted values are the same: not zero where
            what is counted includes objects whose number depends on the process.
        of_calls: Whether its samples are single calls, so that their quantiles count.
        modes: The modes of a case that it applies to.
        steps: How often one measurement runs the case's step besides timing, roughly; the estimate
            of a run's duration begins with it.
    """

    name: str
    unit: str
    version: str
    direction: Literal["lower", "none"]
    target: str
    summary: str
    runs: bool = True
    of_machine: bool = False
    task: str = ""
    tolerance: float = 0.0
    of_calls: bool = False
    modes: tuple[str, ...] = _SEQUENCES
    steps: int = 3

    @property
    def log_tolerance(self) -> float:
        """The largest |log ratio| of two values that count as the same."""
        return math.log1p(self.tolerance)

    def function(self) -> Callable[..., Any]:
        """Import the function."""
        return resolve(self.target)  # type: ignore[no-any-return]


_MM = "benchsuite.measures"

MEASURES = Registry(
    "measure",
    [
        MeasureSpec(
            "latency",
            "s",
            "1",
            "lower",
            f"{_MM}.timing:latency",
            "wall time of one step of the case's mode",
        ),
        MeasureSpec(
            "step_latency",
            "s",
            "1",
            "lower",
            f"{_MM}.streaming:step_latency",
            "wall time of one call of a stream; every call is a sample",
            of_calls=True,
            modes=("stream",),
        ),
        MeasureSpec(
            "device_time",
            "s",
            "1",
            "lower",
            f"{_MM}.timing:device_time",
            "time of one step on the device's own clock (CUDA events)",
        ),
        MeasureSpec(
            "peak_memory",
            "B",
            "2",
            "lower",
            f"{_MM}.memory:peak_memory",
            "most memory that one step needs beyond parameters and input: on CPU of the heap,"
            " autograd's nodes and scratch included; on CUDA of the caching allocator",
            tolerance=0.01,
            modes=_ALL,
        ),
        MeasureSpec(
            "tensor_memory",
            "B",
            "1",
            "lower",
            f"{_MM}.memory:tensor_memory",
            "most memory that the tensors of one step hold beyond parameters and input, exactly",
            modes=_ALL,
        ),
        MeasureSpec(
            "saved_activations",
            "B",
            "1",
            "lower",
            f"{_MM}.memory:saved_activations",
            "memory that the forward pass keeps for the backward pass",
        ),
        MeasureSpec(
            "state_size",
            "B",
            "1",
            "lower",
            f"{_MM}.structure:state_size",
            "memory needed to continue a stream by one step",
            runs=False,
            steps=0,
            modes=_ALL,
        ),
        MeasureSpec(
            "parameters",
            "1",
            "1",
            "none",
            f"{_MM}.structure:parameters",
            "number of trainable parameters",
            runs=False,
            steps=0,
            modes=_ALL,
        ),
        MeasureSpec(
            "flops",
            "FLOP",
            "1",
            "none",
            f"{_MM}.structure:flops",
            "floating-point operations of one step (1 MAC = 2 FLOP), counted on the meta device",
            runs=False,
        ),
        MeasureSpec(
            "receptive_field",
            "step",
            "1",
            "none",
            f"{_MM}.field:receptive_field",
            "timesteps that an output may depend on",
            runs=False,
            modes=_ALL,
        ),
        MeasureSpec(
            "erf50",
            "step",
            "1",
            "none",
            f"{_MM}.field:erf50",
            "effective field: timesteps that hold half of the gradient norm before training",
            runs=False,
            modes=_ALL,
        ),
        MeasureSpec(
            "erf95",
            "step",
            "1",
            "none",
            f"{_MM}.field:erf95",
            "effective field: timesteps that hold 95 % of the gradient norm before training",
            runs=False,
            modes=_ALL,
        ),
        MeasureSpec(
            "numeric_error",
            "ulp",
            "1",
            "lower",
            f"{_MM}.numeric_error:numeric_error",
            "greatest rounding error of outputs, last state and, in mode train, gradients against a"
            " float64 Python loop with the same weights",
            tolerance=0.05,
        ),
        MeasureSpec(
            "iterations",
            "1",
            "1",
            "lower",
            f"{_MM}.iterations:iterations",
            "iterations that a model parallel in time takes until no state changes by more than 32"
            " ulp, and in mode train no gradient",
        ),
        MeasureSpec(
            "first_call",
            "s",
            "1",
            "lower",
            f"{_MM}.engine:first_call",
            "time from a built module to its first result: compiling, loading and one step",
            runs=False,
            steps=1,
            modes=_ALL,
        ),
        MeasureSpec(
            "compile_time",
            "s",
            "1",
            "lower",
            f"{_MM}.engine:compile_time",
            "time in which the engine compiles the module, or exports it",
            steps=1,
        ),
        MeasureSpec(
            "load_time",
            "s",
            "1",
            "lower",
            f"{_MM}.engine:load_time",
            "time in which the engine loads the exported model",
            steps=1,
        ),
        MeasureSpec(
            "artifact_size",
            "B",
            "1",
            "lower",
            f"{_MM}.engine:artifact_size",
            "size of the exported model",
            steps=1,
        ),
        *(
            MeasureSpec(
                f"{task.name}_error",
                "1",
                task.version,
                "lower",
                f"{_MM}.accuracy:{task.name}_error",
                f"error on unseen data after a short training: {task.summary}",
                runs=False,
                task=task.name,
                steps=300,
            )
            for task in TASKS
        ),
        MeasureSpec(
            "matmul_rate",
            "FLOP/s",
            "1",
            "none",
            f"{_MM}.machine:matmul_rate",
            "the machine's highest rate: a large matrix product (1 MAC = 2 FLOP)",
            runs=False,
            of_machine=True,
            modes=_ALL,
        ),
        MeasureSpec(
            "copy_bandwidth",
            "B/s",
            "1",
            "none",
            f"{_MM}.machine:copy_bandwidth",
            "the memory's highest rate: bytes read and written by a long copy",
            runs=False,
            of_machine=True,
            modes=_ALL,
        ),
    ],
)


def task_of(measure: str) -> str:
    """The task whose error a measure is; empty for other measures and unknown names."""
    return MEASURES.get(measure).task if measure in MEASURES.names() else ""
