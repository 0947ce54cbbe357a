"""Functions of the frame: choosing records, and what they say with how much certainty. No torch."""

from benchsuite.analysis.advice import Advice, advise
from benchsuite.analysis.comparison import Comparison, compare
from benchsuite.analysis.crossover import crossover_sentence, crossover_surface, crossovers
from benchsuite.analysis.laws import Law, fit_law, laws
from benchsuite.analysis.memory import MemoryLine, fit_memory, memory_lines
from benchsuite.analysis.noise import Noise, floor, spread, within
from benchsuite.analysis.scaling import PowerFit, fit_power, scaling
from benchsuite.analysis.select import LINE, measured, newest, problems, told_axis
from benchsuite.analysis.surface import Surface, fit_surface
from benchsuite.analysis.verdict import Verdict, unrolled, verdict

__all__ = [
    "LINE",
    "Advice",
    "Comparison",
    "Law",
    "MemoryLine",
    "Noise",
    "PowerFit",
    "Surface",
    "Verdict",
    "advise",
    "compare",
    "crossover_sentence",
    "crossover_surface",
    "crossovers",
    "fit_law",
    "fit_memory",
    "fit_power",
    "fit_surface",
    "floor",
    "laws",
    "measured",
    "memory_lines",
    "newest",
    "problems",
    "scaling",
    "spread",
    "told_axis",
    "unrolled",
    "verdict",
    "within",
]
