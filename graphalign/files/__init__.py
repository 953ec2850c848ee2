"""Embeddings from files, matched pairwise."""
