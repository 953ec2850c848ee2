"""Conversations as other projects write them, brought into the form of LLaVA.

{"messages": [{"role": "user", "content": "<image>Is it normal?"}, {"role": "assistant", "content": "No"}],
 "images": ["scans/7.png"]}                                    LLaMA-Factory, ms-swift, many sets of the hub
{"conversations": [{"from": "user", "value": "Picture 1: <img>scans/7.png</img>\\nIs it normal?"}, ...]}   Qwen-VL
{"query": "And now?", "response": "Yes", "history": [["Is it normal?", "No"]], "images": ["scans/7.png"]}   ms-swift
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from medmllm.data.formats.columns import COLUMNS, first

IMAGE_TOKEN = "<image>"
TURNS = ("conversations", "conversatons", "messages", "conversation")
SYSTEM = "system"
_SPEAKERS = {
    **dict.fromkeys(("human", "user"), "human"),
    **dict.fromkeys(("gpt", "assistant", "model", "bot", "chatgpt"), "gpt"),
    SYSTEM: SYSTEM,
}
_NAMED_IMAGE = re.compile(r"(?:Picture \d+:\s*)?<img>(.*?)</img>")
_NUMBERED = re.compile(r"(?:<image>)?\s*(?:<image\d+>\s*)+</image>|<ImageHere>")


@dataclass(slots=True)
class Spoken:
    """A conversation in the form of LLaVA.

    Attributes:
        row: its other fields, with `image` where the conversation itself names it.
        turns: `{"from", "value"}` each; anything else as it is.
        system: whether it began with a system prompt, which is left out.
    """

    row: dict[str, Any]
    turns: Any
    system: bool = False
    images: list[str] = field(default_factory=list)


def turns_name(row: Mapping[str, Any]) -> str | None:
    """The field of a row that holds a conversation."""
    name = next((name for name in TURNS if name in row), None)
    if name is None and row.get("history") and first(row, ("query",))[0]:
        return "history"
    return name


def read_spoken(row: Mapping[str, Any], name: str) -> Spoken:
    """The conversation of a row under one of its names, by any speakers' names and with images named inside it."""
    found = Spoken(dict(row), row.get(name))
    if name == "history":
        found.turns = _with_history(row)
    if not isinstance(found.turns, list):
        return found
    found.turns = [_turn(turn, found.images) for turn in found.turns]
    if found.turns and isinstance(found.turns[0], dict) and found.turns[0].get("from") == SYSTEM:
        found.system, found.turns = True, found.turns[1:]
    if found.images and first(row, COLUMNS.image)[0] is None:
        found.row["image"] = found.images
    if _one_image_again(found.row):
        _name_it_once(found.turns)
    return found


def without_marks(value: str) -> tuple[str, tuple[int, ...]]:
    """A question without the marks of its images and white space around it, and the letters before each of them.

    Example:
        >>> without_marks("<image>\\nWhich organ?"), without_marks("Is <image> worse than <image>?")
        (('Which organ?', (0,)), ('Is  worse than ?', (3, 15)))
    """
    parts = value.split(IMAGE_TOKEN)
    whole = "".join(parts)
    text, lead = whole.strip(), len(whole) - len(whole.lstrip())
    ends = accumulate(map(len, parts[:-1]))
    return text, tuple(min(max(end - lead, 0), len(text)) for end in ends)


def with_marks(question: str, letters: Sequence[int]) -> str:
    """A question with a mark after so many of its letters each: what `without_marks` reads.

    Example:
        >>> with_marks("Which organ?", [0]), with_marks("Is  worse than ?", [3, 15])
        ('<image>\\nWhich organ?', 'Is <image> worse than <image>?')
    """
    text, end = "", 0
    for letter in letters:
        text += question[end:letter] + IMAGE_TOKEN + ("\n" if letter == 0 else "")
        end = letter
    return text + question[end:]


def plain_mark(text: str) -> str:
    """A text with marks of images as other projects write them in the form of LLaVA's."""
    return _NUMBERED.sub(IMAGE_TOKEN, text) if "<" in text else text


def _with_history(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turns of ms-swift's older form: pairs of earlier questions and answers, then the last of both."""
    earlier = row["history"] if isinstance(row["history"], list) else []
    last = [first(row, ("query",))[0], first(row, ("response",))[0]]
    pairs = [*(pair for pair in earlier if isinstance(pair, list)), last]
    turns = [{"from": speaker, "value": text} for pair in pairs for speaker, text in zip(("human", "gpt"), pair)]  # noqa: B905
    return turns if turns[-1]["value"] not in (None, "") else turns[:-1]


def _turn(turn: Any, images: list[str]) -> Any:
    if not isinstance(turn, dict):
        return turn
    speaker, value = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if isinstance(value, list):
        value = _parts(value, images)
    if isinstance(value, str):
        images += _NAMED_IMAGE.findall(value)
        value = plain_mark(_NAMED_IMAGE.sub(IMAGE_TOKEN, value))
    return {"from": _SPEAKERS.get(str(speaker).lower(), speaker), "value": value}


def _parts(parts: list[Any], images: list[str]) -> str | None:
    """The text of a turn that is a list of texts and images; None where it holds anything else."""
    texts = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in ("image", "image_url"):
            texts.append(IMAGE_TOKEN)
            images += [name for name in (part.get("image"), part.get("path")) if isinstance(name, str)]
        else:
            return None
    return "\n".join(texts)


def _one_image_again(row: Mapping[str, Any]) -> bool:
    """Whether a row names one image several times: the later marks are of the same image."""
    named = first(row, COLUMNS.image)[0]
    return isinstance(named, list) and len(named) > 1 and all(name == named[0] for name in named)


def _name_it_once(turns: list[Any]) -> None:
    """Leave the first mark of the image, in the first turn."""
    for number, turn in enumerate(turns):
        if isinstance(turn, dict) and isinstance(turn.get("value"), str):
            before, mark, after = turn["value"].partition(IMAGE_TOKEN)
            kept = mark if number == 0 else ""
            turn["value"] = before + kept + after.replace(IMAGE_TOKEN, "")
