"""Time and memory of a training step: its variants, on any size of model and any device."""
