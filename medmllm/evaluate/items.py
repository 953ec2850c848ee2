"""What is scored: a question with its true answer, and what a system said to it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medmllm.data.records import Record
from medmllm.errors import DataError
from medmllm.evaluate.metrics import normalise
from medmllm.evaluate.rows import Row, first, read_rows, text_of

_ID, _ANSWER, _QUESTION = ("id", "question_id", "qid"), ("answer", "gt_answer", "ground truth"), ("question", "prompt")
_KIND, _MODALITY = ("kind", "question_type", "content_type"), ("modality", "modality_type", "image_type")
_CLUSTER = ("subject", "patient", "image", "image_path", "img_name", "image_name")
_SAID_ID = ("custom_id", "question_id", "id", "qid")
_SAID = ("text", "prediction", "pred", "response", "output", "generated_text", "answer")
_CLOSED, _OPEN = {"closed", "yes/no", "yes_no"}, {"open", "other", "number"}
_TAG = re.compile(r"<[^<>]*>")
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        id: unique in its file.
        question: as it was asked; "" where the file has none.
        reference: the true answer.
        prediction: what the system said; "" where it failed.
        closed: whether it counts among the closed questions.
        kind: type of question, a unit of reported figures.
        modality: kind of image, another one.
        cluster: the person or image that the question is about; answers of one cluster hang together.
    """

    id: str
    question: str
    reference: str
    prediction: str = ""
    closed: bool = False
    kind: str = ""
    modality: str = ""
    cluster: str = ""

    @classmethod
    def of(cls, record: Record, prediction: str) -> Item:
        """A record of a data set with an answer to its first question."""
        closed = is_closed(record.kind, record.answer)
        cluster = record.subject or record.image
        return cls(record.id, record.question, record.answer, prediction, closed, record.kind, record.modality, cluster)


def is_closed(answer_type: str, answer: str) -> bool:
    """Whether a question is closed: by its type, and where that says nothing by a true answer of yes or no."""
    told = answer_type.strip().casefold()
    return told in _CLOSED or (told not in _OPEN and normalise(answer) in ("yes", "no"))


def read_references(path: Path) -> list[Item]:
    """Questions with true answers, in the order of the file.

    Rows are those of the VQA files `*_w_options_new.json` (`id`, `answer_type`, `conversations`, also misspelt), or
    flat ones with `id`, `answer` and, if known, `question`, `answer_type`, `kind`, `modality`, `subject` or `image`;
    the field names of SLAKE, PathVQA and OmniMedVQA are understood. A row without an id has its number, as in
    `exgra predict`.

    Raises:
        DataError: a row has no answer, or an id stands twice; all of them are told.
    """
    items = [_reference(row, number) for number, row in enumerate(read_rows(path), start=1)]
    bad = [str(number) for number, item in enumerate(items, start=1) if not item.reference]
    if bad:
        hint = "every row needs an answer, under the name `answer`"
        raise DataError(f"{len(bad)} rows have no answer: {_some(bad)}", where=str(path), hint=hint)
    doubled = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if doubled:
        raise UnmatchedError({"more than once": doubled}, path, "give every question an id of its own")
    return items


def _reference(row: Row, number: int) -> Item:
    question, answer = _turns(row)
    question = question or text_of(first(row, _QUESTION)) or ""
    answer = answer or text_of(first(row, _ANSWER)) or ""
    told = str(row.get("answer_type") or row.get("kind") or "")
    kind, modality, cluster = (text_of(first(row, names)) or "" for names in (_KIND, _MODALITY, _CLUSTER))
    name = text_of(first(row, _ID)) or str(number)
    closed = is_closed(told, answer)
    return Item(name, question, answer, "", closed, kind or told.casefold(), modality, cluster)


def _turns(row: Row) -> tuple[str, str]:
    """First question and answer of a conversation; empty texts without one."""
    turns = first(row, ("conversations", "conversatons"))
    found = [turn.get("value") for turn in turns[:2] if isinstance(turn, dict)] if isinstance(turns, list) else []
    values = [value for value in found if isinstance(value, str)]
    if len(values) < 2:
        return "", ""
    return values[0].replace("<image>", "").strip(), values[1].strip()


