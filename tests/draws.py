"""Random numbers of tests: the same in every run, and drawn from nothing global."""

import torch


def generator(seed=0):
    """A new source of random numbers."""
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0, dtype=torch.float64):
    """Normal numbers of a shape."""
    return torch.randn(*shape, generator=generator(seed), dtype=dtype)
