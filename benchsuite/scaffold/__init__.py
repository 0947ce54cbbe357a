"""A repository's own benchmarks."""
