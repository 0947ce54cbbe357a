"""Functions of the frame: choosing records, and what they say with how much certainty. No torch."""

from benchsuite.analysis.advice import Advice, Answer, advices, advise, validation
from benchsuite.analysis.comparison import Comparison, compare
from benchsuite.analysis.crossover import crossover_sentence, crossovers
from benchsuite.analysis.fastest import (
    families,
    families_of,
    family_of,
    fastest,
    field_of,
    parameters_of,
)
from benchsuite.analysis.laws import laws
from benchsuite.analysis.memory_lines import MemoryLine, fit_memory, memory_lines
from benchsuite.analysis.noise import (
    WITHIN,
    Noise,
    critical,
    floor,
    spread,
    spread_and_degrees,
    within,
    withins,
)
from benchsuite.analysis.pareto import CLEARLY, pareto
from benchsuite.analysis.roofline import bound_words, ceilings, roofline, roofline_words
from benchsuite.analysis.select import (
    HELD,
    LINE,
    UNBOUNDED,
    is_unbounded,
    is_unstable,
    measured,
    newest,
    problems,
    sequences,
    told_axes,
    told_axis,
)
from benchsuite.analysis.speedup import speedups
from benchsuite.analysis.surface import Surface, fit_surface
from benchsuite.analysis.verdict import Verdict, unrolled, verdict

__all__ = [
    "CLEARLY",
    "HELD",
    "LINE",
    "UNBOUNDED",
    "WITHIN",
    "Advice",
    "Answer",
    "Comparison",
    "MemoryLine",
    "Noise",
    "Surface",
    "Verdict",
    "advices",
    "advise",
    "bound_words",
    "ceilings",
    "compare",
    "critical",
    "crossover_sentence",
    "crossovers",
    "families",
    "families_of",
    "family_of",
    "fastest",
    "field_of",
    "fit_memory",
    "fit_surface",
    "floor",
    "is_unbounded",
    "is_unstable",
    "laws",
    "measured",
    "memory_lines",
    "newest",
    "parameters_of",
    "pareto",
    "problems",
    "roofline",
    "roofline_words",
    "sequences",
    "speedups",
    "spread",
    "spread_and_degrees",
    "told_axes",
    "told_axis",
    "unrolled",
    "validation",
    "verdict",
    "within",
    "withins",
]
