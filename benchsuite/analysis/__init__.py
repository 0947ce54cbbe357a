"""Functions of the frame: selection, noise, laws, comparisons and advice. No torch."""

from benchsuite.analysis.advice import Advice, advices, advise
from benchsuite.analysis.answer import Answer
from benchsuite.analysis.comparison import Comparison, compare
from benchsuite.analysis.crossover import crossover_sentence, crossovers
from benchsuite.analysis.executions import (
    ERROR,
    execution_crossings,
    execution_words,
    executions,
    fastest_executions,
)
from benchsuite.analysis.fastest import family_crossovers, fastest
from benchsuite.analysis.laws import laws
from benchsuite.analysis.memory_lines import MemoryLine, fit_memory, memory_lines
from benchsuite.analysis.model_facts import (
    executed,
    families_of,
    family_of,
    field_of,
    parameters_of,
)
from benchsuite.analysis.noise import (
    WITHIN,
    Noise,
    critical,
    floor,
    median_error,
    median_errors,
    noise_columns,
    spread,
    spread_and_degrees,
)
from benchsuite.analysis.pareto import CLEARLY, pareto
from benchsuite.analysis.prediction import validation
from benchsuite.analysis.roofline import (
    bound_words,
    ceilings,
    model_words,
    roofline,
    roofline_words,
)
from benchsuite.analysis.select import (
    HELD,
    LINE,
    SHAPE,
    UNBOUNDED,
    UNSTABLE,
    axes_to_name,
    axis_words,
    is_unbounded,
    is_unstable,
    match_words,
    measured,
    newest,
    newest_rows,
    problems,
    sequences,
    unbounded_models,
    where,
    without_repeats,
)
from benchsuite.analysis.speedup import REFERENCE, reference_of, speedups
from benchsuite.analysis.surface import Surface, fit_surface
from benchsuite.analysis.verdict import Verdict, unrolled, unrolled_sentences, verdict

__all__ = [
    "CLEARLY",
    "ERROR",
    "HELD",
    "LINE",
    "REFERENCE",
    "SHAPE",
    "UNBOUNDED",
    "UNSTABLE",
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
    "axes_to_name",
    "axis_words",
    "bound_words",
    "ceilings",
    "compare",
    "critical",
    "crossover_sentence",
    "crossovers",
    "executed",
    "execution_crossings",
    "execution_words",
    "executions",
    "families_of",
    "family_crossovers",
    "family_of",
    "fastest",
    "fastest_executions",
    "field_of",
    "fit_memory",
    "fit_surface",
    "floor",
    "is_unbounded",
    "is_unstable",
    "laws",
    "match_words",
    "measured",
    "median_error",
    "median_errors",
    "memory_lines",
    "model_words",
    "newest",
    "newest_rows",
    "noise_columns",
    "parameters_of",
    "pareto",
    "problems",
    "reference_of",
    "roofline",
    "roofline_words",
    "sequences",
    "speedups",
    "spread",
    "spread_and_degrees",
    "unbounded_models",
    "unrolled",
    "unrolled_sentences",
    "validation",
    "verdict",
    "where",
    "without_repeats",
]
