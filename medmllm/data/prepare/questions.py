"""Wording of questions and of answers as full sentences."""

from __future__ import annotations

from medmllm.data.prepare.pictures import Question

QUESTIONS = {
    "plane": (
        "In which plane does this slice lie?",
        "Which anatomical plane does the picture show?",
        "Is this cut axial, coronal or sagittal?",
    ),
    "window": (
        "Which display window was used for this slice?",
        "Is this slice shown in a soft tissue, lung or bone window?",
    ),
    "level": (
        "From which third of the scanned range does this slice come?",
        "Does this slice come from the lower, middle or upper third of the scan?",
    ),
    "tissue": (
        "What fills the largest share of the body section?",
        "Does air, fat, soft tissue or bone fill the largest share of the body section?",
    ),
    "largest structure": (
        "Which outlined structure is the largest in this slice?",
        "What is the largest organ, muscle or bone of this slice?",
    ),
    "organ present": (
        "Is the {about} visible in this slice?",
        "Does this slice show the {about}?",
    ),
    "marker": (
        "Which structure lies at the centre of the white box?",
        "What does the white box mark?",
        "Name the structure inside the white box.",
    ),
    "side": (
        "On which side of the picture is the {about}?",
        "Does the {about} lie on the left or the right of the picture?",
    ),
    "pneumonia": (
        "Does this chest film show pneumonia?",
        "Is there pneumonia on this film?",
        "Was this child's film labelled as pneumonia?",
    ),
    "cause": (
        "Is this film normal, or is it bacterial or viral pneumonia?",
        "What did the physicians find on this film?",
    ),
    "larger lung": (
        "Which lung field is larger in the picture?",
        "Is the left or the right lung field of the picture larger?",
    ),
    "mirrored": (
        "Has this film been mirrored left to right?",
        "Is this chest film mirrored?",
    ),
}

SENTENCES = {
    "plane": "The slice lies in the {answer} plane.",
    "window": "The slice is shown in a {answer} window.",
    "level": "The slice comes from the {answer} third of the scanned range.",
    "tissue": "The largest share of the body section is {answer}.",
    "largest structure": "The largest structure of the slice is the {answer}.",
    "marker": "The white box marks the {answer}.",
    "side": "The {about} is on the {answer} side of the picture.",
    "cause": "The film was read as {answer}.",
    "larger lung": "The {answer} lung field of the picture is larger.",
}

YES_NO_SENTENCES = {
    ("organ present", "yes"): "Yes, the {about} is visible in this slice.",
    ("organ present", "no"): "No, the {about} is not in this slice.",
    ("pneumonia", "yes"): "Yes, the film shows pneumonia.",
    ("pneumonia", "no"): "No, the film shows no pneumonia.",
    ("mirrored", "yes"): "Yes, the film has been mirrored.",
    ("mirrored", "no"): "No, the film has not been mirrored.",
}


def wording(question: Question, number: int) -> str:
    """The question's text; `number` walks through the paraphrases of its kind."""
    texts = QUESTIONS[question.kind]
    return texts[number % len(texts)].format(about=question.about)


def sentence(question: Question) -> str:
    """The answer as a full sentence."""
    template = YES_NO_SENTENCES.get((question.kind, question.answer)) or SENTENCES[question.kind]
    return template.format(about=question.about, answer=question.answer)
