"""Adapters: only in the language model, saved and loaded exactly, merged to the same outputs, and read by peft."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlavaForConditionalGeneration

from medmllm.errors import ConfigError
from medmllm.evaluate.evaluate import evaluate_model
from medmllm.model import lora
from medmllm.model.assemble import assemble
from medmllm.model.opening import open_llava, with_adapter
from medmllm.model.parts import train_only
from medmllm.model.save import save_llava
from medmllm.model.vocabulary import make_tokenizer
from medmllm.settings.schema import ModelConfig
from medmllm.training.trainer import train
from tests.medmllm.model.checkpoints import language, tower


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("lora")
    return {
        "vision": {"pretrained": str(tower(place / "clip")), "feature_layer": -2},
        "language": {"pretrained": str(language(place / "llama", tokens="bytes")), "max_length": 256},
        "lora": {"rank": 4, "alpha": 8.0},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny, model):
    """A finished run with adapters."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(model=model, train={"steps": 4, "lr": 1e-2}), folder)
    return folder


def fresh(model, seed=0):
    config = ModelConfig.model_validate(model)
    return assemble(config, make_tokenizer(config, ()), seed=seed)


def logits(llava):
    llava.eval().set_attn_implementation("sdpa")
    ids = torch.tensor([[1, *[llava.config.image_token_id] * 4, 9, 20, 30]])
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return llava(input_ids=ids, pixel_values=pixels).logits


def test_adapters_are_in_the_language_model_and_nowhere_else(model):
    llava = fresh(model)
    names = [name for name, _ in llava.named_parameters() if "lora_" in name]
    assert len(names) == 2 * 7 * llava.config.text_config.num_hidden_layers
    assert all(".language_model.layers." in name for name in names)
    assert not any("vision_tower" in name for name in names)


def test_only_adapters_and_projector_learn(model):
    llava = fresh(model)
    train_only(llava, ("projector", "language"))
    learning = {name for name, p in llava.named_parameters() if p.requires_grad}
    assert learning == {n for n, _ in llava.named_parameters() if "lora_" in n or "multi_modal_projector" in n}


def test_the_first_output_is_that_of_the_base(model):
    torch.testing.assert_close(logits(fresh(model)), logits(fresh(model | {"lora": {"rank": 0}})), rtol=0, atol=0)


def test_a_run_saves_adapters_and_reads_them_back(run, model):
    saved = load_file(run / "model" / lora.WEIGHTS)
    assert any("lora_B" in name for name in saved)
    assert all("lora_" in name or "multi_modal_projector" in name for name in saved)
    assert any(value.abs().max() > 0 for name, value in saved.items() if "lora_B" in name)
    assert lora.adapter_weights(with_adapter(run / "model")).keys() == saved.keys()
    for name, value in lora.adapter_weights(with_adapter(run / "model")).items():
        assert torch.equal(value, saved[name]), name
    assert (run / "model" / "alignment.safetensors").exists()
    assert not torch.equal(logits(with_adapter(run / "model")), logits(fresh(model)))


def test_scores_of_a_run_with_adapters_come_out_the_same(run):
    before = json.loads((run / "eval" / "test.json").read_text())
    assert evaluate_model(run) == {**before, "data": "the run's own data"}


def test_merged_is_the_same_model_without_adapters(run, tmp_path):
    merged = open_llava(run / "model")
    assert not lora.has_adapters(merged)
    torch.testing.assert_close(logits(merged), logits(with_adapter(run / "model")), rtol=1e-5, atol=1e-5)
    save_llava(merged, tmp_path / "merged")
    stock, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    torch.testing.assert_close(logits(stock), logits(with_adapter(run / "model")), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_peft_reads_the_folder_over_the_base(run, model):
    from peft import PeftModel

    base = fresh(model | {"lora": {"rank": 0}})
    llava = PeftModel.from_pretrained(base, run / "model")
    torch.testing.assert_close(
        logits(llava.base_model.model), logits(with_adapter(run / "model")), rtol=1e-5, atol=1e-5
    )
    assert AutoProcessor.from_pretrained(run / "model").tokenizer.image_token == "<image>"


def test_an_adapter_with_a_weight_missing_is_refused(run, model, tmp_path):
    saved = load_file(run / "model" / lora.WEIGHTS)
    lost = next(name for name in saved if "lora_A" in name)
    save_file({k: v for k, v in saved.items() if k != lost}, tmp_path / lora.WEIGHTS)
    with pytest.raises(ConfigError, match=r"lacks .*lora_A"):
        lora.load_adapter(fresh(model), tmp_path)


def test_adapters_without_a_base_are_refused(run, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / lora.CONFIG).write_text("{}")
    with pytest.raises(ConfigError, match="nothing says what they belong to"):
        open_llava(tmp_path / "x")
