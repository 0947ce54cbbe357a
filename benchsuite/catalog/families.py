"""The families: what kinds of model are compared with each other, one line each."""

from __future__ import annotations

from dataclasses import dataclass

from benchsuite.catalog.registry import Registry


@dataclass(frozen=True, slots=True)
class FamilySpec:
    """A kind of model.

    Attributes:
        name: An adjective, the value of `ModelSpec.family` and of the records' column `family`.
        noun: Its best model in sentences, such as "recurrence".
        summary: One line on what its models have in common.
        colour: Of the family as a whole, `#rrggbb`; each model has another.
        marker: One character that stands for it on the page.
        dashed: Whether lines over the lag are dashed; those of convolutions are combs of single
            lags, which could not be read dashed.
        unbounded: Whether an output depends on the whole past, so that no field has to be measured.
        unrolls: Whether a library may run a whole layer of it in one call that Python would
            otherwise unroll timestep by timestep; unrolled models are also compared separately.
        compared: Whether its best model competes with those of other families.
    """

    name: str
    noun: str
    summary: str
    colour: str
    marker: str
    dashed: bool = False
    unbounded: bool = False
    unrolls: bool = False
    compared: bool = True


#: Family of a model whose family is not known.
OUTSIDE = "outside"

#: In the order in which pairs of them are named.
FAMILIES = Registry(
    "family",
    [
        FamilySpec(
            "recurrent",
            "recurrence",
            "a state is updated timestep by timestep through a nonlinear function",
            "#0072B2",
            "●",
            dashed=True,
            unbounded=True,
            unrolls=True,
        ),
        FamilySpec(
            "linear",
            "linear recurrence",
            "a state is updated by a linear function, so that a scan can do many timesteps at once",
            "#009E73",
            "◆",
            dashed=True,
            unbounded=True,
        ),
        FamilySpec(
            "convolutional",
            "convolution",
            "an output depends on a fixed number of timesteps",
            "#D55E00",
            "■",
        ),
        FamilySpec(
            OUTSIDE,
            "model of an unknown family",
            "neither built in, nor named by its study, nor was its receptive field measured",
            "#4D4D4D",
            "○",
            dashed=True,
            compared=False,
        ),
    ],
)


def compared() -> list[FamilySpec]:
    """The families whose best models compete with each other."""
    return [family for family in FAMILIES if family.compared]


def family_of_field(*, unbounded: bool) -> str:
    """The family of a model of which only the receptive field is known.

    Args:
        unbounded: Whether the field grows with the sequence.

    Returns:
        The first family of the table whose models have such a field.
    """
    return next(family.name for family in compared() if family.unbounded == unbounded)
