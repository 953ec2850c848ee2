"""Rows of LLaVA and LLaVA-Med: conversations about one image.

    {"id": "7", "image": "scans/7.png", "answer_type": "CLOSED",
     "conversations": [{"from": "human", "value": "<image>\\nIs it normal?"}, {"from": "gpt", "value": "No"}],
     "conversations_long": [... the same turns with extended answers ...]}

`conversations_long` and what a table may have beside its texts (`answer_type`, `subject`, `split`, ...) are optional,
under any of the names that they have in tables. VQA files named `*_w_options_new.json` are such files. Other projects'
conversations (`medmllm.data.formats.spellings`) are read in the same way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from graphalign.counts import count_of
from medmllm.data.formats.columns import COLUMNS, first, ignored
from medmllm.data.formats.fields import Fields
from medmllm.data.formats.reading import Reading, joined, kind_of
from medmllm.data.formats.spellings import IMAGE_TOKEN, TURNS, read_spoken, turns_name, without_marks
from medmllm.data.records import Record

_MISSPELT = {"conversations": "conversatons", "conversations_long": "conversatons_long"}
_NAMES = (*_MISSPELT, *_MISSPELT.values(), *TURNS, "system", *COLUMNS.names)


def is_llava(row: Any) -> bool:
    """Whether a row holds a conversation."""
    return isinstance(row, dict) and turns_name(row) is not None


def read_rows(reading: Reading, rows: Iterable[tuple[int, Any]]) -> None:
    """Read rows with conversations into the reading.

    The answer view of a record is its answers joined into one text, the caption view the assistant's turns of
    `conversations_long`, or the answers where there are none. `conversatons` and `conversatons_long`, which occur
    in published files, are read with one counted warning.
    """
    reader = _Conversations(reading)
    for number, row in rows:
        reader.fields.number = number
        record = reader.record(row)
        if record is None:
            reader.tokens.pop(number, None)
        else:
            reading.records.append(record)
    reader.finish()


class _Conversations:
    """Turn one raw row after another into a record and report all that is wrong with it."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.fields = reading, Fields(reading, COLUMNS)
        self.misspelt, self.tokens, self.columns = Counter[str](), dict[int, int](), dict[str, None]()
        self.marks: list[tuple[int, int]] = []  # turn and letter of each image of the conversation that was read last
        self.systems = 0  # rows that begin with a system prompt

    def record(self, row: Any) -> Record | None:
        before, fields = len(self.reading.problems), self.fields
        if not isinstance(row, dict):
            fields.wrong("", f"a row must be an object, not {kind_of(row)}")
            return None
        name = turns_name(row) or "conversations"
        whole = read_spoken(row, name)
        self.systems += whole.system
        identity, images = fields.identity(row), fields.images(whole.row)
        turns = self._turns(whole.turns, self._spelt(name), required=True)
        placed = fields.marked(f"{name}[0].value", self.marks, images)
        long = self._long(row)
        if not images or (len(images) > 1 and not self.tokens.get(fields.number)):
            self.tokens.pop(fields.number, None)  # no mark is missing: without one, images precede the question
        self.columns |= dict.fromkeys(row)
        answers = [answer for _, answer in turns]
        about = fields.about(row, identity, images, answers[0] if answers else "")
        split = fields.split(*first(row, COLUMNS.split))
        if len(self.reading.problems) > before:
            return None
        record = Record(
            turns=tuple(turns),
            sentence=joined(answers),
            caption=joined([answer for _, answer in long] or answers),
            caption_missing=not long,
            split=split,
            **about | placed,
        )
        return fields.settle_id(record)

    def finish(self) -> None:
        """What only the whole file tells: misspelt fields, rows without the token that the others have."""
        for wrong, count in sorted((+self.misspelt).items()):
            right = next(name for name, other in _MISSPELT.items() if other == wrong)
            self.reading.warnings.append(
                f"{self.reading.path}: `{wrong}` in {count_of(count, 'row')} is read as `{right}`"
            )
        for name, near in ignored(self.columns, _NAMES):
            if near:  # other fields are whatever a published file has besides
                self.reading.warnings.append(f"{self.reading.path}: {name} is not read; did you mean {near}?")
        if self.systems:
            rows = count_of(self.systems, "row begins", "rows begin")
            told = f"{rows} with a system prompt, which is not read: the chat format has its own"
            self.reading.warnings.append(f"{self.reading.path}: {told}")
        bare = [row for row, count in self.tokens.items() if count == 0]
        if len(bare) < len(self.tokens):
            for row in bare:
                message, hint = f"has no {IMAGE_TOKEN}, which other rows have", f"begin it with {IMAGE_TOKEN}"
                self.reading.report(row, "conversations[0].value", message, hint, "image-token")
        self.fields.finish()

    def _spelt(self, name: str) -> str:
        """The name of a field as faults name it; a known misspelling is counted."""
        self.misspelt[name] += name in _MISSPELT.values()
        return name

    def _long(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        name = "conversations_long"
        if name not in row and _MISSPELT[name] in row:
            name = self._spelt(_MISSPELT[name])
        return self._turns(read_spoken(row, name).turns, name, required=False)

    def _turns(self, turns: Any, name: str, *, required: bool) -> list[tuple[str, str]]:
        """Pairs of question and answer of a conversation; [] where it is absent or wrong."""
        if turns is None and not required:
            return []
        if not isinstance(turns, list) or not turns:
            what = "is missing" if turns is None else "is empty" if turns == [] else f"is {kind_of(turns)}, not a list"
            check = "no-target" if turns == [] else "row"
            self.fields.wrong(name, what, "it needs human and gpt turns in turn", check)
            return []
        self.marks = []
        values = [self._turn(turn, f"{name}[{index}]", index) for index, turn in enumerate(turns)]
        if len(values) % 2:
            if self.fields.needs("answer"):
                self.fields.wrong(name, "ends with a question", "every human turn needs a gpt turn after it")
            values.append("")
        return list(zip(values[::2], values[1::2], strict=True))

    def _turn(self, turn: Any, name: str, index: int) -> str:
        """Text of one turn, without the image tokens of a question."""
        speaker = "gpt" if index % 2 else "human"
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            self.fields.wrong(name, "needs the texts `from` and `value`")
            return ""
        if turn.get("from") != speaker:
            message = f"is {turn.get('from')!r} where {speaker!r} is expected"
            self.fields.wrong(f"{name}.from", message, "turns alternate, human first")
        text = turn["value"]
        if index == 0:
            self.tokens[self.fields.number] = self.tokens.get(self.fields.number, 0) + text.count(IMAGE_TOKEN)
        if speaker == "human":
            text, letters = without_marks(text)
            self.marks += [(index // 2, letter) for letter in letters]
        self._check(f"{name}.value", text, speaker)
        return self.fields.whole(f"{name}.value", text.strip())

    def _check(self, name: str, text: str, speaker: str) -> None:
        if IMAGE_TOKEN in text:
            hint = "images are named in the questions"
            self.fields.wrong(name, f"holds {IMAGE_TOKEN} again", hint, "image-token")
        if not text.strip() and self.fields.needs("answer" if speaker == "gpt" else "question"):
            hint = "write an answer, or leave the row out; nothing of it would be learnt" if speaker == "gpt" else ""
            self.fields.wrong(name, "is empty", hint, "no-target" if speaker == "gpt" else "row")
