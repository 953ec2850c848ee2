"""From a record to token ids: what the language model reads, and which of it it must learn to write.

One line of text per turn, in the format of `medmllm.data.chat`; LLaVA's style is the default:

    <s>USER: <image>\\n{question} ASSISTANT: {answer}</s>USER: {question} ASSISTANT: {answer}</s>

Tokens are exact: the ids of a prompt are those that generation starts from, and an answer's are what follows them when
stock transformers reads the whole conversation. A tokenizer that does not allow this is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from medmllm.data.chat import CHATS, Chat, is_mark, pieces
from medmllm.data.chat_template import chat_template, messages
from medmllm.data.records import Record
from medmllm.errors import ConfigError, DataError

IGNORE = -100
CAPTION_PROMPT = "Describe this image."
PROBE = "ab c"
Turns = tuple[tuple[str, str], ...]
Places = Sequence[tuple[int, int]]  # turn and letter of each image of a conversation
ONE: Places = ((0, 0),)
SEVERAL: Places = ((0, 0), (0, 0), (1, 0), (1, 5))


@dataclass(frozen=True)
class Encoded:
    """Token ids of one sequence; `labels` repeats those to be learnt and holds -100 elsewhere."""

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class Piece(NamedTuple):
    """A mark or some text of a conversation; `learnt` where a model is to write it."""

    text: str
    mark: bool = False
    learnt: bool = False


class Encoder:
    """Encode records with one tokenizer; an image takes `image_tokens` places.

    Args:
        tokenizer: of the model.
        image_tokens: places of an image.
        chat: the format in which the model is asked, or its name. Training rows are written in `chat.for_training`.

    Raises:
        ConfigError: the tokenizer lacks a mark of the chat format, or gives a conversation other tokens when it is
            read as one text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, image_tokens: int, chat: Chat | str = "vicuna") -> None:
        self.tokenizer, self.image_tokens = tokenizer, image_tokens
        self.chat = CHATS[chat] if isinstance(chat, str) else chat
        self._start, self._inside = _letters_only(tokenizer, at_start=True), _letters_only(tokenizer, at_start=False)
        self._marks = {**_marks(tokenizer, self.chat, image_tokens)}
        self._marks |= _marks(tokenizer, self.chat.for_training, image_tokens)
        self._touching: dict[tuple[str, str], list[int]] = {}
        self._after = {mark: self._core_after(ids[-1:]) for mark, ids in self._marks.items()}
        self._role = len(self._ids(self._start, "ASSISTANT:"))
        self._several = False  # whether conversations with several images have been compared too
        for chat in {self.chat, self.chat.for_training}:
            self._check(chat)

    def conversation(self, record: Record) -> Encoded:
        """The whole conversation as a training row; answers and their end marks are learnt."""
        chat = self.chat.for_training
        return self._encode(
            [*_talk(chat, record.turns, images=self._allow(record.places)), Piece(chat.tail)], record.id
        )

    def captioning(self, record: Record) -> Encoded:
        """The extended caption as a language-model target, from the images alone; without one nothing is learnt."""
        chat, images = self.chat.for_training, self._allow(((0, 0),) * len(record.images))
        talk = _talk(chat, ((CAPTION_PROMPT, record.caption),), images=images)
        found = self._encode([*talk, Piece(chat.tail)], record.id)
        return found if images else Encoded(found.ids, [IGNORE] * len(found))

    def text(self, text: str) -> Encoded:
        """A text on its own, as a view of the alignment: nothing in it is learnt. Its tokens are those of an answer."""
        ids = [*self._marks["{bos}"], *self._ids(self._start, f"ASSISTANT: {text}")[self._role :]]
        return Encoded(ids, [IGNORE] * len(ids))

    def prompt(
        self, question: str, before: Turns = (), *, system: str | None = None, images: Places = ONE
    ) -> list[int]:
        """What generation starts from: earlier turns, then a question, up to where the model continues.

        Args:
            question: the question; the image is beside the first question of the conversation.
            before: earlier questions and answers.
            system: a system text in place of the format's own.
            images: turn and letter of each image; one with the first question where nothing is said.
        """
        talk = _talk(self.chat, before, question, system=system, images=self._allow(images))
        return self._encode((piece._replace(learnt=False) for piece in talk), "prompt").ids

    def answered(self, question: str, answer: str, *, images: Places = ONE) -> Encoded:
        """A question as it is asked, and an answer to it, which is what is learnt."""
        return self._encode(_talk(self.chat, ((question, answer),), images=self._allow(images)), "answer")

    def _encode(self, talk: Iterable[Piece], where: str) -> Encoded:
        """Ids of a conversation: marks as single tokens, everything between two marks as one run of text."""
        ids: list[int] = []
        labels: list[int] = []
        run: list[Piece] = []
        last = ""
        for piece in (*talk, Piece("", mark=True)):
            if not piece.mark:
                run.append(piece)
                continue
            read = self._run(run, last, piece.text, where)
            marked = self._marks.get(piece.text, [])
            ids += [*read.ids, *marked]
            labels += [*read.labels, *(marked if piece.learnt else [IGNORE] * len(marked))]
            run, last = [], piece.text if marked else last
        return Encoded(ids, labels)

    def _run(self, run: list[Piece], last: str, following: str, where: str) -> Encoded:
        """Ids of the text between two marks, of which some is learnt.

        Raises:
            DataError: an answer changes the tokens before it, so that generation could not start from them.
        """
        text = "".join(piece.text for piece in run)
        begin = len(text) - len(text.lstrip()) if self._strips(last)[1] else 0
        text = text[begin : len(text.rstrip()) if self._strips(following)[0] else len(text)]
        if not text:
            between = self._between(last, following)
            return Encoded(between, [IGNORE] * len(between))
        core = self._after.get(last, self._start)
        ids = self._ids(core, text)
        labels, end = [IGNORE] * len(ids), -begin
        for learnt, group in groupby(run, attrgetter("learnt")):
            part = "".join(piece.text for piece in group)
            start, end = max(end, 0), end + len(part)
            if not learnt or end <= 0:
                continue
            before = self._ids(core, text[:start])
            if before != ids[: len(before)]:
                raise DataError(
                    f"tokenization mismatch: the answer {part.strip()[:40]!r} changes the tokens of the question "
                    "before it",
                    where=f"record {where}",
                    hint="remove odd characters at the answer's beginning, or choose another model.language.chat",
                )
            after = len(ids) if end >= len(text) else _common(ids, self._ids(core, text[:end]))
            labels[len(before) : after] = ids[len(before) : after]
        return Encoded(ids, labels)

    def _ids(self, core: Tokenizer, text: str) -> list[int]:
        return core.encode(text, add_special_tokens=False).ids if text else []

    def _strips(self, mark: str) -> tuple[bool, bool]:
        """Whether a mark takes the white space on its left, and on its right, with it."""
        ids = self._marks.get(mark)
        added = self.tokenizer.added_tokens_decoder.get(ids[0]) if ids else None
        return (False, False) if added is None else (added.lstrip, added.rstrip)

    def _between(self, last: str, following: str) -> list[int]:
        """What stock transformers puts between two marks that touch: nothing, or a space that a new run begins with."""
        if (last, following) not in self._touching:
            ids = [*self._marks.get(last, [])[-1:], *self._marks.get(following, [])[:1]]
            text = "".join(self.tokenizer.convert_ids_to_tokens(ids)) + PROBE
            stock = self.tokenizer(text, add_special_tokens=False).input_ids
            between = stock[stock.index(ids[0]) + 1 : stock.index(ids[1])] if len(set(ids)) == 2 else []
            self._touching[last, following] = between
        return self._touching[last, following]

    def _core_after(self, ids: list[int]) -> Tokenizer:
        """How the text after a mark is read: as a text's beginning or as its inside."""
        token = self.tokenizer.convert_ids_to_tokens(ids)
        stock = self.tokenizer("".join(token) + PROBE, add_special_tokens=False).input_ids
        begins = self._ids(self._start, PROBE)
        return self._start if stock[-len(begins) :] == begins else self._inside

    def _check(self, chat: Chat, images: Places = ONE) -> None:
        """Compare a conversation with what stock transformers makes of the template's text."""
        turns = (("Which plane is it?", "axial"), ("Sure?", "Yes, 2 of 3."))
        image = self.tokenizer.image_token
        text = self.tokenizer.apply_chat_template(
            list(messages(turns, images=images)), chat_template=chat_template(chat, image), tokenize=False
        ).replace(image, image * self.image_tokens)
        stock = self.tokenizer(text, add_special_tokens=False).input_ids
        if stock != self._encode(_talk(chat, turns, images=images), "probe").ids:
            raise ConfigError(
                f"tokenization mismatch: this tokenizer reads a conversation in the format {chat.name} otherwise "
                "as a whole than in parts, so what is learnt would not be what is generated",
                where="model.language.chat",
                hint=f"try another format: {', '.join(CHATS)}",
            )

    def _allow(self, images: Places) -> Places:
        """The places, after a conversation with several images has been compared with stock transformers once."""
        if len(images) > 1 and not self._several:
            for chat in {self.chat, self.chat.for_training}:
                self._check(chat, SEVERAL)
            self._several = True
        return images


