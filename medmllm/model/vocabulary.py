"""The tokenizer of a run: made from the training texts, or a pretrained model's with the marks that LLaVA adds."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

from medmllm.data.chat import CHATS, Chat
from medmllm.data.records import Record
from medmllm.data.tokenizer import PAD, build_tokenizer
from medmllm.errors import ConfigError
from medmllm.model.architecture import KEY, LANGUAGE_KEY
from medmllm.model.hub import find_tokenizer
from medmllm.model.manner import wanted_chat
from medmllm.settings.schema import ModelConfig


def make_tokenizer(config: ModelConfig, records: Iterable[Record]) -> PreTrainedTokenizerFast:
    """The tokenizer that a configuration asks for; only one from scratch looks at the records."""
    if config.from_scratch:
        return build_tokenizer(records, config.language.vocab_size)
    if config.source is not None:
        return with_marks(find_tokenizer(config.source, KEY), wanted_chat(config))
    return with_marks(find_tokenizer(str(config.language.pretrained), LANGUAGE_KEY), wanted_chat(config))


def with_marks(tokenizer: PreTrainedTokenizerFast, chat: Chat | str) -> PreTrainedTokenizerFast:
    """The same tokenizer, with the marks for images and padding, and with the chat format's end as its end.

    A model's own token for either is kept. Padding must not be the end mark: ends are learnt, padding is not.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            "the tokenizer has no fast form (tokenizer.json), from which exact token bounds are read",
            where=LANGUAGE_KEY,
            hint="save it with AutoTokenizer.from_pretrained(...).save_pretrained(...) in a recent transformers",
        )
    end = (CHATS[chat] if isinstance(chat, str) else chat).end
    if end.startswith("<|") and end in tokenizer.get_vocab():
        tokenizer.eos_token = end
    vocabulary = tokenizer.get_vocab()
    pad = tokenizer.pad_token
    if pad is None or pad == tokenizer.eos_token or pad not in vocabulary:
        tokenizer.add_special_tokens({"pad_token": PAD})
    tokenizer.padding_side = "left"
    return tokenizer
