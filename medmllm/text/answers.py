"""When an answer counts as right, and how often each answer is given."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(value) for value, word in enumerate(_DIGITS)}
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


def count_answers(answers: Iterable[str]) -> Counter[str]:
    """How often each answer stands, as `same_answer` compares them, under its most frequent spelling.

    Answers without a word are counted as they are spelt. Of equally frequent spellings the first in the alphabet is
    taken.

    Example:
        >>> count_answers(["No", "no", "no.", "Yes", "No"])
        Counter({'No': 4, 'Yes': 1})
    """
    forms: dict[str, Counter[str]] = {}
    for answer in answers:
        forms.setdefault(" ".join(words(answer)) or answer, Counter())[answer] += 1
    counts: Counter[str] = Counter()
    for spellings in forms.values():
        counts[most_frequent(spellings)] += spellings.total()
    return counts


def most_frequent(counts: Counter[str]) -> str:
    """The answer that stands most often; of several the first in the alphabet."""
    return min(counts, key=lambda answer: (-counts[answer], answer))
