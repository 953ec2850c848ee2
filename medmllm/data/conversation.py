"""From a record to token ids: what the language model reads, and which of it it must learn to write.

One line of text per turn, in LLaVA's style:

    <s>USER: <image>\\n{question} ASSISTANT: {answer}</s>USER: {question} ASSISTANT: {answer}</s>

Pieces are encoded one by one and joined, so the boundary between prompt and answer is exact by construction; the chat
template that is saved with the model writes the same string (a test holds both together).
"""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from medmllm.data.records import Record

IGNORE = -100
CAPTION_PROMPT = "Describe this image."
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    " ASSISTANT:{% else %} "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True)
class Encoded:
    """Token ids of one sequence; `labels` repeats those to be learnt and holds -100 elsewhere."""

    ids: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.ids)


class Encoder:
    """Encodes records with one tokenizer; an image takes `image_tokens` places."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, image_tokens: int) -> None:
        self.tokenizer, self.image_tokens = tokenizer, image_tokens
        # A copy that reads special marks inside a text as letters, so that data cannot forge an image or an end.
        self._core = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        self._core.encode_special_tokens = True

    def conversation(self, record: Record) -> Encoded:
        """The whole conversation; answers and their end marks are learnt."""
        return self._turns(record.turns)

    def captioning(self, record: Record) -> Encoded:
        """The extended caption as a language-model target, from the image alone."""
        return self._turns(((CAPTION_PROMPT, record.caption),))

    def text(self, text: str) -> Encoded:
        """A text on its own, as a view of the alignment: nothing in it is learnt."""
        ids = [self.tokenizer.bos_token_id, *self._encode(f" {text}")]
        return Encoded(ids, [IGNORE] * len(ids))

    def prompt(self, question: str) -> list[int]:
        """What generation starts from: the first question with its image, up to ``ASSISTANT:``."""
        return self._question(question, first=True)

    def _turns(self, turns: tuple[tuple[str, str], ...]) -> Encoded:
        ids: list[int] = []
        labels: list[int] = []
        for position, (question, answer) in enumerate(turns):
            prompt = self._question(question, first=position == 0)
            target = [*self._encode(f" {answer}"), self.tokenizer.eos_token_id]
            ids += prompt + target
            labels += [IGNORE] * len(prompt) + target
        return Encoded(ids, labels)

    def _question(self, question: str, *, first: bool) -> list[int]:
        if not first:
            return self._encode(f"USER: {question} ASSISTANT:")
        image = [self.tokenizer.image_token_id] * self.image_tokens
        start = [self.tokenizer.bos_token_id, *self._encode("USER: ")]
        return [*start, *image, *self._encode(f"\n{question} ASSISTANT:")]

    def _encode(self, text: str) -> list[int]:
        return self._core.encode(text, add_special_tokens=False).ids
