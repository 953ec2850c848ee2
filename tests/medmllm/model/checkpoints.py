"""Pretrained checkpoints of the real classes, at a size that is made in a moment."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    SiglipVisionConfig,
)

TEXT = ["Which plane is this? axial", "Is the liver seen? Yes, no, 12 of 3."]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
PLACES = {"image_size": 28, "patch_size": 14}


def tokenizer(kind: str = "bytes") -> PreTrainedTokenizerFast:
    """`bytes`: as GPT-2 and LLaMA-3; `first`, `always`: SentencePiece's, a space before the first or before every run;
    `split`: as a tokenizer that knows no difference between a text and its parts."""
    core = Tokenizer(models.BPE(byte_fallback=kind != "bytes", unk_token=None))
    special = ["<unk>", "<s>", "</s>"]
    alphabet = sorted(set("".join(TEXT)) | set("USERASSISTANT:[]/INST\n▁,.0123456789abcdefghijklmnopqrstuvwxyz"))
    if kind == "bytes":
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        special += ["<|im_start|>", "<|im_end|>"]
    elif kind in ("first", "always"):
        core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
        core.decoder = decoders.Metaspace(prepend_scheme=kind)
    elif kind == "prepend":  # what older tokenizer.json of LLaMA hold
        core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([text.replace(" ", "▁") if kind == "prepend" else text for text in TEXT], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


LANGUAGES = {"llama": LlamaConfig, "mistral": MistralConfig, "qwen2": Qwen2Config, "qwen3": Qwen3Config}


def language(
    folder: Path, kind: str = "llama", tokens: str = "always", *, tied: bool = False, theta: float = 1e4
) -> Path:
    """A causal language model and its tokenizer."""
    words = tokenizer(tokens)
    config = LANGUAGES[kind](
        vocab_size=len(words), num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=tied, **SIZES
    )
    config.rope_parameters["rope_theta"] = theta
    with torch.random.fork_rng():
        torch.manual_seed(1)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


TOWERS = {
    "clip": CLIPVisionConfig(**SIZES, **PLACES),
    "siglip": SiglipVisionConfig(**SIZES, **PLACES),
    "dinov2": Dinov2Config(hidden_size=16, num_hidden_layers=4, num_attention_heads=2, **PLACES),
    "registers": Dinov2WithRegistersConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, num_register_tokens=3, **PLACES
    ),
}


def tower(folder: Path, kind: str = "clip") -> Path:
    """A vision tower."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        AutoModel.from_config(TOWERS[kind]).save_pretrained(folder)
    return folder
