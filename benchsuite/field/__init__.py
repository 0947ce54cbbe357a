"""Receptive fields: formula, structural probe, perturbation, and the effective field.

A lag k is a distance in timesteps: output t sees lag k if input t-k can change it. Lags below zero
are the future.
"""
