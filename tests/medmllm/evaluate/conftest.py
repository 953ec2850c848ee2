"""A trained run of seconds, and a LLaVA of transformers with a chat template and a tokenizer of its own."""

import pytest
import torch
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaProcessor
from transformers import LlavaForConditionalGeneration as Llava

from medmllm.data.records import Record
from medmllm.data.tokenizer import build_tokenizer
from medmllm.training.trainer import train

TEMPLATE = (
    "{% for message in messages %}[{{ message['role'] }}]"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny):
    """A run's folder."""
    run = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(train={"steps": 4}), run)
    return run


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    """A saved LLaVA whose prompts are not ours, with weights large enough for answers to differ."""
    text = "Where is the bright box and which plane of the chest does it lie in, left or right?"
    tokenizer = build_tokenizer([Record("1", "i", ((text, text),), text, text)], 400)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    marks = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    language = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3, **marks,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=language, image_token_index=tokenizer.image_token_id, image_seq_length=4
    )
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("foreign")
    Llava(config).save_pretrained(folder)
    square = {"height": 28, "width": 28}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=square, crop_size=square), tokenizer=tokenizer, patch_size=14,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip
    processor.save_pretrained(folder)
    return folder
