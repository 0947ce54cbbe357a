"""The benchmark classes of the study that the environment names, for asv.

They lie in the package, and not among the results, so that nothing is executed from there.
"""

from benchsuite.sweep import suite

globals().update(suite.benchmark_classes(__file__))