def _talk(
    chat: Chat, turns: Turns, question: str | None = None, *, system: str | None = None, images: Places = ONE
) -> Iterator[Piece]:
    """Pieces of a conversation: whole turns, and a last question that waits for its answer."""
    for position, (asked, said) in enumerate([*turns, *([] if question is None else [(question, None)])]):
        shown = [letter for turn, letter in images if turn == position]
        texts: dict[str, list[Piece]] = {"{question}": list(_with_images(chat, asked, shown))}
        if position == 0:
            text = chat.system if system is None else system
            texts["{system}"] = list(_filled(chat.around_system, {"{text}": [Piece(text)]})) if text else []
        yield from _filled(chat.later if position else chat.first, texts)
        if said is not None:
            yield from _filled(chat.reply, {"{answer}": [Piece(said, learnt=True)]}, learnt=True)


def _filled(pattern: str, texts: Mapping[str, list[Piece]], *, learnt: bool = False) -> Iterator[Piece]:
    for piece in pieces(pattern):
        yield from texts.get(piece) or ([] if piece in texts else [Piece(piece, is_mark(piece), learnt)])


def _common(one: list[int], other: list[int]) -> int:
    """How many ids two lists begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _with_images(chat: Chat, question: str, letters: Sequence[int]) -> Iterator[Piece]:
    """A question with its images: one on the format's own side, several at their places in the text.

    A line of its own parts an image from the text where it stands before all of it or after.
    """
    if len(letters) == 1 or not any(letters):
        stays = chat.image_stays and len(letters) == 1
        letters = [len(question) if chat.image_last else letter if stays else 0 for letter in letters]
    image, end = [Piece(piece, is_mark(piece)) for piece in pieces(chat.around_image)], 0
    for letter in letters:
        yield Piece(question[end:letter] + ("\n" if 0 < letter == len(question) else ""))
        yield from image
        if letter == 0:
            yield Piece("\n")
        end = letter
    yield Piece(question[end:])


def _marks(tokenizer: PreTrainedTokenizerFast, chat: Chat, image_tokens: int) -> dict[str, list[int]]:
    """Mark in a pattern -> its token ids; a model without a begin mark has none."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    marks = {"{bos}": begin, "{eos}": [tokenizer.eos_token_id], "{image}": [tokenizer.image_token_id] * image_tokens}
    vocabulary = tokenizer.get_vocab()
    for piece in pieces(chat.first + chat.later + chat.reply + chat.around_image + chat.around_system):
        if piece.startswith("<") and is_mark(piece):
            if piece not in vocabulary:
                raise ConfigError(
                    f"the tokenizer has no token {piece}",
                    where="model.language.chat",
                    hint=f"choose another format: {', '.join(CHATS)}",
                )
            marks[piece] = [vocabulary[piece]]
    return marks


def _letters_only(tokenizer: PreTrainedTokenizerFast, *, at_start: bool) -> Tokenizer:
    """A copy that reads special marks inside a text as letters, so that data cannot forge an image or an end.

    Args:
        tokenizer: the whole tokenizer.
        at_start: read a text as at the beginning, where some tokenizers put a space before it; else as after more text.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    if not at_start:
        before = parts.get("pre_tokenizer") or {}
        for step in (before, *before.get("pretokenizers", ())):
            if "prepend_scheme" in step:
                step["prepend_scheme"] = "never"
        norm = parts.get("normalizer") or {}
        steps = [step for step in norm.get("normalizers", [norm]) if step and step["type"] != "Prepend"]
        parts["normalizer"] = {"type": "Sequence", "normalizers": steps} if steps else None
    core = Tokenizer.from_str(json.dumps(parts))
    core.encode_special_tokens = True
    return core
