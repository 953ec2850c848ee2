"""How a conversation is written: the strings around questions and answers, in the formats that language models know.

A format is data: patterns in which `{bos}`, `{eos}`, `{image}` and words such as `<|im_end|>` mean single tokens; a
question and an answer are only letters, whatever they hold. The chat template that is saved with the model is made
from the same data (`medmllm.data.chat_template`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

PIECES = re.compile(r"(\{\w+\}|<\|\w+\|>|<im_start>|<im_end>)")
TEXTS = ("{system}", "{question}", "{answer}", "{text}")  # pieces of a pattern that are filled with text


@dataclass(frozen=True)
class Chat:
    """One format.

    Attributes:
        name: as `model.language.chat` has it.
        first: what precedes the first answer: `{system}` and `{question}` with its image.
        later: a question after an answer.
        reply: the answer and its end; all of it is learnt.
        tail: what a training row ends with after its last answer; not learnt.
        system: the text that `{system}` is where a conversation has none of its own; "" writes nothing.
        around_system: a system text in its place, as `{text}`.
        around_image: the image with the marks that this model knows around it.
        image_last: whether the image follows the question or precedes it.
        image_stays: whether a training row keeps its image where the data file had it.
        end: the token that ends an answer.
        stops: texts that end an answer too.
        role: the word that the model writes before its answer by itself; it is removed from what it says.
        answer_tokens: longest answer where nothing else is asked; None leaves it to the settings.
        training: name of the format in which training rows are written, where it is another.
    """

    name: str
    first: str
    later: str
    reply: str
    tail: str = ""
    system: str = ""
    around_system: str = "{text}"
    around_image: str = "{image}"
    image_last: bool = False
    image_stays: bool = False
    end: str = "{eos}"
    stops: tuple[str, ...] = ()
    role: str = ""
    answer_tokens: int | None = None
    training: str = ""

    @property
    def for_training(self) -> Chat:
        """The format of training rows, with the same marks around images."""
        return replace(CHATS[self.training], around_image=self.around_image) if self.training else self

    def marked(self) -> Chat:
        """The same with `<im_start>` and `<im_end>` around every image."""
        return replace(self, around_image="<im_start>{image}<im_end>")

    def answer(self, said: str) -> str:
        """A model's answer without its end mark and without its role word.

        Example:
            >>> CHATS["simple"].answer("Assistant: The liver.###Human: And")
            'The liver.'
        """
        cut = min((place for stop in self.stops if (place := said.find(stop)) >= 0), default=len(said))
        text = said[:cut].strip()
        return text.removeprefix(f"{self.role}:").strip() if self.role else text


def pieces(pattern: str) -> Iterator[str]:
    """The marks of a pattern and the text between them, in order."""
    return (piece for piece in PIECES.split(pattern) if piece)


def is_mark(piece: str) -> bool:
    """Whether a piece of a pattern is a token of its own."""
    return PIECES.fullmatch(piece) is not None and piece not in TEXTS


_POLITE = "The assistant gives helpful, detailed, and polite answers to the {}'s questions."
_USER = f"A chat between a curious user and an artificial intelligence assistant. {_POLITE.format('user')}"
_HUMAN = f"A chat between a curious human and an artificial intelligence assistant. {_POLITE.format('human')}"
_VICUNA = Chat(
    "vicuna",
    first="{bos}{system}USER: {question} ASSISTANT:",
    later="USER: {question} ASSISTANT:",
    reply=" {answer}{eos}",
    around_system="{text} ",
)
_MISTRAL = Chat(
    "mistral",
    first="{bos}[INST] {system}{question} [/INST]",
    later="[INST] {question} [/INST]",
    reply=" {answer}{eos}",
    around_system="<<SYS>>\n{text}\n<</SYS>>\n\n",
)
_GREETING = "###Human: Hi!###Assistant: Hi there!  How can I help you today?\n"
CHATS = {
    chat.name: chat
    for chat in (
        _VICUNA,
        replace(_VICUNA, name="vicuna_v1", system=_USER, answer_tokens=1024),
        _MISTRAL,
        replace(_MISTRAL, name="mistral_instruct", reply=" {answer} {eos}", answer_tokens=1024),
        Chat(
            "simple",
            first="{bos}{system}" + _GREETING + "###Human: {question}###",
            later="Human: {question}###",
            reply="Assistant: {answer}###",
            system=_HUMAN,
            image_last=True,
            stops=("###",),
            role="Assistant",
            answer_tokens=1024,
            training="v0",
        ),
        Chat(
            "v0",
            first="{bos}{system}### Human: {question}\n### Assistant:",
            later=" Human: {question}\n### Assistant:",
            reply=" {answer}\n###",
            tail=" ",
            system=_HUMAN,
            around_system="{text}\n\n",
            image_stays=True,
            stops=("###",),
            role="Assistant",
            answer_tokens=1024,
        ),
        Chat(
            "chatml",
            first="{system}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
            later="\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
            reply="{answer}<|im_end|>",
            around_system="<|im_start|>system\n{text}<|im_end|>\n",
            end="<|im_end|>",
        ),
    )
}
