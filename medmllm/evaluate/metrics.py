"""When an answer counts as right."""

from __future__ import annotations

import re
import unicodedata

from medmllm.evaluate.published import NUMBERS

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


def words(text: str) -> list[str]:
    """Words of an answer in the normal form of `normalise`, numbers up to ten as digits.

    Unlike the published form it keeps the sign and the point of a number, and no sign elsewhere in the text changes
    what becomes of a word.

    Example:
        >>> words("Two nodules - T1-weighted, -5 HU.")
        ['2', 'nodules', 't1', 'weighted', '-5', 'hu']
    """
    return [NUMBERS.get(word, word) for word in normalise(text).split()]


def same_answer(prediction: str, reference: str) -> bool:
    """Whether both are the same words in the same order; an empty prediction is never right.

    Example:
        >>> same_answer("Two nodules.", "the 2 nodules"), same_answer("", "")
        (True, False)
    """
    said = words(prediction)
    return bool(said) and said == words(reference)
