"""The grid: axes, cases and studies."""
