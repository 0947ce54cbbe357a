"""Files that add benchmarks to another repository."""
