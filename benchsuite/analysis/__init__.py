"""Functions of the frame: choosing records, and what they say with how much certainty. No torch."""

from benchsuite.analysis.advice import Advice, advise, validation
from benchsuite.analysis.comparison import Comparison, compare
from benchsuite.analysis.crossover import crossover_sentence, crossovers
from benchsuite.analysis.fastest import families, family_of, fastest, field_of
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
    LINE,
    UNBOUNDED,
    measured,
    newest,
    problems,
    told_axes,
    told_axis,
)
from benchsuite.analysis.speedup import speedups
from benchsuite.analysis.surface import Surface, fit_surface
from benchsuite.analysis.verdict import Verdict, unrolled, verdict

__all__ = [
    "CLEARLY",
    "LINE",
    "UNBOUNDED",
    "WITHIN",
    "Advice",
    "Comparison",
    "MemoryLine",
    "Noise",
    "Surface",
    "Verdict",
    "advise",
    "bound_words",
    "ceilings",
    "compare",
    "critical",
    "crossover_sentence",
    "crossovers",
    "families",
    "family_of",
    "fastest",
    "field_of",
    "fit_memory",
    "fit_surface",
    "floor",
    "laws",
    "measured",
    "memory_lines",
    "newest",
    "pareto",
    "problems",
    "roofline",
    "roofline_words",
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
