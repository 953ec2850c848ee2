"""Texts from outside: lines of JSON read as they are, and signs that other programs interpret."""
