"""Checkpoints in the layouts that LLaVA 1.5, LLaVA-Med 1.5 and ExGra-Med are released in, at a tiny size, and what the
original programs make of a conversation, written out with sentencepiece and Pillow alone."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from PIL import Image
from sentencepiece import SentencePieceTrainer
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from tests.medmllm.model.checkpoints import SIZES, tower

WORDS = """A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful,
detailed, and polite answers to the user's questions. What is the location of the mass? Is there evidence of an aortic
aneurysm? The liver, the left lung, the heart is not enlarged. Human: Assistant: USER ASSISTANT INST Yes No film."""
ADDED = {"[PAD]": 0, "<im_patch>": 1, "<im_start>": 2, "<im_end>": 3}
PLACES = 4
SYSTEM = (
    "A chat between a curious {0} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {0}'s questions."
)


def tokenizer_model(folder: Path) -> Path:
    """A SentencePiece model of LLaMA's kind."""
    SentencePieceTrainer.train(
        sentence_iterator=iter(WORDS.split("\n") * 3),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=1.0,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    return folder / "tokenizer.model"


@dataclass(frozen=True)
class Kind:
    """A layout: what its `config.json` says, how its slow tokenizer reads, how its program asks."""

    model_type: str
    legacy: bool = True
    first: bool = False  # LLaVA 1.0's family: images are patches of a token, added tokens take white space with them
    dci: bool = False
    config: dict = field(default_factory=dict)

    def asks(self, turns: list[tuple[str, str]], question: str) -> str:
        """The prompt as the program writes it, with `<image>` for the image."""
        talk = [part for turn in turns for part in turn] + [question]
        if self.first:
            talk[0] += "\n<image>"
            roles = ("Human", "Assistant")
            text = SYSTEM.format("human") + "###Human: Hi!###Assistant: Hi there!  How can I help you today?\n###"
            return text + "".join(f"{roles[i % 2]}: {part}###" for i, part in enumerate(talk))
        talk[0] = "<image>\n" + talk[0]
        if self.model_type == "llava_mistral":
            return "".join(f" {part} </s>" if i % 2 else f"[INST] {part} [/INST]" for i, part in enumerate(talk))
        text = SYSTEM.format("user") + " "
        text += "".join(f"ASSISTANT: {part}</s>" if i % 2 else f"USER: {part} " for i, part in enumerate(talk))
        return text + "ASSISTANT:"


KINDS = {
    "exgra-med": Kind("llava", first=True, config={"mm_use_im_start_end": True}),
    "exgra-med-dci": Kind("llava", first=True, dci=True, config={"mm_use_im_start_end": True}),
    "llava-med-v1.5": Kind("llava_mistral", config={"image_aspect_ratio": "pad"}),
    "llava-v1.5": Kind("llava_llama", legacy=False, config={"image_aspect_ratio": "pad"}),
}


def released(folder: Path, name: str, **config) -> Path:
    """Write a checkpoint and, beside it, the tower `clip` that it names."""
    kind, place = KINDS[name], folder / name
    place.mkdir(parents=True)
    tower(folder / "clip")
    (folder / "clip" / "preprocessor_config.json").write_text(json.dumps({"size": 28, "crop_size": 28}))
    rows = 400 + (len(ADDED) if kind.first else 0)
    tokenizer_model(place)
    settings = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if kind.first:
        (place / "added_tokens.json").write_text(json.dumps({word: 400 + n for word, n in ADDED.items()}))
        (place / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    else:
        settings |= {"legacy": kind.legacy, "pad_token": "<unk>"}
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    text = {"llava_mistral": MistralConfig}.get(kind.model_type, LlamaConfig)(
        vocab_size=rows, num_key_value_heads=2, max_position_embeddings=1024, **SIZES
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        language = AutoModelForCausalLM.from_config(text)
        weights = {key: value * 3 for key, value in language.state_dict().items()}
        width = (3 if kind.dci else 1) * 16
        weights |= {"model.mm_projector.0.weight": torch.randn(16, width), "model.mm_projector.0.bias": torch.randn(16)}
        weights |= {"model.mm_projector.2.weight": torch.randn(16, 16), "model.mm_projector.2.bias": torch.randn(16)}
        if kind.first:
            for layer in ("conv1", "conv2"):
                graph = f"model.message_pass_node_features.{layer}"
                weights |= {f"{graph}.lin_rel.weight": torch.randn(16, 16), f"{graph}.lin_rel.bias": torch.randn(16)}
                weights[f"{graph}.lin_root.weight"] = torch.randn(16, 16)
    torch.save(weights, place / "pytorch_model.bin")
    raw = text.to_dict() | {"model_type": kind.model_type, "mm_vision_tower": "clip", "mm_vision_select_layer": -2}
    raw |= {"mm_projector_type": "mlp2x_gelu", "mm_hidden_size": width, "torch_dtype": "float32"}
    raw |= {"transformers_version": "4.28.1" if kind.first else "4.37.2", **kind.config, **config}
    (place / "config.json").write_text(json.dumps(raw))
    return place


def official_ids(place: Path, name: str, text: str, image: int) -> list[int]:
    """Token ids of a text as the slow tokenizer of the program's own release of transformers gives them.

    `<image>` becomes the places of an image, with their marks in LLaVA 1.0's family.
    """
    kind, model = KINDS[name], sentencepiece.SentencePieceProcessor(str(place / "tokenizer.model"))
    ids = [model.bos_id()]
    marks = [402, *[401] * PLACES, 403] if kind.first else [image] * PLACES
    for number, chunk in enumerate(text.split("<image>")):
        if number:
            ids += marks
            chunk = chunk.lstrip() if kind.first else chunk
        if kind.first and number < text.count("<image>"):
            chunk = chunk.rstrip()
        for place_in_chunk, run in enumerate(chunk.split("</s>")):
            if place_in_chunk:
                ids.append(model.eos_id())
            if run:
                inside = place_in_chunk and not kind.legacy
                ids += without_prefix(model, run) if inside else model.encode(run)
    return ids


def without_prefix(model: sentencepiece.SentencePieceProcessor, text: str) -> list[int]:
    """Ids of a text that gets no space before it: those after a mark that is read with it."""
    return model.encode("\n" + text)[len(model.encode("\n")) :]


def official_pixels(image: Image.Image, fit: str, side: int = 28) -> np.ndarray:
    """(3, side, side) as CLIP's processor gives them: bicubic by Pillow; `pad` has a border of the mean colour."""
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    image = image.convert("RGB")
    width, height = image.size
    if fit == "pad" and width != height:
        longer = max(width, height)
        square = Image.new("RGB", (longer, longer), tuple(int(255 * m) for m in mean))
        square.paste(image, ((longer - width) // 2, (longer - height) // 2))
        image, width, height = square, longer, longer
    shorter = min(width, height)
    size = (side, int(side * height / width)) if shorter == width else (int(side * width / height), side)
    image = image.resize(size, Image.Resampling.BICUBIC)
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    pixels = np.asarray(image, dtype=np.float64)[top : top + side, left : left + side] / 255
    return ((pixels - mean) / std).transpose(2, 0, 1)
