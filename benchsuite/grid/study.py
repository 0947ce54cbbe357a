"""Studies: a named set of axes, measures and time limits."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomli_w

from benchsuite.catalog.families import compared
from benchsuite.catalog.measures import MEASURES
from benchsuite.catalog.models import MACHINE, MODELS
from benchsuite.errors import UsageError, quoted, unknown
from benchsuite.grid.axes import AXES, Value
from benchsuite.grid.case import DEFAULTS, Case, id_part

#: Parameters that every study shows to asv, so that results of different ones never mix there.
#: The model comes last and so changes fastest: what is compared is measured side by side.
CORE_AXES = (
    "mode",
    "device",
    "batch_size",
    "hidden_size",
    "seq_len",
    "dtype",
    "num_threads",
    "model",
)
#: The axes that a measure of the machine varies with; a case of it has the rest as they are here.
_MACHINE_AXES = ("device", "dtype", "num_threads")
_NO_MODEL: dict[str, Value] = {"model": MACHINE, "seq_len": 1, "batch_size": 1, "hidden_size": 1}
MAX_MEASUREMENTS = 200_000
_LONGEST_NAME = 120
#: Most values of an axis that a message lists.
_MOST_LISTED = 20
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.+=,-]{{0,{_LONGEST_NAME - 1}}}")


@dataclass(frozen=True, slots=True)
class Budget:
    """Time limits of a measurement of one case, in seconds.

    Attributes:
        min_run_time: Minimum timing time.
        max_run_time: … and at most so long, where the samples do not settle before.
        warmup: The device is kept busy so long before timing (CUDA: at least 0.5).
        timeout: The case is given up after so long, set-up included.
    """

    min_run_time: float = 0.2
    max_run_time: float = 2.0
    warmup: float = 0.0
    timeout: float = 120.0

    def __post_init__(self) -> None:
        for name in BUDGET_KEYS:
            value = getattr(self, name)
            good = isinstance(value, int | float) and 0 <= value <= 86_400  # NaN is neither
            if not good or (value == 0 and name != "warmup"):
                raise UsageError(f"{name} = {quoted(value)} is not allowed; seconds, up to 86400")
        if self.max_run_time < self.min_run_time:
            raise UsageError(
                f"max_run_time = {self.max_run_time} is below min_run_time = {self.min_run_time}"
            )


#: Keys of a study file that are time limits.
BUDGET_KEYS = tuple(f.name for f in dataclasses.fields(Budget))


@dataclass(frozen=True, slots=True)
class Study:
    """A grid of cases, what is measured of each, and for how long.

    Attributes:
        name: Names the study's results; letters, digits and `_ . + = , -`.
        axes: Values per axis; axes left out have their default.
        measures: Names from the registry.
        budget: Seconds per measurement.
        description: One line.
        only: Measure → axes → the values at which it is measured, for measures too expensive for
            the whole grid; some of the study's values.
        families: Model from outside → family, for those whose family the receptive field does not
            show or is not measured.
    """

    name: str
    axes: Mapping[str, tuple[Value, ...]]
    measures: tuple[str, ...]
    budget: Budget = field(default_factory=Budget)
    description: str = ""
    only: Mapping[str, Mapping[str, tuple[Value, ...]]] = field(default_factory=dict)
    families: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"study name {self.name[:130]!r} is not allowed; letters, digits and _.+=,- only,"
                f" at most {_LONGEST_NAME}, starting with a letter or digit (see --name)"
            )
        if not self.measures:
            raise UsageError(
                f"study {self.name!r} measures nothing; see `benchsuite list measures`"
            )
        for measure in self.measures:
            MEASURES.get(measure)
        if "model" not in self.axes:
            raise UsageError(f"study {self.name!r} names no model; add -a model=… or [axes] model")
        for model in self.axes["model"]:
            MODELS.get(str(model))
        for measure, axes in self.only.items():
            if measure not in self.measures:
                raise unknown("measure under [only]", measure, self.measures)
            for name, values in axes.items():
                own = self.axes[name] if name in self.axes else (_default(name),)
                for value in values:
                    if value not in own:
                        listed = ", ".join(map(str, own[:_MOST_LISTED]))
                        more = ", …" * (len(own) > _MOST_LISTED)
                        raise UsageError(
                            f"study {self.name!r} measures {measure} only at {name}={value}, which"
                            f" is not among its own: {listed}{more}"
                        )
        for model, family in self.families.items():
            _check_family(model, family, f"study {self.name!r}: [families]")
        if self.size * len(self.measures) > MAX_MEASUREMENTS:
            raise UsageError(
                f"study {self.name!r} has {self.size:,} cases × {len(self.measures)} measures; at"
                f" most {MAX_MEASUREMENTS:,} measurements are allowed: narrow an axis with -a"
            )

    @property
    def size(self) -> int:
        """Number of grid points."""
        return math.prod(len(values) for values in self.axes.values())

    @property
    def params(self) -> dict[str, tuple[Value, ...]]:
        """The axes that asv gets as parameters: the core ones, and all that vary."""
        varying = [name for name, values in self.axes.items() if len(values) > 1]
        names = dict.fromkeys([name for name in varying if name not in CORE_AXES])
        names.update(dict.fromkeys(CORE_AXES))
        return {name: self.axes[name] if name in self.axes else (_default(name),) for name in names}

    def case(self, point: Sequence[Value]) -> Case:
        """The case at one point of `params`."""
        values: dict[str, Any] = {name: values[0] for name, values in self.axes.items()}
        values.update(zip(self.params, point, strict=True))
        if values["model"] == MACHINE:
            own = {name: values[name] for name in _MACHINE_AXES if name in values}
            return Case(**{**_NO_MODEL, **own})
        return Case(**values)

    def params_of(self, measure: str) -> dict[str, tuple[Value, ...]]:
        """`params`, narrowed to where that measure is measured."""
        if MEASURES.get(measure).of_machine:
            return {
                name: values if name in _MACHINE_AXES else (_NO_MODEL.get(name, values[0]),)
                for name, values in self.params.items()
            }
        only = self.only.get(measure, {})  # an axis of one value may not be among the parameters
        return {name: only.get(name, values) for name, values in self.params.items()}

    def cases(self, measure: str | None = None) -> list[Case]:
        """All cases (of one measure), in asv's order (the product of `params`, last fastest)."""
        params = self.params if measure is None else self.params_of(measure)
        return [self.case(point) for point in itertools.product(*params.values())]

    def case_ids(self, measure: str) -> Iterator[tuple[str, str]]:
        """Id and model of each of `cases(measure)`, without making the cases.

        A study may have 200,000 of them, and a case checks its values again.
        """
        if MEASURES.get(measure).of_machine:
            yield from ((case.id, MACHINE) for case in self.cases(measure))
            return
        params = self.params_of(measure)
        fixed = {name: values[0] for name, values in self.axes.items()}
        every: dict[str, Any] = {
            name: params.get(name, (fixed.get(name, DEFAULTS[name]),)) for name in AXES
        }
        place = {name: index for index, name in enumerate(params)}
        # Of each axis: where its value is in a point, and the part of the id for each value.
        parts = [
            (place.get(name, -1), {value: id_part(axis, value) for value in every[name]})
            for name, axis in AXES.items()
            if name != "input_size"
        ]
        hidden, model = place["hidden_size"], place["model"]
        before = list(AXES).index("input_size")
        inputs = place.get("input_size")
        for point in itertools.product(*params.values()):
            texts = [of[point[at] if at >= 0 else next(iter(of))] for at, of in parts]
            size = fixed.get("input_size", 0) if inputs is None else point[inputs]
            if size and size != point[hidden]:
                texts.insert(before, f"{AXES['input_size'].short}{size}")
            yield "-".join(filter(None, texts)), str(point[model])

    def derive(
        self,
        axes: Mapping[str, Sequence[Value]],
        *,
        measures: Sequence[str] = (),
        name: str | None = None,
    ) -> Study:
        """A study with some axes or measures replaced, and another name.

        What is measured only at some values of an axis stays with those that are still there, or
        else with the axis' first.
        Without `name` it is called after what was changed, so that the same command finds its
        results again and another one never overwrites them.
        """
        changed = {key: tuple(values) for key, values in axes.items()}
        if name is None:
            parts = [f"{key}={','.join(map(str, values))}" for key, values in changed.items()]
            parts += [f"measure={','.join(measures)}"] if measures else []
            name = "+".join([self.name, *parts]).replace(":", ".")
            if len(name) > _LONGEST_NAME:
                digest = hashlib.sha256(name.encode()).hexdigest()[:12]
                name = f"{name[: _LONGEST_NAME - 13]}+{digest}"
        return dataclasses.replace(
            self,
            name=name,
            axes={**self.axes, **changed},
            measures=(kept := tuple(measures) or self.measures),
            only={
                measure: {key: _kept(values, changed.get(key)) for key, values in only.items()}
                for measure, only in self.only.items()
                if measure in kept
            },
        )

    def with_device(self, device: str) -> Study:
        """The study with `auto` replaced by the device it stands for."""
        values = self.axes.get("device", ("auto",))
        resolved = dict.fromkeys(device if value == "auto" else str(value) for value in values)
        return dataclasses.replace(self, axes={**self.axes, "device": tuple(resolved)})

    def to_toml(self) -> str:
        """The study as the text of a study file."""
        return tomli_w.dumps(
            {
                "name": self.name,
                "description": self.description,
                "measures": list(self.measures),
                **{key: getattr(self.budget, key) for key in BUDGET_KEYS},
                "axes": {key: list(values) for key, values in self.axes.items()},
                "only": {
                    measure: {key: list(values) for key, values in axes.items()}
                    for measure, axes in self.only.items()
                },
                "families": dict(self.families),
            }
        )


def _check_family(model: str, family: object, where: str) -> None:
    if model in MODELS.names():
        raise UsageError(
            f"{where} {model} = {quoted(family)}: {model} is built in, and its family is"
            f" {MODELS.get(model).family}; name models from outside only"
        )
    allowed = [spec.name for spec in compared()]
    if family not in allowed:
        raise unknown(f"family of {quoted(model)} under [families]", str(family), allowed)


def _kept(values: tuple[Value, ...], changed: tuple[Value, ...] | None) -> tuple[Value, ...]:
    """The values that a changed axis still has; if it has none of them, its first value."""
    if changed is None:
        return values
    return tuple(value for value in values if value in changed) or changed[:1]


def _default(name: str) -> Value:
    value = "auto" if name == "device" else DEFAULTS[name]
    assert value is not None, f"every study names its {name}"
    return value
