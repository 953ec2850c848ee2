"""Counts with their nouns, as messages have them: 1 row, 2 rows."""

from __future__ import annotations


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun.

    Args:
        number: How many.
        noun: For one; it may come with other words, as in "closed question" and "row is".
        plural: For any other number; the noun with an s if not given.

    Example:
        >>> count_of(1, "row"), count_of(0, "row"), count_of(1200, "person is", "people are")
        ('1 row', '0 rows', '1,200 people are')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
