"""What a model can see and what it looks at: formula, structural probe, effective field.

A lag k is a distance in timesteps: output t sees lag k if input t-k can change it. Lags below zero
are the future.
"""
