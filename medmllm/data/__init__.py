"""Records, their sources, and the packed batches that training reads."""
