"""Items to score: a question with its true answer, and a system's answer."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graphalign.counts import count_of
from medmllm.data.formats import Reading, Use, Wanted, raise_all
from medmllm.data.formats.columns import COLUMNS, KNOWN, SAID, SAID_ID, first, has, plain
from medmllm.data.formats.fields import LETTERS, only, option_of
from medmllm.data.formats.registry import raw_rows
from medmllm.data.records import Record
from medmllm.errors import DataError
from medmllm.text.answers import normalise

_CLOSED, _OPEN = {"closed", "yes/no", "yes_no"}, {"open", "other", "number"}
_TAG = re.compile(r"<[^<>]*>")
# RadFM writes the marks of an image inside its question, before the first letter or before the last one.
_RADFM_MARK = re.compile(r"<image>(?:<image\d+>)*</image>")
_KEYED = re.compile(
    r"\{id=(.*?)\} (.*)", re.DOTALL
)  # a true answer that says its row, as `exgra data export` writes it
# What pandas reads as nothing, and RadFM then writes as "nan".
_NOTHING = {"", "#n/a", "n/a", "na", "nan", "null", "none", "<na>"}
_SHOWN = 20
_BESIDE = {*map(plain, ("error", "answer_id", "model_id", "metadata", "index", "Unnamed: 0", ""))}


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
        cluster: the person or image that the question is about; answers of one cluster are not independent.
        options: answers to choose from, where the question has any.
    """

    id: str
    question: str
    reference: str
    prediction: str = ""
    closed: bool = False
    kind: str = ""
    modality: str = ""
    cluster: str = ""
    options: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The prediction; an option that it names by its letter, as in "B" or "B. MRI", as the option's words."""
        named = dict(zip(LETTERS, self.options))  # noqa: B905
        return option_of(self.prediction, named) or self.prediction

    @classmethod
    def of(cls, record: Record, prediction: str) -> Item:
        """A record of a data set with an answer to its first question."""
        closed = is_closed(record.answer_type or record.kind, record.answer)
        about = (closed, record.topic or record.kind, record.modality, record.person, record.options)
        return cls(record.id, record.question, record.answer, prediction, *about)


def is_closed(answer_type: str, answer: str) -> bool:
    """Whether a question is closed: by its type, and where that says nothing by a true answer of yes or no."""
    told = answer_type.strip().casefold()
    return told in _CLOSED or (told not in _OPEN and normalise(answer) in ("yes", "no"))


def check_there(path: Path) -> None:
    """Make sure that a file or folder exists.

    Raises:
        DataError: it does not.
    """
    if not path.exists():
        raise DataError("the file does not exist", where=str(path), hint="check the path")


@dataclass(frozen=True, slots=True)
class Said:
    """A line of a file of predictions; `id` or both of `question` and `truth` tell what it answers."""

    id: str
    text: str
    question: str = ""
    truth: str = ""


def read_predictions(path: Path, on_warning: Callable[[str], None] = lambda line: None) -> list[Said]:
    """A system's answers, in the order of its file; a failed answer (null, or with an `error`) is an empty one.

    Read are, stored in any way that data is: answer files of LLaVA and LLaVA-Med (`question_id`, `text`), rows with
    `id` and `prediction`,
    BiomedGPT's results (`question_id`, `answer`), RadFM's tables (`Question`, `Ground Truth`, `Pred`; no ids), output
    of OpenAI's batch service (`custom_id`, `response`), and `eval/*.samples.jsonl` of a run.

    Args:
        path: the file.
        on_warning: called where `answer`, which may be the truth, is read beside columns that are not.

    Raises:
        DataError: no column holds answers, or a row has neither an id nor a question with its true answer.
    """
    check_there(path)
    reading = Reading(path, path.parent, wanted=Wanted(Use.PREDICTION))
    said, columns, unread = [], dict[str, None](), dict[str, None]()
    for number, row in raw_rows(reading):
        said.append(_said(row, f"{path}: row {number}"))
        columns |= dict.fromkeys(row)
        unread |= dict.fromkeys(_perhaps_said(row))
    raise_all(reading.problems)
    if unread:
        told = f"what was said is read from `answer`, and not from {', '.join(unread)}"
        on_warning(f"{path}: {told}; if `answer` is the truth, call the other column `prediction`")
    if not said:
        raise DataError("the file has no rows", where=str(path), hint="it needs at least one answer")
    if not has(columns, (*SAID, "error")):
        told = f"no column holds answers; the columns are {_some(list(columns))}"
        hint = "call the column of what the system said `prediction`, that of the question's id `id`"
        raise DataError(told, where=str(path), hint=f"{hint}; see {Use.PREDICTION.page}")
    bad = [str(number) for number, one in enumerate(said, start=1) if not one.id and not (one.question and one.truth)]
    if bad:
        hint = "every row needs `question_id` or `id`, and `text` or `prediction`"
        told = f"{count_of(len(bad), 'row')} with neither an id nor a question and its true answer: {_some(bad)}"
        raise DataError(told, where=str(path), hint=hint)
    return said


