"""asv's view of the suite: one class per measure of the study, made from the registry.

Plain `asv run` measures the study `tracked`; `BENCHSUITE_STUDY` names another one.
"""

from benchsuite.sweep import suite

globals().update(suite.benchmark_classes(__file__))
