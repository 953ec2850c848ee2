"""Released checkpoints ask, read and look as their own programs do, from our generation and from stock transformers."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import sentencepiece
import torch
from PIL import Image
from torch.nn.functional import gelu, linear
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor, LlavaForConditionalGeneration

from medmllm.build import build_job
from medmllm.data.chat import CHATS
from medmllm.data.chat_template import chat_of
from medmllm.data.conversation import IGNORE, Encoder
from medmllm.data.records import Record
from medmllm.errors import ConfigError, MissingExtraError
from medmllm.interop.convert import convert
from medmllm.model.alignment import build_loss
from medmllm.model.hub import find_tokenizer
from medmllm.model.manner import fit_of
from medmllm.model.vocabulary import make_tokenizer, with_marks
from medmllm.settings.schema import Config, ModelConfig
from tests.medmllm.interop.released import KINDS, PLACES, SYSTEM, official_ids, official_pixels, released
from tests.medmllm.model.checkpoints import language

QUESTIONS = ("Is there evidence of an aneurysm?", 'A  mass, left?\n(Answer "Yes" or "No").', "肺 🫁 3,5 µm — où?", "x")
ANSWERS = ("Yes.", "the left lung", "No, it is clear")


@pytest.fixture(scope="module", params=KINDS)
def stock(request, tmp_path_factory):
    """A converted checkpoint: its name, the original's folder and its own."""
    folder = tmp_path_factory.mktemp("released")
    convert(released(folder, request.param), folder / "stock")
    return request.param, folder / request.param, folder / "stock"


def opened(folder):
    processor = AutoProcessor.from_pretrained(folder)
    return processor, Encoder(processor.tokenizer, PLACES, chat_of(processor))


@pytest.mark.parametrize("before", [0, 1, 2])
def test_prompts_have_the_original_tokens(stock, before):
    name, original, folder = stock
    processor, encoder = opened(folder)
    image = Image.new("RGB", (28, 28))
    rng = random.Random(before)
    for question in QUESTIONS:
        turns = [(rng.choice(QUESTIONS), rng.choice(ANSWERS)) for _ in range(before)]
        wanted = official_ids(original, name, KINDS[name].asks(turns, question), processor.tokenizer.image_token_id)
        assert encoder.prompt(question, tuple(turns)) == wanted
        talk = []
        for number, (asked, said) in enumerate([*turns, (question, "")]):
            picture = [] if number else [{"type": "image"}]
            talk += [{"role": "user", "content": [*picture, {"type": "text", "text": asked}]}]
            talk += [{"role": "assistant", "content": [{"type": "text", "text": said}]}]
        text = processor.apply_chat_template(talk[:-1], add_generation_prompt=True)
        made = processor(images=image, text=text, add_special_tokens=False, return_tensors="pt")
        assert made["input_ids"][0].tolist() == wanted


def test_added_tokens_keep_their_ids(stock):
    name, original, folder = stock
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    if KINDS[name].first:
        words = ["[PAD]", "<im_patch>", "<im_start>", "<im_end>"]
        assert tokenizer.convert_tokens_to_ids(words) == [400, 401, 402, 403]
        assert (tokenizer.pad_token, tokenizer.image_token, len(tokenizer)) == ("[PAD]", "<im_patch>", 404)
    else:
        assert (tokenizer.image_token, tokenizer.image_token_id, len(tokenizer)) == ("<image>", 3, 400)
        pieces = sentencepiece.SentencePieceProcessor(str(original / "tokenizer.model"))
        own = tokenizer.convert_ids_to_tokens(list(range(400)))
        assert [i for i in range(400) if own[i] != pieces.id_to_piece(i)] == [3]  # the byte 0, which no text holds


@pytest.mark.parametrize("size", [(40, 40), (60, 33), (33, 60)])
def test_images_become_square_as_the_original_makes_them(stock, size):
    name, _, folder = stock
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image, images = Image.fromarray(noise), AutoProcessor.from_pretrained(folder).image_processor
    assert fit_of(images) == ("crop" if KINDS[name].first else "pad")
    pixels = images(image, return_tensors="pt").pixel_values[0].numpy()
    assert np.abs(pixels - official_pixels(image, fit_of(images))).max() < 0.002


def test_a_training_row_has_the_tokens_of_the_prompt(stock):
    name, original, folder = stock
    processor, encoder = opened(folder)
    record = Record("r", "1.png", (("Which organ?", "the liver"), ("Sure?", "Yes.")), "the liver", "the liver")
    row = encoder.conversation(record)
    learnt = processor.tokenizer.decode([label for label in row.labels if label != IGNORE])
    if KINDS[name].first:
        assert learnt == "the liver\n### Yes.\n###"  # the marks of the speakers are not learnt, as they are there
    else:
        text = KINDS[name].asks([("Which organ?", "the liver"), ("Sure?", "Yes.")], "x")
        end = text.rindex("[INST]" if KINDS[name].model_type == "llava_mistral" else "USER")
        assert row.ids == official_ids(original, name, text[:end], processor.tokenizer.image_token_id)


