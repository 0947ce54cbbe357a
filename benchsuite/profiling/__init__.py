"""Where the time and memory of one case go: traces, and their explanation.

`trace_case`, `recorder`, `ranges`, `pace` and `allocations` run a case and need torch; the other
modules read files without it.
"""
