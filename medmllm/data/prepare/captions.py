"""Extended captions: the answer in other words, then further facts of the same picture, 40 to 60 words."""

from __future__ import annotations

from medmllm.data.prepare.anatomy import GENERAL
from medmllm.data.prepare.chance import pick, shuffled
from medmllm.data.prepare.pictures import Picture, Question

ENOUGH, LONGEST = 46, 60  # words

LEADS = {
    "plane": ("This is an image in the {answer} plane.", "The body is cut in the {answer} plane here."),
    "window": ("The display uses the {answer} window.", "Grey values are set for a {answer} window."),
    "level": (
        "Along the scan, this level belongs to the {answer} third.",
        "The scan's {answer} third holds this level.",
    ),
    "tissue": (
        "Inside the body outline {answer} covers the most area.",
        "By area {answer} comes first in this section.",
    ),
    "largest structure": (
        "No outlined structure here is larger than the {answer}.",
        "The {answer} has the largest outlined area.",
    ),
    "marker": ("The middle of the white box is on the {answer}.", "A white box points out the {answer}."),
    "side": (
        "Seen in the picture, the {about} is to the {answer}.",
        "The {about} appears at the {answer} of the picture.",
    ),
    "cause": ("Physicians labelled this film as {answer}.", "The reading of this film is {answer}."),
    "larger lung": (
        "The lung field at the {answer} of the picture covers more area.",
        "Of both lung fields the {answer} one is larger.",
    ),
}
YES_NO_LEADS = {
    ("organ present", "yes"): ("The {about} can be seen in this cut.", "Part of the {about} is in this slice."),
    ("organ present", "no"): ("This cut does not reach the {about}.", "The {about} is outside this slice."),
    ("pneumonia", "yes"): (
        "Physicians read this film as pneumonia.",
        "This child has pneumonia by the physicians' reading.",
    ),
    ("pneumonia", "no"): (
        "Physicians read this film as free of pneumonia.",
        "By the physicians' reading this film is normal.",
    ),
    ("mirrored", "yes"): ("Left and right of this film are swapped.", "The film is shown as its mirror image."),
    ("mirrored", "no"): ("Left and right of this film are as they were taken.", "The film is shown without mirroring."),
}

# Topics of facts that a lead sentence has said already, beside the question's own kind.
SAID = {
    ("pneumonia", "no"): ("label",),
    **{("cause", label): ("label",) for label in ("normal", "bacterial pneumonia", "viral pneumonia")},
}
LAST = ("quarter", "grey")  # measured on the pixels alone: told after what is known of the anatomy


def word_count(text: str) -> int:
    """Number of words."""
    return len(text.split())


def lead(question: Question, *key: object) -> str:
    """The answer in other words than `questions.sentence` uses."""
    wordings = YES_NO_LEADS.get((question.kind, question.answer)) or LEADS[question.kind]
    return pick(wordings, *key, "lead").format(about=question.about, answer=question.answer)


def caption(picture: Picture, question: Question) -> str:
    """The extended caption of one record; picture and question alone decide its wording."""
    key = picture.name, question.kind, question.about
    said = {question.kind, *SAID.get((question.kind, question.answer), ())}
    facts = [fact for fact in shuffled(picture.facts, *key) if fact.topic not in said]
    facts.sort(key=lambda fact: fact.topic in LAST)
    general = [GENERAL[name] for name in shuffled(picture.general, *key)]
    sentences = [lead(question, *key)]
    for text in [*(pick(fact.wordings, *key, fact.topic) for fact in facts), *general]:
        length = word_count(" ".join(sentences))
        if length < ENOUGH and length + word_count(text) <= LONGEST:
            sentences.append(text)
    return " ".join(sentences)