def test_a_row_keeps_its_image_where_the_first_programs_leave_it(tmp_path):
    convert(released(tmp_path, "exgra-med"), tmp_path / "stock")
    processor, encoder = opened(tmp_path / "stock")
    front = Record("r", "1.png", (("Which organ?", "liver"),), "liver", "liver")
    ids = encoder.conversation(replace(front, image_place=len("Which organ?"))).ids
    text = SYSTEM.format("human") + "\n\n### Human: Which organ?\n<image>\n### Assistant: liver\n### "
    assert ids == official_ids(tmp_path / "exgra-med", "exgra-med", text, 0)
    assert ids != encoder.conversation(front).ids
    assert processor.tokenizer.convert_ids_to_tokens(ids[-4:])[-1] == "\u2581"


def test_weights_are_the_originals(stock):
    name, _, folder = stock
    model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.dtype == torch.float32
    assert (folder / "alignment.safetensors").exists() == KINDS[name].first


def logits_of(place, name, tower, ids, pixels):
    """The program's computation, written out: layers of the tower, their means, the projector, the language model."""
    weights = torch.load(place / "pytorch_model.bin", weights_only=True)
    states = AutoModel.from_pretrained(tower)(pixels, output_hidden_states=True).hidden_states
    states = [state[:, 1:] for state in states]
    half = (len(states) - 1) // 2
    read = [states[-2]]
    if KINDS[name].dci:
        read += [torch.stack(part).mean(0) for part in (states[:half], states[half : 2 * half])]
    first, second = ([weights[f"model.mm_projector.{n}.{kind}"] for kind in ("weight", "bias")] for n in (0, 2))
    images = linear(gelu(linear(torch.cat(read, -1), *first)), *second)
    config = json.loads((place / "config.json").read_text())
    kind = "mistral" if config["model_type"] == "llava_mistral" else "llama"
    known = AutoConfig.for_model(kind).to_dict().keys() - {"model_type", "architectures", "transformers_version"}
    language = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k in known})
    )
    own = {k: v for k, v in weights.items() if "mm_projector" not in k and "message_pass" not in k}
    language.load_state_dict(own)
    words, at = language.get_input_embeddings()(torch.tensor([ids])).clone(), ids.index(3 if 401 not in ids else 401)
    words[:, at : at + PLACES] = images
    return language(inputs_embeds=words).logits


@torch.no_grad()
def test_logits_are_those_of_the_original(stock):
    name, original, folder = stock
    processor, encoder = opened(folder)
    model = LlavaForConditionalGeneration.from_pretrained(folder)
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (33, 50, 3), dtype=np.uint8))
    pixels = processor.image_processor(image, return_tensors="pt").pixel_values
    ids = encoder.prompt("Is the liver seen?")
    ours = model(input_ids=torch.tensor([ids]), pixel_values=pixels).logits
    theirs = logits_of(original, name, original.parent / "clip", ids, pixels)
    assert ours.shape == theirs.shape  # no row was added to the vocabulary
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def job_of(folder, drawn, **sections):
    tree = {"data": {"source": str(drawn)}, "model": {"source": str(folder)}, "train": {"batch_size": 4}, **sections}
    return build_job(Config.model_validate(tree | {"device": "cpu"}))


def test_training_goes_on_as_the_checkpoint_says(stock, drawn):
    name, original, folder = stock
    job = job_of(folder, drawn, align={"residual": False})
    assert job.reader.encoder.chat == chat_of(AutoProcessor.from_pretrained(folder))
    assert fit_of(job.reader.processor.image_processor) == ("crop" if KINDS[name].first else "pad")
    drawn_weights = build_loss(job.config.align, 16, seed=job.config.seed).state_dict()
    if not KINDS[name].first:
        assert all(torch.equal(v, drawn_weights[k]) for k, v in job.model.alignment.state_dict().items())
        return
    weights = torch.load(original / "pytorch_model.bin", weights_only=True)
    for key, value in job.model.alignment.state_dict().items():
        layer, _, rest = key.removeprefix("encoder.layers.").partition(".")
        assert torch.equal(value, weights[f"model.message_pass_node_features.conv{int(layer) + 1}.{rest}"])
    new = job_of(folder, drawn, align={"from_source": False}).model.alignment.state_dict()
    assert all(torch.equal(v, drawn_weights[k]) for k, v in new.items())
    with pytest.raises(ConfigError, match="message passing") as caught:
        job_of(folder, drawn, align={"layers": 3})
    assert "align.from_source=false" in caught.value.hint


