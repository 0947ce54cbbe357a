"""Tasks: data, error, baselines and recipe of a sequence problem."""
