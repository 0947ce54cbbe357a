"""Kernels written in C, compiled on this machine on first use: see `compiler`."""
