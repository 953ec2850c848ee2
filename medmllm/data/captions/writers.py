"""Who writes the longer answers: a model behind an endpoint, a model on this machine, or rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any, Protocol

from medmllm.data.formats.llava import IMAGE_TOKEN
from medmllm.data.formats.reading import half_character
from medmllm.data.records import Record
from medmllm.endpoint import Endpoint, TransientError, with_retries

WORDS = 50  # of an extended answer, about
SYSTEM = (
    "You extend short answers about medical images. You do not see the image. For every answer write a longer one of "
    f"about {WORDS} words: the same answer in other words, with general medical knowledge that explains it. Never "
    "contradict the answer, and never claim findings that it does not state. Reply with one JSON object only: "
    '{"answers": ["...", ...]}, with as many texts as there are answers, in their order.'
)
_TOKENS_AN_ANSWER = 160  # room for an extended answer, with its JSON


class Writer(Protocol):
    """Writes the extended answers of a record."""

    @property
    def name(self) -> str:
        """The writer of the captions: part of a finished row's key."""

    def write(self, record: Record) -> list[str]:
        """One text for each turn. Raises TransientError or RefusedError where there is none."""


@dataclass(frozen=True)
class EndpointWriter:
    """Ask a model behind an endpoint; only texts are sent, never an image."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        return f"{self.endpoint.model} by {sha256(SYSTEM.encode()).hexdigest()[:8]}"

    def write(self, record: Record) -> list[str]:
        def once(number: int) -> list[str]:
            room = _TOKENS_AN_ANSWER * (len(record.turns) + 1)
            # A model that answered wrongly would answer the same again: later tries draw otherwise.
            told = self.endpoint.ask(
                messages(record), max_tokens=room, temperature=0.0 if number == 0 else 0.7, seed=number
            )
            return [self.endpoint.hide(answer) for answer in parse(told, len(record.turns))]

        return with_retries(once, self.endpoint.pace, tries=self.endpoint.tries, salt=record.id)


@dataclass(frozen=True)
class LocalWriter:
    """Ask a language model of transformers in a folder on this machine, one turn at a time."""

    folder: str
    model: Any
    tokenizer: Any

    @classmethod
    def load(cls, folder: str) -> LocalWriter:
        """Read model and tokenizer; nothing is downloaded."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from medmllm.errors import ConfigError

        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as cause:
            first = str(cause).splitlines()[0]
            hint = "name a folder that save_pretrained has written"
            raise ConfigError(f"no language model can be read ({first})", where=folder, hint=hint) from cause
        return cls(folder, model, tokenizer)

    @property
    def name(self) -> str:
        return f"local {self.folder.rstrip('/').rpartition('/')[2]}"

    def write(self, record: Record) -> list[str]:
        return [self._extend(question, answer) for question, answer in record.turns]

    def _extend(self, question: str, answer: str) -> str:
        import torch

        prompt = f"Question: {question}\nAnswer: {answer}\nThe same answer in about {WORDS} words:"
        if getattr(self.tokenizer, "chat_template", None):
            chat = [{"role": "user", "content": prompt}]
            prompt = self.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        ids = self.tokenizer(prompt, return_tensors="pt").input_ids
        with torch.inference_mode():
            out = self.model.generate(ids, max_new_tokens=2 * WORDS, do_sample=False)
        return checked(self.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


# What illness makes false is said of the healthy.
HEALTHY = {"lung": "A healthy lung is filled with air."}


@dataclass(frozen=True)
class RuleWriter:
    """States what is known: question, answer and modality, what the picture measures, and what a word means anyway.

    The sentences are those of the embedded data set, and hold of sick people too.
    """

    open_image: Callable[[Record], Any]
    name: str = "rules"

    def write(self, record: Record) -> list[str]:
        facts = self._facts(record)
        return [compose(question, answer, facts) for question, answer in record.turns]

    def _facts(self, record: Record) -> list[str]:
        import numpy as np

        from medmllm.data.prepare.anatomy import GENERAL
        from medmllm.data.prepare.chance import pick
        from medmllm.data.prepare.facts import brightness_facts

        text = " ".join([*(f"{q} {a}" for q, a in record.turns), record.modality]).lower()
        general = GENERAL | HEALTHY
        known = [words for name, words in sorted(general.items()) if re.search(rf"\b{re.escape(name.lower())}\b", text)]
        modality = [f"The image was made by {record.modality}."] if record.modality else []
        grey = np.asarray(self.open_image(record).convert("L"))
        measured = [pick(fact.wordings, record.id, fact.topic) for fact in brightness_facts(grey)]
        return [*modality, *known, *measured]


def compose(question: str, answer: str, facts: list[str]) -> str:
    """The answer with its question, and as many facts as fit."""
    from medmllm.data.prepare.captions import ENOUGH, LONGEST, word_count

    asked = question if question.endswith(("?", ".")) else f"{question}."
    text = f"To the question \u201c{asked}\u201d the answer is: {answer.rstrip('.')}."
    for fact in facts:
        if word_count(text) < ENOUGH and word_count(text) + word_count(fact) <= LONGEST:
            text += f" {fact}"
    return text


def messages(record: Record) -> list[dict[str, str]]:
    """The request to the endpoint."""
    turns = [{"question": question, "answer": answer} for question, answer in record.turns]
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": json.dumps({"turns": turns}, ensure_ascii=False)},
    ]


def parse(text: str, count: int) -> list[str]:
    """The answers of a model's reply, also inside a code fence or after a preface.

    Raises:
        TransientError: it holds no object with `count` texts.
    """
    for start in (match.start() for match in islice(re.finditer(r"\{", text), 100)):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        answers = found.get("answers") if isinstance(found, dict) else None
        if isinstance(answers, list) and len(answers) == count and all(isinstance(a, str) for a in answers):
            return [checked(answer) for answer in answers]
    raise TransientError(f"the model's reply holds no JSON object with {count} answers")


def checked(answer: str) -> str:
    """The text, if a data file can hold it."""
    text = answer.strip()
    if not text or IMAGE_TOKEN in text or half_character(text):
        raise TransientError("the model's answer is empty, or contains characters that an answer may not contain")
    return text
