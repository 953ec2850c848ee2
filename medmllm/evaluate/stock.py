"""Asking any LLaVA checkpoint of transformers, by the processor and the chat template that it comes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from medmllm.data.chat import Chat
from medmllm.data.records import Record
from medmllm.data.source import Images

IMAGE = "<image>"
PLAIN = "USER: <image>\n{question} ASSISTANT:"  # LLaVA 1.5; for checkpoints without a template

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
        texts = [prompt(self.processor, [], record.question) for record in records]
        return inputs(self.processor, texts, [self.source.image(record) for record in records])

    def follow_up(self, image: Image.Image, before: Turns, question: str) -> dict[str, Tensor]:
        """The same of one question after earlier ones about an image that is open."""
        return inputs(self.processor, [prompt(self.processor, before, question)], [image])


def prompt(processor: Any, before: Turns, question: str) -> str:
    """The prompt: earlier turns, then a question; the image is before the first."""
    talk: list[dict[str, Any]] = []
    for asked, said in [*before, (question, "")]:
        image = [] if talk else [{"type": "image"}]
        talk.append({"role": "user", "content": [*image, {"type": "text", "text": _letters(processor, asked)}]})
        talk.append({"role": "assistant", "content": [{"type": "text", "text": said}]})
    if not processor.chat_template:
        return PLAIN.format(question=_letters(processor, question))
    return str(processor.apply_chat_template(talk[:-1], add_generation_prompt=True))


def inputs(processor: Any, texts: Sequence[str], images: Sequence[Any]) -> dict[str, Tensor]:
    """Token ids padded on the left, with the begin mark that the template may have written already, and pixels."""
    begin = processor.tokenizer.bos_token
    marked = bool(begin) and texts[0].startswith(begin)
    made = processor(
        images=list(images), text=list(texts), padding=True, add_special_tokens=not marked, return_tensors="pt"
    )
    return {name: made[name] for name in ("input_ids", "attention_mask", "pixel_values")}


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
