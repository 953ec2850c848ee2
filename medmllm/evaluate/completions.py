"""OpenAI's chat completions by a model: requests read strictly, and the answers that `exgra chat` gives.

A field that would change the answer and is not known here is refused, so that nothing is silently left out.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from medmllm.data.images import decode
from medmllm.data.scans.window import AUTO
from medmllm.errors import ConfigError
from medmllm.evaluate.conversation import Conversation
from medmllm.evaluate.generate import new_tokens
from medmllm.model.attention import padded_attention

TAKEN = {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "stream"}
TAKEN |= {"stream_options", "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"}
NEUTRAL = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
ROLES = "after an optional system message, user and assistant take turns, and the user is the last"
DATA_URL = "send the image inside the request, as data:image/png;base64,..."


@dataclass(frozen=True)
class Request:
    """A question to the model, with what was said before.

    Attributes:
        turns: earlier questions and answers.
        question: the question.
        images: turn and image.
        letters: after how many letters of its question each image is.
        system: a system text in place of the format's own.
        longest: most tokens of the answer; the model's own number where None.
        stops: texts that end the answer.
        settings: for transformers' `generate`; none, and the answer is greedy.
        seed: of the draws, where there are any.
    """

    turns: list[tuple[str, str]]
    question: str
    images: list[tuple[int, Image.Image]]
    letters: list[int]
    system: str | None = None
    longest: int | None = None
    stops: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None


@dataclass(frozen=True)
class Completion:
    """An answer, why it ended ("stop" or "length"), and the tokens that were read and written."""

    text: str
    finish: str
    read: int
    written: int


class CancelledError(Exception):
    """Nobody waits for the answer."""


def read_request(body: Mapping[str, Any], window: str = AUTO) -> Request:
    """Read the body of a request; scans are shown in `window`.

    Raises:
        ConfigError: a field or a message is not as it must be, or asks for what is not done here.
        DataError: an image cannot be read.
    """
    for name, value in body.items():
        if value is not None and name not in TAKEN and value not in NEUTRAL.get(name, ()):
            raise ConfigError(f"{name} = {value!r:.60} is not supported", where=name, hint="leave it out")
    system, turns = _talk(body.get("messages"))
    asked = [_question(content, f"messages, question {n + 1}", window) for n, (content, _) in enumerate(turns)]
    stops = body.get("stop") or []
    stops = [stops] if isinstance(stops, str) else stops
    if not (isinstance(stops, list) and all(isinstance(stop, str) and stop for stop in stops)):
        raise ConfigError("stop must be a text or a list of texts", where="stop")
    longest = body.get("max_completion_tokens")
    return Request(
        [(text, said) for (text, _), (_, said) in zip(asked[:-1], turns[:-1], strict=True)],
        asked[-1][0],
        [(turn, image) for turn, (_, shown) in enumerate(asked) for _, image in shown],
        [letter for _, shown in asked for letter, _ in shown],
        system,
        _whole("max_tokens", body.get("max_tokens") if longest is None else longest, least=1),
        tuple(stops),
        _settings(body.get("temperature"), body.get("top_p")),
        _whole("seed", body.get("seed"), least=-(2**63)),
    )


def _settings(temperature: Any, top_p: Any) -> dict[str, Any]:
    """Settings of the draws; none where the answer is greedy, which it is without a temperature."""
    for name, value, most in (("temperature", temperature, 2), ("top_p", top_p, 1)):
        if value is not None and (
            isinstance(value, bool) or not (isinstance(value, int | float) and 0 <= value <= most)
        ):
            raise ConfigError(f"{name} must be a number from 0 to {most}, not {value!r:.60}", where=name)
    if temperature:
        return {"do_sample": True, "temperature": float(temperature), "top_p": float(top_p or 1), "top_k": 0}
    if top_p not in (None, 1):
        hint = "add temperature=1; without a temperature the answer is greedy"
        raise ConfigError("top_p has no effect on a greedy answer", where="top_p", hint=hint)
    return {}


def _whole(name: str, value: Any, *, least: int) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ConfigError(f"{name} must be a whole number from {least}, not {value!r:.60}", where=name)
    return value


def _talk(messages: Any) -> tuple[str | None, list[tuple[Any, str]]]:
    """The system text, and what each question holds, with its answer; the last has none."""
    if not (isinstance(messages, list) and messages and all(isinstance(one, dict) for one in messages)):
        raise ConfigError("messages must be a list of messages", where="messages")
    system = None
    if messages[0].get("role") in ("system", "developer"):
        system, messages = _text(messages[0].get("content"), "the system message"), messages[1:]
    roles = [one.get("role") for one in messages]
    if not roles or roles != [("user", "assistant")[n % 2] for n in range(len(roles))] or roles[-1] != "user":
        raise ConfigError(f"the roles are {', '.join(map(str, roles)) or 'none'}", where="messages", hint=ROLES)
    said = [_text(one.get("content"), "an answer") for one in messages[1::2]]
    return system, list(zip((one.get("content") for one in messages[::2]), [*said, ""], strict=True))


def _text(content: Any, what: str) -> str:
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not (isinstance(parts, list) and all(isinstance(part, dict) and _is_text(part) for part in parts)):
        raise ConfigError(f"{what} must be text", where="messages")
    return "".join(part["text"] for part in parts)


def _is_text(part: Mapping[str, Any]) -> bool:
    return part.get("type") == "text" and isinstance(part.get("text"), str)


def _question(content: Any, where: str, window: str) -> tuple[str, list[tuple[int, Image.Image]]]:
    """A question's text, and its images, each with the number of letters before it."""
    text, shown, last = "", [], ""
    for part in [{"type": "text", "text": content}] if isinstance(content, str) else content or [None]:
        if isinstance(part, dict) and _is_text(part):
            text += ("\n" if last == "text" else "") + part["text"]
        elif isinstance(part, dict) and part.get("type") == "image_url":
            shown.append((len(text), _image(part.get("image_url"), where, window)))
        else:
            raise ConfigError("a question has parts of type text and image_url", where=where)
        last = part["type"]
    return text, shown


