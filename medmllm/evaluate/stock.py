"""Asking any LLaVA checkpoint of transformers, by the processor and the chat template that it comes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from medmllm.data.chat import Chat
from medmllm.data.chat_template import question_parts
from medmllm.data.conversation import ONE, Places
from medmllm.data.records import Record, each_image
from medmllm.data.source import Images

IMAGE = "<image>"
PLAIN = "USER: {images}{question} ASSISTANT:"  # LLaVA 1.5; for checkpoints without a template

UNKNOWN = Chat("unknown", first="", later="", reply="")  # says of an answer only where its text is

Turns = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class StockReader:
    """Turns records into the inputs of a checkpoint that this project did not train."""

    source: Images
    processor: Any

    @property
    def chat(self) -> Chat:
        """Nothing is known of the format beyond the template."""
        return UNKNOWN

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""
        return self.processor.tokenizer

    def questions(self, records: Sequence[Record]) -> dict[str, Tensor]:
        """Prompts and images of the records' first questions, padded on the left."""
        records = [record.first_turn() for record in records]
        texts = [prompt(self.processor, [], record.question, record.places) for record in records]
        return inputs(self.processor, texts, [self.source.image(one) for one in each_image(records)])

    def pixels(self, records: Sequence[Record]) -> Tensor:
        """(B, 3, H, W) of records with one image each."""
        images = [self.source.image(record) for record in records]
        found: Tensor = self.processor.image_processor(images, return_tensors="pt").pixel_values
        return found

    def follow_up(
        self,
        images: Sequence[tuple[int, Image.Image]],
        before: Turns,
        question: str,
        *,
        letters: Sequence[int] | None = None,
        system: str | None = None,
    ) -> dict[str, Tensor]:
        """The same of one question after earlier ones; see `Reader.follow_up`."""
        places = [(turn, letter) for (turn, _), letter in zip(images, letters or [0] * len(images), strict=True)]
        text = prompt(self.processor, before, question, places, system=system)
        return inputs(self.processor, [text], [one for _, one in images])


def prompt(processor: Any, before: Turns, question: str, images: Places = ONE, *, system: str | None = None) -> str:
    """The prompt: earlier turns, then a question, with images in them.

    The checkpoint's template decides where in a question an image is.

    Args:
        processor: of the checkpoint; one without a template is asked as LLaVA 1.5 is.
        before: earlier questions and answers.
        question: the question.
        images: turn and letter of each image; one with the first question where nothing is said.
        system: a system text, which the template may refuse.
    """
    if not processor.chat_template:
        return PLAIN.format(images="<image>\n" * len(images), question=_letters(processor, question))
    talk: list[dict[str, Any]] = []
    if system is not None:
        talk.append({"role": "system", "content": [{"type": "text", "text": _letters(processor, system)}]})
    for turn, (asked, said) in enumerate([*before, (question, "")]):
        parts = question_parts(asked, [letter for place, letter in images if place == turn])
        content = [{**part, "text": _letters(processor, part["text"])} if "text" in part else part for part in parts]
        talk.append({"role": "user", "content": content})
        talk.append({"role": "assistant", "content": [{"type": "text", "text": said}]})
    return str(processor.apply_chat_template(talk[:-1], add_generation_prompt=True))


def inputs(processor: Any, texts: Sequence[str], images: Sequence[Any]) -> dict[str, Tensor]:
    """Token ids padded on the left, with the begin mark that the template may have written already, and pixels."""
    begin = processor.tokenizer.bos_token
    marked = bool(begin) and texts[0].startswith(begin)
    shown = {"images": list(images)} if images else {}
    made = processor(**shown, text=list(texts), padding=True, add_special_tokens=not marked, return_tensors="pt")
    return {name: made[name] for name in ("input_ids", "attention_mask", "pixel_values") if name in made}


def prepare_processor(processor: Any, config: Any) -> Any:
    """A processor that pads on the left and knows how many tokens an image takes, also where old files do not say."""
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if processor.patch_size is None:
        processor.patch_size = config.vision_config.patch_size
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        processor.num_additional_image_tokens = 1  # CLIP's class token
    return processor


def _letters(processor: Any, text: str) -> str:
    """A text in which no word is a mark of the tokenizer: data must not forge an image or an end."""
    for mark in {IMAGE, *processor.tokenizer.all_special_tokens}:
        text = text.replace(mark, " ".join(mark))
    return text
