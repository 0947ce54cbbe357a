"""The benchmarks that asv runs for `benchsuite run`."""
