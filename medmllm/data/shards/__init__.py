"""Data sets too large for memory: shards with an index, read in a shuffled order that needs no state."""