@dataclass(frozen=True, slots=True)
class Said:
    """A line of a file of predictions; `id` or both of `question` and `truth` tell what it answers."""

    id: str
    text: str
    question: str = ""
    truth: str = ""


def read_predictions(path: Path) -> list[Said]:
    """What a system said, in the order of its file; a failed answer (null, or with an `error`) is an empty one.

    Read are: answer files of LLaVA and LLaVA-Med (`question_id`, `text`), JSON or CSV with `id` and `prediction`,
    BiomedGPT's results (`question_id`, `answer`), RadFM's tables (`Question`, `Ground Truth`, `Pred`; no ids), output
    of OpenAI's batch service (`custom_id`, `response`), and `eval/*.samples.jsonl` of a run.

    Raises:
        DataError: a row has neither an id nor a question with its true answer.
    """
    said = [_said(row) for row in read_rows(path)]
    bad = [str(number) for number, one in enumerate(said, start=1) if not one.id and not (one.question and one.truth)]
    if bad:
        hint = "every row needs `question_id` or `id`, and `text` or `prediction`"
        raise DataError(f"{len(bad)} rows do not tell what they answer: {_some(bad)}", where=str(path), hint=hint)
    return said


def _said(row: Row) -> Said:
    failed = row.get("error") not in (None, "", False)
    spoken = next(
        (row[name] for name in _SAID if name in row), None
    )  # an empty one too: the next name may be the truth
    text = "" if failed else text_of(_spoken(spoken)) or ""
    name = text_of(first(row, _SAID_ID)) or ""
    question, truth = (text_of(first(row, names)) or "" for names in (_QUESTION, _ANSWER))
    return Said(name, text, question, truth)


def _spoken(value: object) -> object:
    """The text inside a reply of an OpenAI-compatible service; any other value as it is."""
    if not isinstance(value, Mapping):
        return value
    try:
        return (value.get("body") or value)["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None


def pair(
    references: Sequence[Item], said: Sequence[Said], *, where: Path, missing_is_wrong: bool = False
) -> list[Item]:
    """Each reference with what was said to it, in the order of the references.

    Lines are paired by id. Lines without one (RadFM's) are paired by question and true answer; which of several equal
    questions an answer belongs to is then unknown, which changes no figure but the intervals.

    Args:
        references: questions with true answers.
        said: what a system said.
        where: the file of what was said, for messages.
        missing_is_wrong: count a question without an answer as wrong, in place of an error.

    Raises:
        DataError: ids are answered twice, not at all, or not asked; each of them is named.
    """
    named = all(one.id for one in said)
    queues: defaultdict[str, list[str]] = defaultdict(list)
    for one in said:
        queues[one.id if named else _key(one.question, one.truth)].append(one.text)
    keys = {item.id: item.id if named else _key(item.question, item.reference) for item in references}
    asked = Counter(keys.values())
    unknown = [key for key in queues if key not in asked]
    doubled = [key for key in queues if key in asked and len(queues[key]) > asked[key]]
    answers = {name: queues[key].pop(0) if queues.get(key) else None for name, key in keys.items()}
    missing = [] if missing_is_wrong else [name for name, text in answers.items() if text is None]
    if doubled or unknown or missing:
        faults = {"answered more than once": doubled, "not asked": unknown, "not answered": missing}
        hint = (
            "--missing wrong counts questions without an answer as wrong" if missing else "one line for each question"
        )
        raise UnmatchedError(faults, where, hint)
    return [replace(item, prediction=answers[item.id] or "") for item in references]


def _key(question: str, truth: str) -> str:
    return f"{normalise(_TAG.sub(' ', question))} | {normalise(truth)}"


class UnmatchedError(DataError):
    """Ids of references and predictions that do not fit one to one.

    Attributes:
        ids: what is wrong -> all ids with that fault.
    """

    def __init__(self, ids: Mapping[str, Sequence[str]], where: Path, hint: str) -> None:
        self.ids = {fault: list(names) for fault, names in ids.items() if names}
        told = "; ".join(f"{len(names)} {fault}: {_some(names)}" for fault, names in self.ids.items())
        super().__init__(f"ids do not fit one to one: {told}", where=str(where), hint=hint)


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
