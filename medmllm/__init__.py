"""Medical vision-language training with multi-graph alignment."""
