"""Measures: what is measured of a case."""
