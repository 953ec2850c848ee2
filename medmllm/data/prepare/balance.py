"""Which questions of which pictures become records: balanced answers, and a fair share of each kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from medmllm.data.prepare.chance import shuffled
from medmllm.data.prepare.pictures import Picture, Question
from medmllm.data.prepare.questions import wording

Choice = tuple[Picture, Question]
T = TypeVar("T")

SCAN_KINDS = ("plane", "window", "level", "tissue", "largest structure", "organ present", "marker", "side")
FILM_KINDS = ("pneumonia", "mirrored", "cause", "larger lung")
# Largest number of records of each kind.
QUOTA = {
    "train": dict(zip(SCAN_KINDS, (660, 600, 420, 480, 420, 900, 780, 360), strict=True))
    | dict(zip(FILM_KINDS, (920, 500, 690, 300), strict=True)),
    "validation": dict.fromkeys(SCAN_KINDS, 50) | dict.fromkeys(FILM_KINDS, 60),
    "test": dict.fromkeys(SCAN_KINDS, 170) | dict(zip(FILM_KINDS, (360, 240, 270, 100), strict=True)),
    "test_slab": dict.fromkeys(SCAN_KINDS, 110),
}


def round_robin(groups: Mapping[Any, Sequence[T]], limit: int) -> list[T]:
    """Items taken one from each group in turn until `limit` are taken or none is left."""
    depth = max((len(group) for group in groups.values()), default=0)
    rounds = [group[i] for i in range(depth) for group in groups.values() if i < len(group)]
    return rounds[:limit]


def yes_no_pairs(choices: Sequence[Choice], limit: int, strict: bool) -> list[Choice]:
    """As many "yes" as "no": for each structure asked about, and then, unless strict, among what is left over."""
    answers: dict[str, dict[str, list[Choice]]] = defaultdict(lambda: {"yes": [], "no": []})
    for picture, question in choices:
        answers[question.about][question.answer].append((picture, question))
    pairs = {about: list(zip(a["yes"], a["no"], strict=False)) for about, a in answers.items()}
    chosen = round_robin(pairs, limit // 2)
    if not strict and len(chosen) < limit // 2:
        left = {
            answer: [c for about, a in answers.items() for c in a[answer][len(pairs[about]) :]]
            for answer in ("yes", "no")
        }
        chosen += list(zip(left["yes"], left["no"], strict=False))[: limit // 2 - len(chosen)]
    return [choice for pair in chosen for choice in pair]


def balanced(choices: Sequence[Choice], limit: int, strict: bool) -> list[Choice]:
    """Up to `limit` choices of one kind, with answers as even as they can be; none where all answers are one.

    A kind with a single answer would measure nothing.
    """
    groups: dict[str, list[Choice]] = defaultdict(list)
    for picture, question in by_turns(choices):
        groups[question.answer].append((picture, question))
    if len(groups) < 2:
        return []
    if groups.keys() <= {"yes", "no"}:
        return yes_no_pairs(by_turns(choices), limit, strict)
    return round_robin(groups, limit)


def by_turns(choices: Sequence[Choice]) -> list[Choice]:
    """The choices ordered so that subjects take turns: a subject with many slices does not crowd out the others."""
    subjects: dict[str, list[Choice]] = defaultdict(list)
    for picture, question in choices:
        subjects[picture.subject].append((picture, question))
    return round_robin(subjects, len(choices))


def choose_questions(
    pictures: Iterable[Picture], quota: Mapping[str, Mapping[str, int]] | None = QUOTA
) -> list[tuple[Picture, Question, str]]:
    """The questions that become records, with their wording.

    In training, each yes/no question text has as many "yes" as "no"; paraphrases take turns
    within each answer, so no wording favours an answer.

    Args:
        pictures: candidates.
        quota: largest number of records by split and kind; None for no limit but that of even answers.
    """
    groups: dict[tuple[str, str], list[Choice]] = defaultdict(list)
    for picture in pictures:
        for question in picture.questions:
            groups[picture.split, question.kind].append((picture, question))
    chosen, dealt = [], Counter[tuple[str, Question]]()
    for (split, kind), choices in sorted(groups.items(), key=lambda item: item[0]):
        mixed = shuffled(choices, "choose", split, kind)
        limit = quota[split][kind] if quota else len(choices)
        for picture, question in balanced(mixed, limit, strict=split == "train"):
            chosen.append((picture, question, wording(question, dealt[split, question])))
            dealt[split, question] += 1
    return chosen
