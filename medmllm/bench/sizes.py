"""Models by size with random weights, and batches whose lengths follow those of medical conversations."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from medmllm.data.conversation import IGNORE, Encoded, Encoder
from medmllm.data.packing import TEXTS, PackedBatch, pack
from medmllm.data.records import Record
from medmllm.model.parts import train_only

IMAGE, BOS, EOS, FIRST = 1, 2, 3, 4  # token ids; words begin at FIRST


@dataclass(frozen=True)
class Size:
    """A LLaVA: width, feed-forward width, layers, heads of the language model; then of the tower; image and patch side;
    and by what the lengths of texts are divided."""

    language: tuple[int, int, int, int]
    vision: tuple[int, int, int, int]
    image: int
    patch: int
    vocabulary: int
    shorter: int = 1


CLIP_L = (1024, 4096, 24, 16)
SIZES = {
    "tiny": Size((128, 344, 2, 4), (64, 128, 2, 4), 56, 14, 512, 8),
    "small": Size((256, 688, 4, 4), (64, 128, 2, 4), 112, 14, 3328, 4),  # the head's share is SmolLM2-135M's, 21 %
    "1b": Size((2048, 5632, 22, 32), CLIP_L, 224, 14, 32000),
    "7b": Size((4096, 11008, 32, 32), CLIP_L, 224, 14, 32000),
    "7b-336": Size((4096, 11008, 32, 32), CLIP_L, 336, 14, 32000),
}


def build_llava(size: Size, device: torch.device, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    """The model of the second stage: projector and language model learn, the tower is frozen."""
    width, inner, layers, heads = size.language
    text = LlamaConfig(
        vocab_size=size.vocabulary, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=4096,
        pad_token_id=0, bos_token_id=BOS, eos_token_id=EOS,
    )  # fmt: skip
    width, inner, layers, heads = size.vision
    tower = CLIPVisionConfig(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        image_size=size.image, patch_size=size.patch,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=tower, text_config=text, image_token_index=IMAGE, image_seq_length=tokens_of_image(size)
    )
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with device:
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    train_only(model, ("projector", "language"))
    return model.train()


def tokens_of_image(size: Size) -> int:
    """Places that an image takes in a sequence."""
    return (size.image // size.patch) ** 2


@dataclass(frozen=True)
class Lengths:
    """Tokens of a sample's question, answer and extended caption, and how many images it has."""

    question: int
    answer: int
    caption: int
    images: int = 1


def draw_lengths(count: int, size: Size, seed: int, images: int = 1) -> list[Lengths]:
    """The length law: answers log-normal about 180 tokens, questions about 58, captions 1.2 to 1.8 answers.

    A sample has one image, or any number up to `images`, all equally often.
    """
    source = random.Random(seed)

    def log_normal(middle: float, spread: float, least: int, most: int) -> int:
        while not least <= (x := source.lognormvariate(math.log(middle), spread)) <= most:
            pass
        return int(x)

    found = []
    for _ in range(count):
        answer, question = log_normal(180, 0.5, 20, 800), log_normal(58, 0.4, 15, 200)
        caption = int(answer * source.uniform(1.2, 1.8))
        question, answer, caption = (max(1, n // size.shorter) for n in (question, answer, caption))
        found.append(Lengths(question, answer, caption, source.randint(1, images) if images > 1 else 1))
    return found


class RandomTexts:
    """Stands where a tokenizer's encoder does: random words of the given lengths."""

    def __init__(self, lengths: list[Lengths], size: Size, seed: int) -> None:
        self.lengths, self.size = lengths, size
        self.generator = torch.Generator().manual_seed(seed)

    def conversation(self, record: Record) -> Encoded:
        """Start, image, question, answer, end; the answer and its end are learnt."""
        sample = self.lengths[int(record.id)]
        target = [*self.words(sample.answer), EOS]
        prompt = [BOS, *[IMAGE] * (sample.images * tokens_of_image(self.size)), *self.words(sample.question)]
        return Encoded(prompt + target, [IGNORE] * len(prompt) + target)

    def text(self, text: str) -> Encoded:
        """A text of so many words as it says, on its own."""
        ids = [BOS, *self.words(int(text))]
        return Encoded(ids, [IGNORE] * len(ids))

    def words(self, count: int) -> list[int]:
        return torch.randint(FIRST, self.size.vocabulary, (count,), generator=self.generator).tolist()


def batch(lengths: list[Lengths], size: Size, seed: int, dtype: torch.dtype) -> PackedBatch:
    """The packed batch of such samples, with noise for images."""
    records = [
        Record(
            str(i),
            str(i),
            (),
            sentence=str(n.answer),
            caption=str(n.caption),
            further=tuple(f"{i}-{number}" for number in range(1, n.images)),
        )
        for i, n in enumerate(lengths)
    ]
    generator = torch.Generator().manual_seed(seed)
    pixels: Tensor = torch.randn(sum(n.images for n in lengths), 3, size.image, size.image, generator=generator).to(
        dtype
    )
    encoder: Any = RandomTexts(lengths, size, seed)
    return pack(records, pixels, cast(Encoder, encoder), texts=TEXTS)
