"""Ablations: a grid of runs, what they found, and how sure that is."""
