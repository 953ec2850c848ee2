"""Averaged patch embeddings are those of a stock tower with larger patches."""

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModel, LlavaForConditionalGeneration

from medmllm.errors import ConfigError
from medmllm.model.architecture import architecture
from medmllm.model.assemble import assemble, processor
from medmllm.model.pooling import with_pooled_patches
from medmllm.model.save import save_model
from medmllm.model.vocabulary import make_tokenizer
from medmllm.settings.schema import ModelConfig
from tests.medmllm.model.checkpoints import TOWERS, language, tower


def embedded(model, pixels):
    return getattr(model, "vision_model", model).embeddings(pixels)


@pytest.mark.parametrize("kind", list(TOWERS))
@torch.no_grad()
def test_embeddings_are_the_means_of_their_squares(tmp_path, kind):
    whole = AutoModel.from_pretrained(tower(tmp_path / kind, kind)).eval()
    pooled = AutoModel.from_pretrained(tmp_path / kind).eval()
    whole, pooled = (getattr(model, "vision_model", model) if kind == "siglip" else model for model in (whole, pooled))
    pixels = torch.randn(2, 3, 28, 28)
    before = embedded(whole, pixels)
    after = embedded(with_pooled_patches(pooled, 2, 28), pixels)
    first = before.shape[1] - 4
    grid = before[:, first:].transpose(1, 2).reshape(2, -1, 2, 2)
    assert torch.allclose(after[:, first:], F.avg_pool2d(grid, 2).flatten(2).transpose(1, 2), atol=1e-5)
    assert torch.allclose(after[:, :first], before[:, :first], atol=1e-6)


@pytest.mark.parametrize("kind", list(TOWERS))
def test_the_saved_model_is_a_stock_one_with_larger_patches(tmp_path, kind):
    tree = {
        "vision": {"pretrained": str(tower(tmp_path / kind, kind)), "pool": 2, "feature_layer": -2},
        "language": {"pretrained": str(language(tmp_path / "llama")), "max_length": 256},
    }
    config = ModelConfig.model_validate(tree)
    words = make_tokenizer(config, ())
    shape = architecture(config, words)
    llava = assemble(config, words, seed=0).eval()
    save_model(tmp_path / "model", llava, processor(config, shape, words), torch.nn.Linear(1, 1))
    stock, report = LlavaForConditionalGeneration.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert stock.config.vision_config.patch_size == 28
    ids = torch.tensor([[1, *[words.image_token_id] * shape.image_seq_length, 5, 6]])
    pixels = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        asked = {"input_ids": ids, "pixel_values": pixels}
        assert torch.allclose(stock.eval()(**asked).logits, llava(**asked).logits, atol=1e-5)


def test_a_square_that_does_not_fit_is_refused_with_those_that_do():
    config = ModelConfig.model_validate({"vision": {"image_size": 84, "patch_size": 14, "pool": 4}})
    with pytest.raises(ConfigError, match="6 patches a side cannot be averaged 4 x 4") as error:
        architecture(config, None)
    assert error.value.hint.startswith("one of 1, 2, 3, 6")


def test_pooling_makes_an_image_short():
    sizes = [
        architecture(ModelConfig.model_validate({"vision": {"image_size": 336, "patch_size": 14, "pool": pool}}), None)
        for pool in (1, 2, 4)
    ]
    assert [size.image_seq_length for size in sizes] == [576, 144, 36]
