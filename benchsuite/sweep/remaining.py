"""Time that the rest of a run will take: guessed from each case's axes, corrected by what was seen.

asv takes one measure after the other, and their times differ a thousandfold: the pace of the
trainings that come first does not predict the counts that follow. Each measurement therefore has a
first guess in seconds, and the guesses of a group (measure, model, device) are scaled by the ratio
of the seconds seen to the seconds guessed. A group with few ended measurements is scaled mostly by
the ratio of its measure, and a measure without any by that of the device's other measures.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from benchsuite.catalog.measures import MEASURES, MeasureSpec
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.records import Key

#: First guesses for an ordinary CPU: seconds to fork, build and write; to measure a rate of the
#: machine; to call the operators of one timestep; and for one multiply-add of a product.
_PROCESS_SECONDS = 0.1
_MACHINE_SECONDS = 0.5
_TIMESTEP_SECONDS = 40e-6
_PRODUCT_SECONDS = 3e-11
#: Multiply-adds of a model per timestep, layer and sequence, in units of H².
_PRODUCTS = 8
#: Forward and backward together take about three times as long as forward.
_TRAIN_FACTOR = 3.0


@dataclass(slots=True)
class _Sums:
    """Guessed and seen seconds of the ended measurements of one group."""

    guessed: float = 0.0
    seen: float = 0.0
    count: int = 0

    def add(self, guessed: float, seen: float) -> None:
        self.guessed += guessed
        self.seen += seen
        self.count += 1

    def factor(self, prior: float) -> float:
        """Ratio of seen to guessed; `prior` counts as one more measurement of average size."""
        if not self.count:
            return prior
        mean = self.guessed / self.count
        return (self.seen + prior * mean) / (self.guessed + mean)


class Remaining:
    """Estimate of the seconds that the measurements not yet ended will take.

    Args:
        budget: The study's time limits.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._left: dict[Key, tuple[tuple[str, str, str], float]] = {}
        self._to_go: dict[tuple[str, str, str], float] = defaultdict(float)
        self._groups: dict[tuple[str, str, str], _Sums] = defaultdict(_Sums)
        self._measures: dict[tuple[str, str], _Sums] = defaultdict(_Sums)

    def add(self, wanted: Mapping[Key, tuple[Case, str]]) -> None:
        """Count measurements as not yet ended: key → case and name of the measure."""
        for key, (case, name) in wanted.items():
            group, seconds = _group(case, name), guess(case, MEASURES.get(name), self._budget)
            self._left[key] = group, seconds
            self._to_go[group] += seconds

    def ended(self, key: Key, seconds: float) -> None:
        """Count a measurement as ended after `seconds` on the clock; unknown keys are ignored."""
        measurement = self._left.pop(key, None)
        if measurement is None:
            return
        group, guessed = measurement
        self._to_go[group] -= guessed
        self._groups[group].add(guessed, seconds)
        self._measures[group[0], group[2]].add(guessed, seconds)

    def seconds(self) -> float:
        """The estimate; 0 if no measurement is left."""
        if not self._left:
            return 0.0
        by_device = {device: self._device_factor(device) for _, _, device in self._to_go}
        total = 0.0
        for group, guessed in self._to_go.items():
            measure, _, device = group
            of_measure = self._measures[measure, device].factor(by_device[device])
            total += guessed * self._groups[group].factor(of_measure)
        return max(total, 0.0)

    def _device_factor(self, device: str) -> float:
        """Geometric mean of the ratios of the measures seen and of one more whose ratio is 1."""
        measures = self._measures.items()
        factors = [sums.factor(1.0) for (_, other), sums in measures if other == device]
        return math.exp(sum(map(math.log, factors)) / (len(factors) + 1))


def _group(case: Case, measure: str) -> tuple[str, str, str]:
    return measure, case.model, case.device


def step_seconds(case: Case) -> float:
    """A first guess at the seconds of one step: calls per timestep, and products of T·B·H²."""
    timesteps = case.chunk if case.mode == "stream" else case.seq_len
    calls = timesteps * case.num_layers * _TIMESTEP_SECONDS
    products = timesteps * case.batch_size * case.hidden_size**2 * case.num_layers * _PRODUCTS
    seconds = calls + products * _PRODUCT_SECONDS
    return seconds * _TRAIN_FACTOR if case.mode == "train" else seconds


def guess(case: Case, spec: MeasureSpec, budget: Budget) -> float:
    """A first guess at the seconds of one measurement, including its process."""
    if spec.of_machine:
        return _PROCESS_SECONDS + _MACHINE_SECONDS
    seconds = spec.steps * step_seconds(case)
    if spec.unit == "s":  # timed until the samples settle, between these two limits
        seconds += math.sqrt(budget.min_run_time * budget.max_run_time) + budget.warmup
    return _PROCESS_SECONDS + min(seconds, budget.timeout)
