"""What a run costs, worked out without memory for a weight."""

from __future__ import annotations

import torch
from transformers import LlavaForConditionalGeneration

from medmllm.config import ModelConfig
from medmllm.model.architecture import architecture


def meta_model(config: ModelConfig) -> LlavaForConditionalGeneration:
    """The model without memory for its weights; well-known checkpoints need not be here."""
    with torch.device("meta"):
        return LlavaForConditionalGeneration(architecture(config, None, sizes=True))