def says_truth(path: Path) -> bool:
    """Whether what is read of a file as said is read from the column of its true answers."""
    rows = (row for _, row in raw_rows(Reading(path, path.parent)) if isinstance(row, dict))
    row = next(rows, {})
    return has(row, SAID) and first(row, SAID, empty=True)[1] == first(row, COLUMNS.answer, empty=True)[1]


def _said(row: Any, where: str) -> Said:
    if not isinstance(row, dict):
        raise DataError("the row is not an object with named fields", where=where, hint="see docs/evaluation.md")
    failed = first(row, ("error",))[0] not in (None, "", False)
    text = "" if failed else _answer(first(row, SAID, empty=True)[0], where)
    name, question, truth = (_text(first(row, names)[0]) for names in (SAID_ID, COLUMNS.question, COLUMNS.answer))
    if not name and (keyed := _KEYED.fullmatch(truth)):
        name, truth = keyed.groups()
    return Said(name, text, question, truth)


def _perhaps_said(row: Mapping[str, Any]) -> list[str]:
    """Columns that no name reads, of a row whose answer is read from `answer`."""
    if first(row, SAID, empty=True)[1] != first(row, ("answer",), empty=True)[1]:
        return []
    return [name for name in row if plain(name) not in KNOWN and plain(name) not in _BESIDE]


def _answer(value: Any, where: str) -> str:
    """The answer as text: several answers joined by commas, as in data files; "" for null, a failed answer."""
    value = only(_spoken(value))
    parts = value if isinstance(value, list) else [value]
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, str | int | float | None):
            hint = "write a text, a list of texts, or null where the system gave no answer"
            raise DataError(f"the answer is {str(part)[:60]!r}, not a text", where=where, hint=hint)
    return ", ".join(str(part) for part in parts if part is not None)


def _text(value: Any) -> str:
    """A cell as text: texts and numbers as they are, a list of one as that one; "" for anything else."""
    value = only(value)
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""


def _spoken(value: object) -> object:
    """The text inside a reply of an OpenAI-compatible service, None if it has none; any other value as it is."""
    if not isinstance(value, Mapping) or not value.keys() & {"body", "choices", "error"}:
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
    truth = "nan" if truth.strip().casefold() in _NOTHING else truth.replace("•", "")
    return f"{normalise(_TAG.sub(' ', _RADFM_MARK.sub('', question)))} | {normalise(truth)}"


def untold(said: Sequence[Said], where: Path) -> str:
    """Return a warning about different answers without ids to equal questions with equal true answers; else ""."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for one in said:
        if not one.id:
            groups[_key(one.question, one.truth)].append(one.text)
    count = sum(len(texts) for texts in groups.values() if len(set(texts)) > 1)
    if not count:
        return ""
    told = f"{where}: {count} answers have no id, and other rows have their question and true answer"
    return f"{told}: which image they belong to is unknown, so intervals and paired tests are rough"


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
