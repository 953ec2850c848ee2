"""What a training step takes: the variants of a step, on any size of model and any device."""
