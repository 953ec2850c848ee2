"""Metrics that mean what they are called: whole words, each counted once, and an empty answer scores 0.

Beside each published figure (`medmllm.evaluate.published`) stands one of these. An answer that is empty, failed or a
refusal scores 0 and stays in the denominator.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

from medmllm.evaluate.published import WordScores
from medmllm.text.answers import same_answer, words

YES_NO = {"yes", "no"}
# Right before a closed answer they take it back: "not CT", "isn't CT" (whose last piece is "t"), "MRI or CT".
_DENIALS = {"no", "not", "non", "t", "isnt", "without", "neither", "nor", "never", "or"}
# What systems say instead of an answer. "There is no ..." is an answer, so none of these begins with a bare "no".
_REFUSAL = re.compile(
    r"^(?:i am|i'm|im) (?:sorry|unable|not able)|^sorry\b|^as an ai\b|^i (?:can ?not|can't|cant|do not|don't|dont) "
    r"(?:know|tell|say|see|answer|determine|assist|help|provide|view|interpret|diagnose)|^i have no idea"
    r"|(?:can ?not|can't|cannot|unable to|not possible to) (?:be )?(?:determined?|answer(?:ed)?|assessed?|tell|say)\b"
    r"|^(?:unknown|unanswerable|n ?/ ?a|not sure|no answer|uncertain|i refuse)\W*$"
)


def is_refusal(prediction: str) -> bool:
    """Whether a text gives no answer: it is empty, or says that it cannot tell.

    By patterns of English phrases: some refusals will be missed, so read the share that is reported as a lower bound.

    Example:
        >>> is_refusal(""), is_refusal("I'm sorry, I cannot see any image."), is_refusal("No.")
        (True, True, False)
    """
    text = " ".join(prediction.casefold().replace("’", "'").split())
    return not words(prediction) or _REFUSAL.search(text) is not None


def closed_hit(prediction: str, reference: str) -> float:
    """1 if the prediction gives the reference and nothing against it, else 0: accuracy of closed questions.

    For *yes* and *no*, exactly the right one must be in it as a word. Any other reference must be in it as whole
    words in a row, without a denial right before and without an "or" beside it. A refusal is wrong whatever it says.

    Example:
        >>> [closed_hit("Yes, it is.", "yes"), closed_hit("It looks normal.", "no"), closed_hit("active", "CT")]
        [1.0, 0.0, 0.0]
        >>> [closed_hit("yes and no", "yes"), closed_hit("yes and no", "no"), closed_hit("CT or MRI", "CT")]
        [0.0, 0.0, 0.0]
    """
    said, true = words(prediction), words(reference)
    if not true or (is_refusal(prediction) and not is_refusal(reference)):
        return 0.0
    if len(true) == 1 and true[0] in YES_NO:
        return float(YES_NO.intersection(said) == set(true))
    spots = [i for i in range(len(said)) if said[i : i + len(true)] == true]
    taken_back = any({*said[max(0, i - 1) : i]} & _DENIALS or "or" in said[i + len(true) :][:1] for i in spots)
    return float(bool(spots) and not taken_back)


def word_scores(prediction: str, reference: str) -> WordScores:
    """Recall, precision and F1 of **distinct** words: saying a word again changes nothing.

    Example:
        >>> word_scores("left left left left", "left upper lobe").recall
        0.3333333333333333
    """
    said, true = set(words(prediction)), set(words(reference))
    both = len(said & true)
    if not both or (is_refusal(prediction) and not is_refusal(reference)):
        return WordScores(0.0, 0.0, 0.0)
    return WordScores(both / len(true), both / len(said), 2 * both / (len(said) + len(true)))


def exact_match(prediction: str, reference: str) -> float:
    """1 if both are the same words in the same order, else 0.

    Example:
        >>> exact_match("The left lung.", "left lung"), exact_match("lung, left", "left lung"), exact_match("", "")
        (1.0, 0.0, 0.0)
    """
    return float(same_answer(prediction, reference))


def bleu(prediction: str, reference: str, order: int = 4) -> float:
    r"""Sentence BLEU without smoothing: $\min(1, e^{1 - r/c}) \, (\prod_{n \le N} p_n)^{1/N}$.

    $p_n$ is the clipped precision of n-grams, $c$ and $r$ the words of prediction and reference. It is 0 as soon as one
    order has nothing in common, so with `order=4` nearly every answer of a few words scores 0: BLEU-1 says more there.

    References:
        Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002, equation 3.

    Example:
        >>> bleu("left upper lung", "left upper lobe", order=1)
        0.6666666666666666
    """
    said, true = words(prediction), words(reference)
    shares = [_clipped(said, true, n) for n in range(1, order + 1)]
    if not said or not true or min(shares) == 0:
        return 0.0
    brevity = min(0.0, 1 - len(true) / len(said))
    return math.exp(brevity + math.fsum(map(math.log, shares)) / order)


def _clipped(said: Sequence[str], true: Sequence[str], n: int) -> float:
    grams, known = (Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (said, true))
    return (grams & known).total() / grams.total() if grams else 0.0
