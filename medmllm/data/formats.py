"""Reading data files into records, with every problem of a file found in one pass.

The format is LLaVA's and LLaVA-Med's: a JSON list (or JSON Lines) of rows

    {"id": "7", "image": "scans/7.png", "answer_type": "CLOSED",
     "conversations": [{"from": "human", "value": "<image>\\nIs it normal?"}, {"from": "gpt", "value": "No"}],
     "conversations_long": [... the same turns with extended answers ...]}

`conversations_long`, `answer_type` and `subject` are optional. Without `subject` every image counts as one person.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medmllm.data.images import locate
from medmllm.data.records import Record
from medmllm.errors import DataError

IMAGE_TOKEN = "<image>"
_MISSPELT = {"conversations": "conversatons", "conversations_long": "conversatons_long"}
_LONE = re.compile("[\ud800-\udfff]")  # halves of characters, which JSON can spell and UTF-8 cannot
_SHOWN = 8  # problems spelt out in one error; `exgra data validate` lists them all


@dataclass(frozen=True, slots=True)
class DataProblem:
    """Something wrong with a data file: where, what, and the remedy. Rows and lines count from 1."""

    file: str
    row: int | None
    field: str
    message: str
    hint: str = ""

    @property
    def where(self) -> str:
        """The place as people read it: "train.json: row 17"."""
        return self.file if self.row is None else f"{self.file}: row {self.row}"

    def __str__(self) -> str:
        return f"{self.where}: {self.field + ': ' if self.field else ''}{self.message}"


@dataclass(slots=True)
class Reading:
    """What a data file holds: its records, the row of each id, problems, and warnings about what was put right."""

    path: Path
    records: list[Record] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    problems: list[DataProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def report(self, row: int | None, name: str, message: str, hint: str = "") -> None:
        self.problems.append(DataProblem(str(self.path), row, name, message, hint))


def raise_all(problems: Sequence[DataProblem]) -> None:
    """Raise one DataError that shows the problems, if there are any."""
    if not problems:
        return
    first, more = problems[0], len(problems) - _SHOWN
    if len(problems) == 1:
        message = f"{first.field}: {first.message}" if first.field else first.message
        raise DataError(message, where=first.where, hint=first.hint)
    lines = [f"the data has {len(problems)} problems", *(f"  {problem}" for problem in problems[:_SHOWN])]
    lines += [f"  and {more} more, which `exgra data validate` lists"] if more > 0 else []
    raise DataError("\n".join(lines), where=first.where, hint=first.hint)


def read_llava(path: Path, *, split: str = "train", allow_outside: bool = False) -> Reading:
    """Read a LLaVA-style JSON or JSON Lines file.

    The answer view of a record is its answers joined into one text, the caption view the assistant's turns of
    `conversations_long`, or the answers where there are none. `conversatons` and `conversatons_long`, which occur
    in published files, are read with one counted warning. A record's kind is its `answer_type` in lower case,
    or "open".

    Args:
        path: `.jsonl` is read line by line, every other name as one JSON list.
        split: split of the records.
        allow_outside: do not refuse image paths that leave the file's folder.

    Returns:
        Records of the sound rows, and a problem for everything that is wrong; nothing is raised.
    """
    reading, misspelt = Reading(path), Counter[str]()
    for number, row in _rows(reading):
        record = _RowReader(reading, number, split, allow_outside, misspelt).record(row)
        if record is not None:
            reading.records.append(record)
    if not reading.rows and not reading.problems:
        reading.report(None, "", "the file has no rows", "it needs at least one row with an image and a conversation")
    for wrong, count in sorted(misspelt.items()):
        right = next(name for name, other in _MISSPELT.items() if other == wrong)
        reading.warnings.append(f"{path}: {count} rows spell `{right}` as `{wrong}`; read as meant")
    _check_subjects(reading)
    return reading


def joined(texts: list[str]) -> str:
    """Several texts as one: joined by ". ", without doubling a stop that is already there."""
    stopped = [text if text.endswith((".", "!", "?")) else text + "." for text in texts[:-1]]
    return " ".join([*stopped, *texts[-1:]])


def _rows(reading: Reading) -> Iterator[tuple[int, Any]]:
    """Numbered raw rows; what keeps the whole file from being read is reported instead."""
    try:
        text = reading.path.read_bytes().decode("utf-8-sig")
    except OSError as cause:
        reading.report(
            None, "", f"the file cannot be read ({cause.strerror or cause})", "check the path and its permissions"
        )
        return
    except UnicodeDecodeError as cause:
        reading.report(None, "", f"the file is not UTF-8 text (byte {cause.start})", "save it as UTF-8")
        return
    if not text.strip():
        reading.report(None, "", "the file is empty", "it needs a JSON list of rows")
    elif reading.path.suffix.lower() == ".jsonl":
        yield from _json_lines(reading, text)
    else:
        yield from enumerate(_json_list(reading, text), start=1)


def _json_lines(reading: Reading, text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as cause:
            reading.report(
                number, "", f"the line is not JSON ({cause})", "each line of a .jsonl file is one JSON object"
            )
        else:
            yield number, row


def _json_list(reading: Reading, text: str) -> list[Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as cause:
        hint = "it needs a JSON list of rows; a file with one row a line has the ending .jsonl"
        reading.report(None, "", f"the file is not JSON ({cause})", hint)
        return []
    if isinstance(content, list):
        return content
    names = f" with the keys {', '.join(sorted(content)[:5])}" if isinstance(content, dict) and content else ""
    names = names.encode(errors="backslashreplace").decode()
    reading.report(None, "", f"the top level is {_kind(content)}{names}, not a list of rows", "wrap the rows in [ ]")
    return []


def _check_subjects(reading: Reading) -> None:
    """An image of two people would leak from one split into the other."""
    owner: dict[str, str] = {}
    for record in reading.records:
        if owner.setdefault(record.image, record.subject) != record.subject:
            message = f"the image {record.image!r} belongs to {owner[record.image]!r} in an earlier row"
            reading.report(reading.rows[record.id], "subject", message, "give all rows of an image the same subject")


@dataclass(slots=True)
class _RowReader:
    """Turns one raw row into a record and reports all that is wrong with it."""

    reading: Reading
    number: int
    split: str
    allow_outside: bool
    misspelt: Counter[str]

    def record(self, row: Any) -> Record | None:
        before = len(self.reading.problems)
        if not isinstance(row, dict):
            self._wrong("", f"a row must be an object, not {_kind(row)}")
            return None
        identity, image = self._id(row), self._image(row)
        turns = self._turns(row, "conversations", required=True)
        long = self._turns(row, "conversations_long", required=False)
        subject, kind = self._text(row, "subject", image), self._text(row, "answer_type", "open").lower()
        if len(self.reading.problems) > before:
            return None
        answers = [answer for _, answer in turns]
        return Record(
            id=identity,
            image=image,
            turns=tuple(turns),
            sentence=joined(answers),
            caption=joined([answer for _, answer in long] or answers),
            kind=kind,
            subject=subject,
            source=self.reading.path.name,
            split=self.split,
        )

    def _wrong(self, name: str, message: str, hint: str = "") -> None:
        self.reading.report(self.number, name, message, hint)

    def _id(self, row: dict[str, Any]) -> str:
        value = row.get("id")
        if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
            self._wrong(
                "id", "is missing" if value in (None, "") else f"is {_kind(value)}", "give every row an id of its own"
            )
            return ""
        earlier = self.reading.rows.setdefault(str(value), self.number)
        if earlier != self.number:
            self._wrong("id", f"{value!r} is also the id of row {earlier}", "give every row an id of its own")
        return self._whole("id", str(value))

    def _image(self, row: dict[str, Any]) -> str:
        name = row.get("image")
        if not isinstance(name, str) or not name:
            self._wrong("image", "is missing" if name in (None, "") else f"is {_kind(name)}", "name one image file")
            return ""
        if not self._whole("image", name):
            return ""
        try:
            locate(self.reading.path.parent, name, allow_outside=self.allow_outside)
        except ValueError as cause:
            hint = "move the images beside the data file, or set data.allow_outside=true if you trust it"
            self._wrong("image", str(cause), hint)
        return posixpath.normpath(name)

    def _text(self, row: dict[str, Any], name: str, default: str) -> str:
        value = row.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (str, int))):
            self._wrong(name, f"is {_kind(value)}, not text")
        return default if value in (None, "") else self._whole(name, str(value))

    def _turns(self, row: dict[str, Any], name: str, *, required: bool) -> list[tuple[str, str]]:
        """Pairs of question and answer of a conversation; [] where it is absent or wrong."""
        if name not in row and _MISSPELT[name] in row:
            name = _MISSPELT[name]
            self.misspelt[name] += 1
        turns = row.get(name)
        if turns is None and not required:
            return []
        if not isinstance(turns, list) or not turns:
            what = "is missing" if turns is None else "is empty" if turns == [] else f"is {_kind(turns)}, not a list"
            self._wrong(name, what, "it needs human and gpt turns in turn")
            return []
        values = [self._turn(turn, f"{name}[{index}]", index) for index, turn in enumerate(turns)]
        if len(values) % 2:
            self._wrong(name, "ends with a question", "every human turn needs a gpt turn after it")
        return list(zip(values[::2], values[1::2], strict=False))

    def _turn(self, turn: Any, name: str, index: int) -> str:
        """Text of one turn, without the image token of the first."""
        speaker = "gpt" if index % 2 else "human"
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            self._wrong(name, "needs the texts `from` and `value`")
            return ""
        if turn.get("from") != speaker:
            self._wrong(
                f"{name}.from", f"is {turn.get('from')!r} where {speaker!r} is due", "turns alternate, human first"
            )
        text = turn["value"].replace(IMAGE_TOKEN, "", 1) if index == 0 else turn["value"]
        if IMAGE_TOKEN in text:
            self._wrong(f"{name}.value", f"holds {IMAGE_TOKEN} again", "a row has one image, named in its first turn")
        if not text.strip():
            self._wrong(f"{name}.value", "is empty")
        return self._whole(f"{name}.value", text.strip())

    def _whole(self, name: str, text: str) -> str:
        """The text; "" where it holds half of a character, which no file of the run could hold."""
        found = _LONE.search(text)
        if found:
            hint = "write both halves of the character, or leave it out"
            self._wrong(name, f"holds half of a character ({found[0]!a})", hint)
        return "" if found else text


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
