"""The model: a stock LLaVA, its segment attention, and the packed pass over it."""
