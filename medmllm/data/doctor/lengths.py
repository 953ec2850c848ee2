"""Conversations and captions that do not fit the language model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medmllm.data.records import Record

_FRAME = 24  # tokens at most of a turn's frame, "USER: ... ASSISTANT: ...</s>"


@dataclass(frozen=True, slots=True)
class Limits:
    """The capacity of a model; by default that of the default configuration.

    Attributes:
        max_length: longest sequence in tokens, image tokens included.
        image_tokens: places that an image takes.
        vocab_size: largest vocabulary of the tokenizer that is built from the training texts.
    """

    max_length: int = 512
    image_tokens: int = 49
    vocab_size: int = 1024


def too_long(records: Sequence[Record], training: Sequence[Record], limits: Limits) -> Iterator[tuple[int, int]]:
    """Number and tokens of each record that is longer than the limit.

    A text never has more tokens than bytes, so only long texts are encoded, and the tokenizer, the one that a run
    would build from the training records, is built only if there are any.
    """
    candidates = [number for number, record in enumerate(records) if _most(record, limits) > limits.max_length]
    if not candidates:
        return
    from medmllm.data.conversation import Encoder
    from medmllm.data.tokenizer import build_tokenizer

    encoder = Encoder(build_tokenizer(training, limits.vocab_size), limits.image_tokens)
    for number in candidates:
        record = records[number]
        length = max(len(encoder.conversation(record)), len(encoder.captioning(record)))
        if length > limits.max_length:
            yield number, length


def _most(record: Record, limits: Limits) -> int:
    """A bound on the tokens of a record's sequences."""
    turns = sum(len(question.encode()) + len(answer.encode()) + _FRAME for question, answer in record.turns)
    return (limits.image_tokens + 1) * len(record.images) + max(turns, len(record.caption.encode()) + 2 * _FRAME)
