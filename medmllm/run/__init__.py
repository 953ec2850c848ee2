"""A run on disk: its folder, its checkpoints, and who hears how it goes."""
