"""Sweeps: `driver` starts asv, which runs the benchmark classes of `suite` over a study."""
