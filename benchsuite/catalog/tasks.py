"""The tasks: every sequence problem is one line of data here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchsuite.catalog.registry import Registry, resolve


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A sequence problem: its data, its loss, and the baselines that a model has to beat.

    Attributes:
        name: What people type; `<name>_error` is its measure.
        version: That of the measure; raise it when data, loss or recipe change.
        target: `module:factory`; the factory is called with `seq_len, batch_size, seed` and the
            task's options.
        summary: One line on what it is, known flaws included.
        axes: What the task sets of a case where nobody else does.
        options: Name → meaning of what else may be set; whole numbers, all with a default.
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
            "PyTorch's time_sequence_prediction to the letter; its test rows leak, and its one"
            " frequency needs two samples of memory",
            {"seq_len": 999, "batch_size": 97, "hidden_size": 51, "num_layers": 2}
            | {"dtype": "float64"},
        ),
        TaskSpec(
            "sine_mix",
            "1",
            f"{_T}.sine_mix:sine_mix",
            "next step of a sum of sines whose periods and phases are new in every row",
            {"seq_len": 256, "batch_size": 32},
            {"waves": "sines in each row (default: 3)"},
        ),
        TaskSpec(
            "adding",
            "1",
            f"{_T}.adding:adding",
            "sum of two marked numbers among noise, told at the end",
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
            "white noise, repeated lag steps later: the probe of a receptive field in use",
            {"seq_len": 256, "batch_size": 32},
            {"lag": "steps of delay (default: half of seq_len)"},
        ),
    ],
)
