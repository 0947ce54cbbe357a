"""Traces of one case, and explanations of where its time and memory go.

`trace_case`, `recorder`, `ranges`, `pace` and `allocations` run a case and need torch; the other
modules read files without it.
"""
