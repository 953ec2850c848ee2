"""Parts and whole checkpoints load exactly, or are refused with the name of what does not fit."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration

from medmllm.build import build_reader
from medmllm.data.records import Record
from medmllm.errors import ConfigError
from medmllm.model import architecture as sizes
from medmllm.model.architecture import architecture
from medmllm.model.assemble import assemble, processor
from medmllm.model.hub import find_config
from medmllm.model.listing import families
from medmllm.model.packed import PackedLlava
from medmllm.model.positions import interpolated
from medmllm.model.save import save_llava, save_model
from medmllm.model.vocabulary import make_tokenizer
from medmllm.planning.plan import plan
from medmllm.settings.schema import ModelConfig
from tests.medmllm.model.checkpoints import LANGUAGES, TOWERS, language, tower

RECORD = Record("a", "1.png", (("Which plane is this?", "axial"),), "It is axial.", "An axial slice.")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("pretrained")
    made = {kind: tower(place / kind, kind) for kind in TOWERS}
    made |= {kind: language(place / kind, kind) for kind in LANGUAGES}
    return made | {"tied": language(place / "tied", tied=True)}


@pytest.fixture
def config(folders):
    def make(vision="clip", text="llama", **more):
        tree = {
            "vision": {"pretrained": str(folders[vision]), "feature_layer": -2, **more.pop("vision_more", {})},
            "language": {"pretrained": str(folders[text]), "max_length": 256},
        }
        return ModelConfig.model_validate(tree | more)

    return make


def built(config, seed=0):
    tokenizer = make_tokenizer(config, ())
    return assemble(config, tokenizer, seed=seed), tokenizer


def save(folder, config, llava, tokenizer):
    save_model(folder, llava, processor(config, architecture(config, tokenizer), tokenizer), torch.nn.Linear(1, 1))


def test_every_family_that_is_listed_is_loaded_here():
    assert {config.model_type for config in TOWERS.values()} == set(sizes.TOWERS)
    assert set(LANGUAGES) == set(sizes.FAMILY)
    assert {row["family"] for row in families()} == {*sizes.TOWERS, *LANGUAGES, "llava"}


@pytest.mark.parametrize("vision", TOWERS)
@pytest.mark.parametrize("text", LANGUAGES)
def test_parts_are_put_together_unchanged(folders, config, vision, text):
    llava, tokenizer = built(config(vision, text))
    saved = AutoModel.from_pretrained(folders[vision]).state_dict()
    assert llava.model.vision_tower.state_dict().keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in llava.model.vision_tower.state_dict().items())
    saved = AutoModelForCausalLM.from_pretrained(folders[text]).state_dict()
    ours = {"model." + k: v for k, v in llava.model.language_model.state_dict().items()}
    ours["lm_head.weight"] = llava.lm_head.weight
    assert ours.keys() == saved.keys()
    assert all(torch.equal(value[: len(saved[name])], saved[name]) for name, value in ours.items())
    assert len(llava.lm_head.weight) == len(tokenizer) == len(saved["lm_head.weight"]) + 2


def test_every_tower_gives_as_many_tokens_as_the_encoder_expects(config):
    pixels = torch.zeros(2, 3, 28, 28)
    for vision in TOWERS:
        llava, _ = built(config(vision))
        features = PackedLlava(llava).image_features(pixels)
        assert features.shape == (2, llava.config.image_seq_length, 16)


def test_only_what_is_read_of_a_tower_learns(config):
    for vision in TOWERS:
        llava, _ = built(config(vision))
        PackedLlava(llava).image_features(torch.ones(1, 3, 28, 28)).sum().backward()
        parameters = dict(llava.model.vision_tower.named_parameters())
        learning = {name for name, p in parameters.items() if p.requires_grad}
        assert learning == {name for name, p in parameters.items() if p.grad is not None}


def test_new_weights_come_from_the_seed_alone(config):
    one, two, other = built(config())[0], built(config())[0], built(config(), seed=1)[0]
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same)
    new = [llava.model.multi_modal_projector.linear_1.weight for llava in (one, other)]
    assert not torch.equal(*new)


@pytest.mark.parametrize("text", ["llama", "tied"])
def test_what_is_saved_is_stock_and_whole(config, tmp_path, text):
    asked = config(text=text)
    llava, tokenizer = built(asked)
    shape = architecture(asked, tokenizer)
    save(tmp_path / "m", asked, llava, tokenizer)
    again, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    ids = torch.tensor([[1, *[shape.image_token_id] * shape.image_seq_length, 5, 6]])
    asked = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 28, 28)}
    llava.set_attn_implementation("sdpa")
    torch.testing.assert_close(again(**asked).logits, llava(**asked).logits, rtol=0, atol=0)
    assert AutoProcessor.from_pretrained(tmp_path / "m").tokenizer.image_token == "<image>"


def test_a_whole_model_starts_from_what_was_saved(config, tmp_path):
    llava, tokenizer = built(config())
    save(tmp_path / "m", config(), llava, tokenizer)
    whole = ModelConfig(source=str(tmp_path / "m"))
    again, words = built(whole)
    assert all(torch.equal(a, b) for a, b in zip(llava.parameters(), again.parameters(), strict=True))
    assert words.get_vocab() == tokenizer.get_vocab()
    pairs = ((whole, words), (config(), tokenizer))
    mine, theirs = (build_reader(asked, None, known).encoder.conversation(RECORD) for asked, known in pairs)
    assert mine == theirs


def test_a_weight_that_is_missing_or_of_no_use_is_named(config, tmp_path):
    llava, tokenizer = built(config())
    save(tmp_path / "m", config(), llava, tokenizer)
    (tmp_path / "m" / "SHA256SUMS").unlink()  # as in a checkpoint of others
    file = tmp_path / "m" / "model.safetensors"
    weights = load_file(file)
    lost = next(name for name in weights if "linear_2.bias" in name)
    save_file({k: v for k, v in weights.items() if k != lost}, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks .*linear_2\.bias"):
        built(ModelConfig(source=str(tmp_path / "m")))
    save_file(weights | {"model.language_model.layers.9.x": torch.ones(1)}, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"has no place for .*layers\.9\.x"):
        built(ModelConfig(source=str(tmp_path / "m")))


@pytest.mark.parametrize("name", ["plain.safetensors", "mm_projector.bin"])
def test_a_projector_of_ones_own_is_loaded(config, tmp_path, name):
    llava, _ = built(config(), seed=3)
    own = llava.model.multi_modal_projector.state_dict()
    numbers = {"linear_1": "0", "linear_2": "2"}
    if name.endswith(".bin"):
        torch.save(
            {f"model.mm_projector.{numbers[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in own.items()},
            tmp_path / name,
        )
    else:
        save_file(own, tmp_path / name)
    loaded, _ = built(config(projector=str(tmp_path / name)))
    for key, value in loaded.model.multi_modal_projector.state_dict().items():
        assert torch.equal(value, own[key])


def test_a_projector_that_does_not_fit_is_named(config, tmp_path):
    llava, _ = built(config())
    own = llava.model.multi_modal_projector.state_dict()
    save_file({k: v for k, v in own.items() if k != "linear_2.bias"}, tmp_path / "p.safetensors")
    with pytest.raises(ConfigError, match=r"lacks linear_2\.bias"):
        built(config(projector=str(tmp_path / "p.safetensors")))
    save_file(own | {"linear_1.weight": torch.ones(16, 3)}, tmp_path / "p.safetensors")
    with pytest.raises(ConfigError, match=r"another shape in linear_1\.weight"):
        built(config(projector=str(tmp_path / "p.safetensors")))
    (tmp_path / "bad.bin").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="cannot be read"):
        built(config(projector=str(tmp_path / "bad.bin")))


@pytest.mark.parametrize("vision", TOWERS)
def test_another_image_size(config, vision):
    asked = config(vision, vision_more={"image_size": 42})
    llava, tokenizer = built(asked)
    shape, registers = architecture(asked, tokenizer), getattr(TOWERS[vision], "num_register_tokens", 0)
    assert shape.image_seq_length == 9 + registers
    assert PackedLlava(llava).image_features(torch.zeros(1, 3, 42, 42)).shape == (1, 9 + registers, 16)
    assert processor(asked, shape, tokenizer).image_processor.size == {"height": 42, "width": 42}


def test_positions_keep_their_place():
    grid = torch.linspace(0, 1, 4)[:, None] + torch.zeros(4)  # rows rise, columns do not
    table = torch.cat([torch.full((1, 1), 7.0), grid.reshape(-1, 1)])
    new = interpolated(table, 8)
    assert new[0] == 7
    rows = new[1:].reshape(8, 8)
    torch.testing.assert_close(rows, rows[:, :1].expand(8, 8))
    assert bool((rows[1:, 0] > rows[:-1, 0]).all())
    torch.testing.assert_close(interpolated(table, 4), table)


def test_an_image_size_that_patches_do_not_fill_is_refused(config):
    with pytest.raises(ConfigError, match="do not fill") as caught:
        built(config(vision_more={"image_size": 30}))
    assert caught.value.hint == "model.vision.image_size=28"


@pytest.mark.parametrize("key", ["model.language.pretrained", "model.vision.pretrained", "model.source"])
def test_what_is_nowhere_gives_the_line_that_fetches_it(config, key):
    section = key.split(".")[1]
    tree = {section: "some/where"} if section == "source" else {section: {"pretrained": "some/where"}}
    asked = ModelConfig.model_validate(tree)
    with pytest.raises(ConfigError, match="neither a folder nor in the cache") as caught:
        built(asked)
    assert caught.value.where == key
    assert f"hf download some/where --local-dir where; then {key}=where" in caught.value.hint


def test_kinds_that_do_not_fit_are_refused(folders, config):
    with pytest.raises(ConfigError, match="not a tower"):
        architecture(ModelConfig.model_validate({"vision": {"pretrained": str(folders["llama"])}}), None)
    with pytest.raises(ConfigError, match="not a language model"):
        architecture(ModelConfig.model_validate({"language": {"pretrained": str(folders["clip"])}}), None)
    with pytest.raises(ConfigError, match="not a LLaVA"):
        architecture(ModelConfig(source=str(folders["llama"])), None)
    with pytest.raises(ConfigError, match="positions") as caught:
        architecture(
            ModelConfig.model_validate({"language": {"pretrained": str(folders["llama"]), "max_length": 1024}}), None
        )
    assert caught.value.hint == "model.language.max_length=512"


def test_a_weight_keeps_its_newer_name_where_asked(config, tmp_path):
    llava, _ = built(config())
    save_llava(llava, tmp_path / "m", layout="v5")
    names = [name for name in load_file(tmp_path / "m" / "model.safetensors") if "vision_tower" in name]
    assert names
    assert not any(".vision_model." in name for name in names)


@pytest.mark.parametrize("part", ["vision", "language"])
def test_a_folder_without_a_config_is_told_as_such(tiny, tmp_path, part):
    with pytest.raises(ConfigError, match=r"holds no config\.json") as told:
        find_config(str(tmp_path), f"model.{part}.pretrained")
    assert told.value.where == f"model.{part}.pretrained"
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        plan(tiny(model={part: {"pretrained": str(tmp_path)}}))
