"""When an answer counts as right."""

from __future__ import annotations

import re
import unicodedata

_ARTICLES = {"a", "an", "the"}
# Signs and points that belong to a number stay: "-5" is not "5", and "1.5" is not "15".
_PUNCTUATION = re.compile(r"[^\w\s.+-]|_|[.+-](?!\d)|(?<=\w)[+-]")


def normalise(text: str) -> str:
    """An answer without what does not matter: case, punctuation, articles, spacing.

    An answer that is nothing but articles (the option "A") keeps them.

    >>> normalise("The left lung.")
    'left lung'
    """
    words = _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).casefold()).split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def same_answer(prediction: str, reference: str) -> bool:
    """Whether both are the same answer after `normalise`. An empty prediction is never right."""
    answer = normalise(prediction)
    return answer != "" and answer == normalise(reference)
