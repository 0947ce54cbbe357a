"""Sweeps: asv runs the benchmark classes over a study, and `driver` runs asv."""
