"""Dense connectors read the layers that they say, and come back as a stock LLaVA with the same outputs."""

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from medmllm.data.tokenizer import build_tokenizer
from medmllm.errors import ConfigError
from medmllm.model.architecture import architecture
from medmllm.model.assemble import assemble
from medmllm.model.dense import COMPACT
from medmllm.model.packed import PackedLlava
from medmllm.model.pretrained import load_projector
from medmllm.model.save import save_llava
from medmllm.settings.schema import ModelConfig

PIXELS = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def config(connector, layers=4):
    vision = {"image_size": 28, "patch_size": 14, "hidden_size": 16, "layers": layers, "heads": 2, "feature_layer": -2}
    language = {"hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2, "vocab_size": 300}
    return ModelConfig.model_validate({"vision": vision | {"connector": connector}, "language": language})


@pytest.fixture
def build():
    return lambda connector: assemble(config(connector), build_tokenizer((), 300), seed=0)


def by_hand(llava, groups):
    """The projector's input as the paper writes it: means over groups of hidden states, without the class token."""
    states = llava.model.vision_tower(PIXELS, output_hidden_states=True).hidden_states
    return torch.cat([torch.stack([states[i] for i in group]).mean(0)[:, 1:] for group in groups], -1)


def through(projector, weight, features):
    hidden = torch.nn.functional.linear(features, weight, projector.linear_1.bias)
    return projector.linear_2(projector.act(hidden))


def test_dci_is_a_projector_of_means(build):
    llava = build("dci")
    features = by_hand(llava, [[-2], [0, 1], [2, 3]])
    weight = dict(llava.model.multi_modal_projector.named_parameters())[COMPACT]
    assert weight.shape == (16, 3 * 16)
    expected = through(llava.model.multi_modal_projector, weight, features)
    torch.testing.assert_close(PackedLlava(llava).image_features(PIXELS), expected)


def test_dci_learns_as_a_projector_of_means(build):
    llava = build("dci")
    weight = dict(llava.model.multi_modal_projector.named_parameters())[COMPACT]
    features = by_hand(llava, [[-2], [0, 1], [2, 3]]).detach()
    expected = torch.autograd.grad(through(llava.model.multi_modal_projector, weight, features).square().sum(), weight)
    actual = torch.autograd.grad(PackedLlava(llava).image_features(PIXELS).square().sum(), weight)
    torch.testing.assert_close(actual, expected)


def test_sci_reads_thirds():
    assert architecture(config("sci", layers=24), None, sizes=True).vision_feature_layer == [-2, 8, 16]
    assert architecture(config("dci", layers=24), None, sizes=True).vision_feature_layer == [-2, *range(24)]


@pytest.mark.parametrize("connector", ["sci", "dci"])
def test_what_is_saved_is_stock_and_gives_the_same(build, tmp_path, connector):
    llava = build(connector)
    save_llava(llava, tmp_path / "m")
    stock, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    mine = PackedLlava(llava).image_features(PIXELS)
    torch.testing.assert_close(torch.stack(stock.model.get_image_features(PIXELS).pooler_output), mine)


def test_training_goes_on_from_what_was_saved(build, tmp_path):
    llava = build("dci")
    save_llava(llava, tmp_path / "m")
    again = build("dci")
    again.model.multi_modal_projector.linear_2.weight.data.zero_()
    load_projector(again.model.multi_modal_projector, tmp_path / "m" / "model.safetensors")
    for name, value in llava.model.multi_modal_projector.state_dict().items():
        torch.testing.assert_close(again.model.multi_modal_projector.state_dict()[name], value)


def test_a_tower_without_halves_is_refused():
    with pytest.raises(ConfigError, match="halves and thirds") as caught:
        architecture(config("dci", layers=3), None, sizes=True)
    assert caught.value.where == "model.vision.connector"
