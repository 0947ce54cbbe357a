"""What asv runs: one class for each measure of the study in `study.toml`, beside this file."""

from benchsuite.sweep import suite

globals().update(suite.benchmark_classes(__file__))
