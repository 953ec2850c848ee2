"""Checks of a data set: images, copies, leaks between splits, lengths."""
