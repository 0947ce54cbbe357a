"""Where the time and memory of one case go: traces, and what they say in words.

`record` and `memory` run a case and so need torch; the rest reads files and needs none.
"""
