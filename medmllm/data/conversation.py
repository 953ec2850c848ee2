"""From a record to token ids: what the language model reads, and which of it it must learn to write.

One line of text per turn, in the format of `medmllm.data.chat`; LLaVA's style is the default:

    <s>USER: <image>\\n{question} ASSISTANT: {answer}</s>USER: {question} ASSISTANT: {answer}</s>

Tokens are exact: the ids of a prompt are those that generation starts from, and an answer's are what follows them when
stock transformers reads the whole conversation. A tokenizer that cannot hold to this is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from medmllm.data.chat import CHATS, Chat
from medmllm.data.records import Record
from medmllm.errors import ConfigError, DataError

IGNORE = -100
CAPTION_PROMPT = "Describe this image."
PIECES = re.compile(r"(\{\w+\}|<\|\w+\|>)")


@dataclass(frozen=True)
class Encoded:
    """Token ids of one sequence; `labels` repeats those to be learnt and holds -100 elsewhere."""

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """Encodes records with one tokenizer; an image takes `image_tokens` places.

    Raises:
        ConfigError: the tokenizer lacks a mark of the chat format, or gives a conversation other tokens when it is
            read as one text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, image_tokens: int, chat: str = "vicuna") -> None:
        self.tokenizer, self.image_tokens = tokenizer, image_tokens
        self.chat, self.chat_name = CHATS[chat], chat
        self._core = _letters_only(tokenizer)
        self._marks = _marks(tokenizer, self.chat, image_tokens)
        self._check()

    def conversation(self, record: Record) -> Encoded:
        """The whole conversation; answers and their end marks are learnt."""
        return self._turns(record.turns, record.id)

    def captioning(self, record: Record) -> Encoded:
        """The extended caption as a language-model target, from the image alone."""
        return self._turns(((CAPTION_PROMPT, record.caption),), record.id)

    def text(self, text: str) -> Encoded:
        """A text on its own, as a view of the alignment: nothing in it is learnt. Its tokens are those of an answer."""
        before = self._encode("ASSISTANT:")
        ids = [*self._marks["{bos}"], *self._encode(f"ASSISTANT: {text}")[len(before) :]]
        return Encoded(ids, [IGNORE] * len(ids))

    def prompt(self, question: str) -> list[int]:
        """What generation starts from: the first question with its image, up to ``ASSISTANT:``."""
        return self._ids(self.chat.first, question=question)

    def _turns(self, turns: tuple[tuple[str, str], ...], where: str) -> Encoded:
        ids: list[int] = []
        labels: list[int] = []
        for position, (question, answer) in enumerate(turns):
            asked = self.chat.later if position else self.chat.first
            prompt = self._ids(asked, question=question)
            whole = self._ids(asked + self.chat.reply, question=question, answer=answer)
            if whole[: len(prompt)] != prompt:
                raise DataError(
                    f"tokenization mismatch: the answer {answer[:40]!r} changes the tokens of the question before it",
                    where=f"record {where}",
                    hint="remove odd characters at the answer's beginning, or choose another model.language.chat",
                )
            ids += whole
            labels += [IGNORE] * len(prompt) + whole[len(prompt) :]
        return Encoded(ids, labels)

    def _ids(self, pattern: str, **texts: str) -> list[int]:
        """Ids of a pattern: marks as single tokens, and everything between two marks as one run of text."""
        ids: list[int] = []
        run = ""
        for piece in _pieces(pattern):
            name = piece[1:-1]
            if piece in self._marks:
                ids += [*self._encode(run), *self._marks[piece]]
                run = ""
            else:
                run += texts[name] if piece[:1] == "{" and name in texts else piece
        return ids + self._encode(run)

    def _encode(self, text: str) -> list[int]:
        return self._core.encode(text, add_special_tokens=False).ids if text else []

    def _check(self) -> None:
        """Compares a conversation with what stock transformers makes of the template's text."""
        turns = (("Which plane is it?", "axial"), ("Sure?", "Yes, 2 of 3."))
        text = self.tokenizer.apply_chat_template(
            list(_messages(turns)), chat_template=self.chat.template, tokenize=False
        ).replace("<image>", self.tokenizer.image_token * self.image_tokens)
        stock = self.tokenizer(text, add_special_tokens=False).input_ids
        if stock != self._turns(turns, "probe").ids:
            raise ConfigError(
                f"tokenization mismatch: this tokenizer reads a conversation in the format {self.chat_name} otherwise "
                "as a whole than in parts, so what is learnt would not be what is generated",
                where="model.language.chat",
                hint=f"try another format: {', '.join(CHATS)}",
            )


def _pieces(pattern: str) -> Iterator[str]:
    return (piece for piece in PIECES.split(pattern) if piece)


def _messages(turns: tuple[tuple[str, str], ...]) -> Iterator[dict[str, Any]]:
    for position, (question, answer) in enumerate(turns):
        image = [{"type": "image"}] if position == 0 else []
        yield {"role": "user", "content": [*image, {"type": "text", "text": question}]}
        yield {"role": "assistant", "content": [{"type": "text", "text": answer}]}


def _marks(tokenizer: PreTrainedTokenizerFast, chat: Chat, image_tokens: int) -> dict[str, list[int]]:
    """Mark in a pattern -> its token ids; a model without a begin mark has none."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    marks = {"{bos}": begin, "{eos}": [tokenizer.eos_token_id], "{image}": [tokenizer.image_token_id] * image_tokens}
    vocabulary = tokenizer.get_vocab()
    for piece in _pieces(chat.first + chat.later + chat.reply):
        if piece.startswith("<|"):
            if piece not in vocabulary:
                raise ConfigError(
                    f"the tokenizer has no token {piece}",
                    where="model.language.chat",
                    hint=f"choose another format: {', '.join(CHATS)}",
                )
            marks[piece] = [vocabulary[piece]]
    return marks


def _letters_only(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy that reads special marks inside a text as letters, so that data cannot forge an image or an end.

    Every run of text follows a mark. Where a tokenizer puts a space before the first run of a text only, none gets one.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    before = parts.get("pre_tokenizer") or {}
    for step in (before, *before.get("pretokenizers", ())):
        if step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "never"
    core = Tokenizer.from_str(json.dumps(parts))
    core.encode_special_tokens = True
    return core
