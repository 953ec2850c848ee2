"""`exgra match`: graphalign on embeddings that a person brings."""
