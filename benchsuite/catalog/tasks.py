"""Tasks: one entry of data for every sequence problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchsuite.catalog.registry import Registry, resolve


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A sequence problem: data, loss, and baselines that a model should beat.

    Attributes:
        name: The task's name; its measure is called `<name>_error`.
        version: Version of the measure; raise it when data, loss or recipe change.
        target: `module:factory`; the factory is called with `seq_len, batch_size, seed` and the
            task's options.
        summary: A description in one line, including known flaws.
        axes: Default values of axes, used unless others are given.
        options: Name of an option → meaning; options are whole numbers with a default.
    """

    name: str
    version: str
    target: str
    summary: str
    axes: Mapping[str, str | int]
    options: Mapping[str, str] = field(default_factory=dict)

    def factory(self) -> Callable[..., Any]:
        """Import the factory."""
        return resolve(self.target)  # type: ignore[no-any-return]


_T = "benchsuite.tasks"

TASKS = Registry(
    "task",
    [
        TaskSpec(
            "sine",
            "2",
            f"{_T}.sine:sine",
            "PyTorch's example time_sequence_prediction, unchanged; its test rows leak, and its"
            " single frequency needs a memory of only two samples",
            {"seq_len": 999, "batch_size": 97, "hidden_size": 51, "num_layers": 2}
            | {"dtype": "float64"},
        ),
        TaskSpec(
            "sine_mix",
            "1",
            f"{_T}.sine_mix:sine_mix",
            "predict the next step of a sum of sines with new periods and phases in every row",
            {"seq_len": 256, "batch_size": 32},
            {"waves": "sines in each row (default: 3)"},
        ),
        TaskSpec(
            "adding",
            "1",
            f"{_T}.adding:adding",
            "sum of two marked numbers among others, required at the last timestep",
            {"seq_len": 200, "batch_size": 32},
        ),
        TaskSpec(
            "copy",
            "1",
            f"{_T}.copy:copy",
            "repeat digits after a long blank",
            {"seq_len": 60, "batch_size": 32},
            {"digits": "digits to remember (default: 10)"},
        ),
        TaskSpec(
            "delay",
            "1",
            f"{_T}.delay:delay",
            "repeat white noise lag steps later: tests how far back a model uses its inputs",
            {"seq_len": 256, "batch_size": 32},
            {"lag": "steps of delay (default: half of seq_len)"},
        ),
    ],
)