def test_another_format_than_the_sources_has_to_be_asked_for(stock, drawn):
    name, _, folder = stock
    asked = {"source": str(folder), "language": {"chat": "vicuna"}}
    chat = job_of(folder, drawn, model=asked).reader.encoder.chat
    assert chat == (CHATS["vicuna"].marked() if KINDS[name].first else CHATS["vicuna"])
    strange = folder.parent / "strange"
    shutil.copytree(folder, strange, dirs_exist_ok=True)
    (strange / "chat_template.jinja").write_text("{% for m in messages %}[{{ m['role'] }}]{% endfor %}")
    with pytest.raises(ConfigError, match="none of the known formats"):
        job_of(strange, drawn)


REFUSED = {
    "anyres": ({"image_aspect_ratio": "anyres"}, "llava_next"),
    "unpad": ({"mm_patch_merge_type": "spatial_unpad"}, "llava_next"),
    "biomed": ({"mm_vision_tower": "microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224"}, "timm"),
    "projector": ({"mm_projector_type": "identity"}, "no projector identity"),
    "select": ({"mm_vision_select_feature": "cls"}, "feature selection"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_stock_llava_is_gets_refused_by_name(tmp_path, name):
    config, said = REFUSED[name]
    place = released(tmp_path, "llava-v1.5", **config)
    with pytest.raises(ConfigError, match=said):
        convert(place, tmp_path / "stock")
    assert not (tmp_path / "stock").exists()


@torch.no_grad()
def test_the_class_token_can_be_read_too(tmp_path):
    convert(released(tmp_path, "llava-v1.5", mm_vision_select_feature="cls_patch"), tmp_path / "stock")
    model = LlavaForConditionalGeneration.from_pretrained(tmp_path / "stock")
    processor = AutoProcessor.from_pretrained(tmp_path / "stock")
    assert (model.config.vision_feature_select_strategy, model.config.image_seq_length) == ("full", PLACES + 1)
    made = processor(images=Image.new("RGB", (30, 20)), text="USER: <image>\nWhich? ASSISTANT:", return_tensors="pt")
    assert (made["input_ids"] == model.config.image_token_id).sum() == PLACES + 1
    assert model(**made).logits.isfinite().all()


def test_a_tower_inside_counts_where_the_original_trains_it(tmp_path):
    for trained in (False, True):
        place = released(tmp_path / str(trained), "llava-v1.5", unfreeze_mm_vision_tower=trained)
        weights = torch.load(place / "pytorch_model.bin", weights_only=True)
        named = AutoModel.from_pretrained(place.parent / "clip").state_dict()
        inside = {f"model.vision_tower.vision_tower.vision_model.{k}": v + 1 for k, v in named.items() if v.ndim}
        torch.save(weights | inside, place / "pytorch_model.bin")
        convert(place, place.parent / "stock")
        model = LlavaForConditionalGeneration.from_pretrained(place.parent / "stock")
        shift = model.model.vision_tower.state_dict()["post_layernorm.weight"] - named["post_layernorm.weight"]
        assert shift.mean() == trained


@pytest.mark.parametrize("legacy", [True, False])
def test_a_language_model_with_a_slow_tokenizer_keeps_its_first_word(tmp_path, legacy, drawn):
    place = released(tmp_path, "llava-v1.5")
    settings = json.loads((place / "tokenizer_config.json").read_text())
    (place / "tokenizer_config.json").write_text(json.dumps(settings | {"legacy": legacy}))
    language(tmp_path / "llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "llama" / name).unlink()
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(place / name, tmp_path / "llama")
    asked = {"language": {"pretrained": str(tmp_path / "llama")}, "vision": {"pretrained": str(tmp_path / "clip")}}
    tokenizer = make_tokenizer(ModelConfig.model_validate(asked), [])
    ids = Encoder(tokenizer, 1, "vicuna").prompt("Which?")
    assert tokenizer.convert_ids_to_tokens(ids)[1].startswith("\u2581")


def test_a_missing_sentencepiece_is_one_sentence(tmp_path, monkeypatch):
    place = released(tmp_path, "llava-v1.5")
    monkeypatch.setattr("medmllm.model.slow_tokenizer.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="sentencepiece is not installed"):
        convert(place, tmp_path / "stock")


def test_marks_of_the_later_programs_start_no_run_where_legacy_is_off(tmp_path):
    place = released(tmp_path, "llava-v1.5")
    (place / "added_tokens.json").write_text(json.dumps({"<im_start>": 400, "<im_end>": 401}))
    words = with_marks(find_tokenizer(str(place), "MODEL", spare="<0x00>"), "vicuna_v1")
    encoder = Encoder(words, 1, CHATS["vicuna_v1"].marked())  # compares itself with stock transformers
    tokens = words.convert_ids_to_tokens(encoder.prompt("x"))
    at = tokens.index("<im_start>")
    assert tokens[at - 1 : at + 5] == ["\u2581", "<im_start>", "<image>", "\u2581", "<im_end>", "<0x0A>"]
