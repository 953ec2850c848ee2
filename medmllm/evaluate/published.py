r"""The metrics behind the published tables of medical visual question answering, as they were computed.

They are here so that a figure can be put beside those tables, not because they are good: a repeated word raises the
recall, "normal" answers "no", and what is called exact match is none. `medmllm.evaluate.strict` says what they miss.

Every function takes answers as people or models wrote them, and normalises both sides itself.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from medmllm.text.answers import NUMBERS

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
ARTICLES = {"a", "an", "the"}
_GROUPED = re.compile(r"\d,\d")  # 1,000
_FULL_STOP = re.compile(r"\.(?!\d)")
# Written without one of its apostrophes, each of these is put right.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _repairs() -> dict[str, str]:
    spots = [(whole, i) for whole in _CONTRACTIONS.split() for i, letter in enumerate(whole) if letter == "'"]
    return {whole[:i] + whole[i + 1 :]: whole for whole, i in spots} | {"somebody'd": "somebodyd"}


_REPAIRS = _repairs()


def normalise(text: str) -> str:
    """An answer in the normal form of VQA's evaluation.

    In this order: lower case; each sign of ``;/[]"{}()=+\\_-><@`,?!`` is deleted if it touches a space anywhere in the
    text, or if a comma stands between two digits anywhere, and else becomes a space; full stops that no digit follows
    are dropped; number words up to ten become digits; articles are dropped; contractions get their apostrophe back.

    References:
        Antol et al., "VQA: Visual Question Answering", ICCV 2015: its evaluation script.

    Example:
        >>> normalise("The T1-weighted image, isnt it?")
        "t1 weighted image isn't it"
        >>> normalise("T1-weighted - or T2-weighted")  # one hyphen touches a space, so every hyphen is deleted
        't1weighted or t2weighted'
    """
    text = text.lower()
    grouped = _GROUPED.search(text) is not None
    table = {ord(p): "" if grouped or f"{p} " in text or f" {p}" in text else " " for p in PUNCTUATION}
    words = _FULL_STOP.sub("", text.translate(table)).split()
    kept = [word for word in (NUMBERS.get(word, word) for word in words) if word not in ARTICLES]
    return " ".join(_REPAIRS.get(word, word) for word in kept)


class WordScores(NamedTuple):
    """Shares in [0, 1] of words in common."""

    recall: float
    precision: float
    f1: float


def word_scores(prediction: str, reference: str) -> WordScores:
    """Recall, precision and F1 of words; recall is what tables call the score of *open* questions.

    Over the distinct words of both answers: one that both have adds its count **in the prediction** to $tp$, one of the
    prediction alone its count to $fp$, one of the reference alone its count to $fn$. Recall is $tp / (tp + fn)$,
    precision $tp / (tp + fp)$, F1 their harmonic mean; all are 0 without a word in common.

    Example:
        >>> word_scores("left lung", "left upper lobe").recall
        0.3333333333333333
        >>> word_scores("left left left left", "left upper lobe").recall  # saying it four times doubles it
        0.6666666666666666
    """
    said, true = _counts(prediction), _counts(reference)
    tp = sum(count for word, count in said.items() if word in true)
    if not tp:
        return WordScores(0.0, 0.0, 0.0)
    recall = tp / (tp + sum(count for word, count in true.items() if word not in said))
    precision = tp / (tp + sum(count for word, count in said.items() if word not in true))
    return WordScores(recall, precision, 2 * precision * recall / (precision + recall))


def closed_hit(prediction: str, reference: str) -> float:
    """1 if the reference is a **substring** of the prediction, else 0: tables' accuracy of *closed* questions.

    Example:
        >>> closed_hit("Yes, it is.", "yes"), closed_hit("It looks normal.", "no"), closed_hit("active", "CT")
        (1.0, 1.0, 1.0)
    """
    return float(normalise(reference) in normalise(prediction))


def exact_match(prediction: str, reference: str) -> float:
    """The metric published as exact match: distinct reference words found, over all words of the prediction.

    Example:
        >>> exact_match("left lung", "left upper lobe"), exact_match("lobe", "left upper lobe")
        (0.5, 1.0)
    """
    said, true = _counts(prediction), _counts(reference)
    return sum(word in said for word in true) / said.total() if said else 0.0


def nearest_candidate(prediction: str, candidates: Sequence[str]) -> str:
    """The candidate answer with the largest share of its distinct words in the prediction; the first of equals.

    Raises:
        ValueError: there are no candidates.
    """
    said = set(_counts(prediction))
    if not candidates:
        raise ValueError("open accuracy needs at least one candidate answer")
    words = (set(_counts(candidate)) for candidate in candidates)
    shares = [len(said & known) / len(known) if known else 0.0 for known in words]
    return candidates[shares.index(max(shares))]


def open_accuracy(prediction: str, reference: str, candidates: Sequence[str]) -> float:
    """1 if the candidate nearest to the prediction is the reference, else 0.

    Example:
        >>> open_accuracy("in the left lung", "left lung", ["right lung", "left lung", "liver"])
        1.0
        >>> open_accuracy("nothing of the kind", "right lung", ["right lung", "left lung"])  # all are as far: the first
        1.0
    """
    return float(normalise(nearest_candidate(prediction, candidates)) == normalise(reference))


def pathvqa_closed(predictions: Sequence[str], references: Sequence[str]) -> float | None:
    """Closed accuracy by the script published with PathVQA: a wrong answer that says yes or no is **not counted**.

    None where nothing is counted. Never compare it with a figure that counts all questions.

    Example:
        >>> pathvqa_closed(["yes", "no", "no", "maybe"], ["yes", "yes", "yes", "yes"])  # 1 of 4, two of them forgotten
        0.5
    """
    said = [normalise(prediction) for prediction in predictions]
    hits = [normalise(true) in text for true, text in zip(references, said, strict=True)]
    decided = ["yes" in text or "no" in text for text in said]
    right = sum(hit for hit, clear in zip(hits, decided, strict=True) if clear)
    counted = right + decided.count(False)
    return right / counted if counted else None


def nearest_option(prediction: str, options: Sequence[str]) -> int:
    """Number of the option that is most like the prediction by the ratio of `difflib`; the first of equals.

    The rule of zero-shot classification (OmniMedVQA). Both texts are taken as they are, case included, and the option
    comes first: the ratio is not symmetric.

    Raises:
        ValueError: there are no options.

    Example:
        >>> nearest_option("It is a CT scan.", ["MRI", "CT", "X-ray"])
        1
    """
    if not options:
        raise ValueError("a choice needs at least one option")
    ratios = [difflib.SequenceMatcher(None, option, prediction).ratio() for option in options]
    return ratios.index(max(ratios))


def _counts(text: str) -> Counter[str]:
    return Counter(normalise(text).split())
