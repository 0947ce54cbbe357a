"""The benchmarks that asv runs: one class for each measure of the study, made from the registry."""

from benchsuite.sweep import suite

globals().update(suite.benchmark_classes(__file__))