def _image(url: Any, where: str, window: str) -> Image.Image:
    """The image of a data URL, which may end in `#axial=40`, the slice of a volume."""
    address = url.get("url") if isinstance(url, dict) else url
    head, comma, data = address.partition(",") if isinstance(address, str) else ("", "", "")
    if not (head.startswith("data:") and head.endswith(";base64") and comma):
        raise ConfigError("no address is opened, neither of a file nor of a page", where=where, hint=DATA_URL)
    data, _, chosen = data.partition("#")
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error as cause:
        raise ConfigError(f"the image is not in base64: {cause}", where=where, hint=DATA_URL) from cause
    return decode(content, where=where, name=f"image#{chosen}" if chosen else "image", window=window)


class Answerer:
    """Answers requests, one at a time, by the model of a conversation."""

    def __init__(self, talk: Conversation) -> None:
        self.talk, self._lock = talk, threading.Lock()

    @property
    def window(self) -> str:
        """In which scans are shown."""
        return self.talk.window or self.talk.own or AUTO

    def prepare(self, request: Request) -> dict[str, Tensor]:
        """The model's inputs.

        Raises:
            ConfigError: with the longest answer it is more than the model reads.
        """
        chat = self.talk.asker.chat
        turns = [(question, chat.answer(said)) for question, said in request.turns]
        with self._lock:
            made = self.talk.asker.follow_up(
                request.images, turns, request.question, letters=request.letters, system=request.system
            )
        length, longest = made["input_ids"].shape[1], request.longest or self.talk.max_new_tokens
        limit = self.talk.llava.config.text_config.max_position_embeddings
        if length + longest > limit:
            told = f"the request has {length} tokens and the answer up to {longest}, and the model reads {limit}"
            raise ConfigError(told, where="messages", hint="send fewer messages, or a smaller max_tokens")
        return made

    def answer(
        self, request: Request, inputs: dict[str, Tensor], hear: Callable[[str], None] | None = None
    ) -> Completion:
        """The answer; `hear` is given every part of it as soon as it is certain, and may raise `CancelledError`."""
        longest = request.longest or self.talk.max_new_tokens
        streamer = Listening(lambda ids: self._text(ids, request.stops, certain=True), hear) if hear else None
        llava = self.talk.llava
        with self._lock, padded_attention(llava.model.language_model):
            if request.settings and request.seed is not None:
                torch.manual_seed(request.seed)
            more = {"streamer": streamer} if streamer else {}
            found = new_tokens(
                llava, self.talk.asker, dict(inputs), longest, stops=request.stops, **more, **request.settings
            )[0].tolist()
        text = self._text(found, request.stops)
        if streamer:
            streamer.tell(text)
        whole = self.talk.asker.tokenizer.decode(found, skip_special_tokens=True)
        ends = llava.generation_config.eos_token_id
        ended = found[-1:] == [ends] or (isinstance(ends, list) and found[-1] in ends)
        ended = ended or any(stop in whole for stop in (*self.talk.asker.chat.stops, *request.stops))
        finish = "stop" if ended or len(found) < longest else "length"
        return Completion(text, finish, inputs["input_ids"].shape[1], len(found))

    def _text(self, ids: Sequence[int], stops: Sequence[str], *, certain: bool = False) -> str:
        """What tokens say, up to a stop; with `certain`, the beginning that no further token can change."""
        chat, text = self.talk.asker.chat, self.talk.asker.tokenizer.decode(ids, skip_special_tokens=True)
        whole = text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
        if not certain:
            return chat.answer(whole)
        if chat.role and len(whole.strip()) <= len(chat.role) + 1:
            return ""  # it may become the word that is removed
        held = max((len(stop) for stop in (*chat.stops, *stops)), default=0)
        return chat.answer(whole[: len(whole) - held].rstrip("\ufffd"))


class Listening(BaseStreamer):
    """Passes on, of the tokens that are written, the text that is new."""

    def __init__(self, read: Callable[[Sequence[int]], str], hear: Callable[[str], None]) -> None:
        self.read, self.hear, self.ids, self.told = read, hear, list[int](), 0
        self.begun = False

    def put(self, value: Tensor) -> None:
        """Take the next token; the first call brings the prompt."""
        if self.begun:
            self.ids += value.flatten().tolist()
            self.tell(self.read(self.ids))
        self.begun = True

    def tell(self, text: str) -> None:
        """Pass on what is new in the text so far."""
        new, self.told = text[self.told :], max(self.told, len(text))
        self.hear(new)

    def end(self) -> None:
        """Do nothing: what remains comes with the whole answer."""
