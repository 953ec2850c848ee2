"""Tokenizers of checkpoints that hold only a SentencePiece model, `tokenizer.model`, with the tokens of their own code.

Current transformers reads such a model too, but puts the space before a word (`▁`) at the beginning of a text alone, so
that the first word after `<s>` or after an image becomes another token than the model was trained on. The code that
these checkpoints come from puts it at the beginning of every run of text:

- after each token that is not text, with `legacy: true`, the default then;
- after `<s>` and after an image alone, with `legacy: false`.

The code of LLaVA 1.0, LLaVA-Med 1.0 and ExGra-Med needs transformers 4.28, in which a token that a checkpoint added
takes the white space on both sides with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from importlib.util import find_spec
from typing import Any

from tokenizers import Tokenizer
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

from medmllm.errors import MissingExtraError
from medmllm.model.stored import stored_file, stored_json

SPACE = "▁"
READS = ("sentencepiece", "google.protobuf")
FIRST = "llava"  # model type of the checkpoints that transformers 4.28 reads


def is_slow(place: str) -> bool:
    """Whether a checkpoint has a `tokenizer.model` and no `tokenizer.json`."""
    return stored_file(place, "tokenizer.json") is None and stored_file(place, "tokenizer.model") is not None


def read_slow_tokenizer(place: str, image_token: str, *, spare: str = "") -> PreTrainedTokenizerFast:
    """The tokenizer in its fast form, with the ids that its own slow form gives.

    Args:
        place: folder, or id on the hub.
        image_token: the token for images; added where the vocabulary has none of that name.
        spare: a token that no text holds, whose id it then takes, so that the vocabulary does not grow.

    Raises:
        MissingExtraError: sentencepiece or protobuf is not installed.
    """
    if not all(_installed(name) for name in READS):
        raise MissingExtraError(
            "the tokenizer of this checkpoint is a SentencePiece model, and sentencepiece is not installed",
            where=place,
            hint="pip install -c constraints.txt -e '.[train]', or: pip install sentencepiece protobuf",
        )
    slow = LlamaTokenizer.from_pretrained(place)
    settings = stored_json(place, "tokenizer_config.json")
    strips = stored_json(place, "config.json").get("model_type") == FIRST
    parts = json.loads(slow.backend_tokenizer.to_str())
    own = len(parts["model"]["vocab"])
    added = [token for token in parts["added_tokens"] if token["id"] >= own]
    for token in added:
        token.update(special=True, lstrip=strips, rstrip=strips)
    legacy = settings.get("legacy") is not False
    _with_spaces(parts, inside=() if legacy else (slow.eos_token, *(token["content"] for token in added)))
    words = parts["model"]["vocab"]
    if spare in words and image_token not in slow.get_vocab():
        words[image_token] = words.pop(spare)
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        parts["added_tokens"].append({"id": words[image_token], "content": image_token, **plain})
        parts["added_tokens"].sort(key=lambda token: token["id"])
    marks = {name: getattr(slow, name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(parts)),
        extra_special_tokens={"image_token": image_token},
        clean_up_tokenization_spaces=False,
        model_max_length=slow.model_max_length,
        **{name: token for name, token in marks.items() if token is not None},
    )


def _with_spaces(parts: dict[str, Any], inside: Collection[str]) -> None:
    """Put the space before every run of text; tokens that are `inside` of runs neither end nor begin one."""
    steps: list[dict[str, Any]] = [
        {"type": "Prepend", "prepend": SPACE},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
    ]
    for token in inside:  # found in the text once this has its space, while on its own it gets none
        steps.append({"type": "Replace", "pattern": {"Regex": f"\\A{SPACE}{re.escape(token)}\\z"}, "content": token})
    for token in parts["added_tokens"]:
        token["normalized"] = token["content"] in inside
    parts["normalizer"], parts["pre_tokenizer"] = {"type": "Sequence", "normalizers": steps}, None
    parts["model"]["unk_token"] = parts["model"]["unk_token"] or "<unk>"


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # the package above it
        return False
