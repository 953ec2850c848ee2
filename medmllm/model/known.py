"""Sizes of well-known checkpoints, so that a run can be planned before anything is downloaded.

Each is the `config.json` of the hub's repository of that name, unless it says otherwise, without what has no bearing on
sizes. A run always loads them from the checkpoint itself.
"""

from __future__ import annotations

from typing import Any

_LLAMA_7B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}
_VICUNA_7B = _LLAMA_7B | {"max_position_embeddings": 4096}
_CLIP_L = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": 768,
}
_CLIP_L_336 = _CLIP_L | {"image_size": 336}
_MISTRAL_7B = _LLAMA_7B | {
    "model_type": "mistral",
    "intermediate_size": 14336,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "sliding_window": None,
}

# LLaMA-7B with the four tokens that this layout adds, and CLIP ViT-L/14; its own `config.json` has not been seen here.
_EXGRA_MED = {
    "model_type": "llava",
    "text_config": _LLAMA_7B | {"vocab_size": 32004},
    "vision_config": _CLIP_L,
    "image_token_index": 32001,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}

KNOWN: dict[str, dict[str, Any]] = {
    "huggyllama/llama-7b": _LLAMA_7B,
    "lmsys/vicuna-7b-v1.5": _VICUNA_7B,
    "mistralai/Mistral-7B-Instruct-v0.2": _MISTRAL_7B,
    "smollm2": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "openai/clip-vit-large-patch14": _CLIP_L,
    "openai/clip-vit-large-patch14-336": _CLIP_L_336,
    "google/siglip-so400m-patch14-384": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 384,
    },
    "facebook/dinov2-large": {
        "model_type": "dinov2",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 518,
    },
    "MERGE-Group/exgra-med": _EXGRA_MED,
    "MERGE-Group/exgra-med-dci": _EXGRA_MED | {"vision_feature_layer": [-2, *range(24)]},
    "llava-hf/llava-1.5-7b-hf": {
        "model_type": "llava",
        "text_config": _VICUNA_7B | {"vocab_size": 32064},
        "vision_config": _CLIP_L_336,
        "image_token_index": 32000,
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    },
}
