"""Checkpoints in the original layout, made here at a tiny size, become stock models with the same outputs."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration

from medmllm.errors import ConfigError
from medmllm.interop.convert import convert
from tests.medmllm.model.checkpoints import language, tower

KINDS = {"llava": "llama", "llava_llama": "llama", "llava_mistral": "mistral"}


@pytest.fixture
def original(tmp_path):
    """Writes a checkpoint as LLaVA's code saves it: `original("llava", projector="linear", with_tower=True)`."""

    def make(model_type="llava", projector="mlp2x_gelu", with_tower=False, shift=None):
        place = tmp_path / "original"
        language(place, KINDS[model_type], "always")
        vision = tower(tmp_path / "clip")
        raw = json.loads((place / "config.json").read_text())
        raw |= {"model_type": model_type, "mm_vision_tower": str(vision), "mm_projector_type": projector}
        raw |= {"mm_vision_select_layer": -2, "mm_hidden_size": 16, "torch_dtype": "float32"}
        raw["unfreeze_mm_vision_tower"] = with_tower
        raw["vocab_size"] = len(load_file(place / "model.safetensors")["lm_head.weight"])
        (place / "config.json").write_text(json.dumps(raw))
        weights = load_file(place / "model.safetensors")
        (place / "model.safetensors").unlink()
        torch.manual_seed(3)
        layers = {"linear": [""], "mlp2x_gelu": ["0.", "2."]}[projector]
        for layer in layers:
            weights[f"model.mm_projector.{layer}weight"] = torch.randn(16, 16) / 4
            weights[f"model.mm_projector.{layer}bias"] = torch.randn(16) / 4
        if with_tower:
            seen = AutoModel.from_pretrained(vision).state_dict()
            tuned = {k: v + 0.01 for k, v in seen.items() if v.is_floating_point()}
            weights |= {f"model.vision_tower.vision_tower.vision_model.{k}": v for k, v in tuned.items()}
            weights["model.vision_tower.vision_tower.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
        if shift:
            shift(weights)
        names = sorted(weights)
        for number, part in enumerate((names[::2], names[1::2]), 1):
            torch.save({n: weights[n] for n in part}, place / f"pytorch_model-0000{number}-of-00002.bin")
        return place, weights

    return make


def expected(place, weights, clip, pixels, ids):
    """What LLaVA's own code computes: patches of a layer, projector, language model over the joined sequence."""
    vision = AutoModel.from_pretrained(clip)
    seen = {k.partition("vision_model.")[2]: v for k, v in weights.items() if ".vision_model." in k}
    vision.load_state_dict({k: v for k, v in seen.items() if "position_ids" not in k}, strict=False)
    features = vision(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    projector = {k.removeprefix("model.mm_projector."): v for k, v in weights.items() if "mm_projector" in k}
    if "weight" in projector:
        images = torch.nn.functional.linear(features, projector["weight"], projector["bias"])
    else:
        hidden = torch.nn.functional.gelu(
            torch.nn.functional.linear(features, projector["0.weight"], projector["0.bias"])
        )
        images = torch.nn.functional.linear(hidden, projector["2.weight"], projector["2.bias"])
    raw = json.loads((place / "config.json").read_text())
    kind = KINDS[raw["model_type"]]
    from transformers import AutoConfig

    own = {k: v for k, v in raw.items() if not k.startswith("mm_") and k not in ("model_type", "architectures")}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **own)).eval()
    text = {k: v for k, v in weights.items() if "mm_projector" not in k and "vision_tower" not in k}
    model.load_state_dict(text)
    words = model.get_input_embeddings()(ids)
    return model(inputs_embeds=torch.cat([words[:, :1], images, words[:, 1:]], 1)).logits


@pytest.mark.parametrize("model_type", KINDS)
@pytest.mark.parametrize("projector", ["linear", "mlp2x_gelu"])
@pytest.mark.parametrize("with_tower", [False, True])
def test_the_stock_model_computes_the_same(original, tmp_path, model_type, projector, with_tower):
    place, weights = original(model_type, projector, with_tower)
    convert(place, tmp_path / "stock")
    stock, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stock", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids, pixels = torch.tensor([[1, 20, 30, 40]]), torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    image = torch.full((1, 4), stock.config.image_token_id)
    ours = stock.eval()(input_ids=torch.cat([ids[:, :1], image, ids[:, 1:]], 1), pixel_values=pixels).logits
    theirs = expected(place, weights, tmp_path / "clip", pixels, ids)
    torch.testing.assert_close(ours[..., : theirs.shape[-1]], theirs, rtol=1e-5, atol=1e-5)
    mark = "<im_patch>" if model_type == "llava" else "<image>"  # LLaVA 1.0 has a token for patches
    assert AutoProcessor.from_pretrained(tmp_path / "stock").tokenizer.image_token == mark


def test_a_weight_without_a_place_and_one_that_is_missing_are_named(original, tmp_path):
    place, _ = original(shift=lambda w: w.update({"model.layers.0.extra": torch.ones(1)}))
    with pytest.raises(ConfigError, match=r"no place for model\.language_model\.layers\.0\.extra"):
        convert(place, tmp_path / "stock")
    place, _ = original(shift=lambda w: w.pop("model.mm_projector.2.bias"))
    with pytest.raises(ConfigError, match=r"lacks model\.multi_modal_projector\.linear_2\.bias"):
        convert(place, tmp_path / "stock")
    assert not (tmp_path / "stock").exists()


def test_deltas_are_refused_and_added_to_their_base(original, tmp_path):
    place, weights = original()
    base = language(tmp_path / "base", "llama", "always")
    before = load_file(base / "model.safetensors")
    rows = len(before["lm_head.weight"]) - 2  # the base knows two tokens fewer
    before |= {k: before[k][:rows] for k in ("lm_head.weight", "model.embed_tokens.weight")}
    before = {k: v * 1.25 for k, v in before.items()}
    save_file(before, base / "model.safetensors")

    def subtract(whole):
        for name, value in before.items():
            whole[name] = whole[name].clone()
            whole[name][: len(value)] -= value

    (place / "pytorch_model-00001-of-00002.bin").unlink()
    place, _ = original(shift=subtract)
    norm = {"model.norm.weight": torch.zeros(16)}
    with pytest.raises(ConfigError, match="delta weights") as caught:
        convert(original(shift=lambda w: (subtract(w), w.update(norm)))[0], tmp_path / "stock")
    assert "--base" in caught.value.hint
    place, _ = original(shift=subtract)
    convert(place, tmp_path / "stock", base=base)
    saved = load_file(tmp_path / "stock" / "model.safetensors")
    name = next(n for n in saved if n.endswith("layers.0.self_attn.q_proj.weight") and "vision" not in n)
    torch.testing.assert_close(saved[name], weights["model.layers.0.self_attn.q_proj.weight"])


def test_other_folders_are_refused(tmp_path):
    language(tmp_path / "llama")
    with pytest.raises(ConfigError, match="not in LLaVA's first layout"):
        convert(tmp_path / "llama", tmp_path / "out")
    with pytest.raises(ConfigError, match=r"no config\.json"):
        convert(tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="exists already"):
        convert(tmp_path, tmp_path)
