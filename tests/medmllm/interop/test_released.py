"""Released checkpoints ask, read and look as their own programs do, from our generation and from stock transformers."""

import random

import numpy as np
import pytest
import sentencepiece
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from medmllm.data.chat_template import chat_of
from medmllm.data.conversation import IGNORE, Encoder
from medmllm.data.records import Record
from medmllm.interop.convert import convert
from medmllm.model.manner import fit_of
from tests.medmllm.interop.released import KINDS, PLACES, official_ids, official_pixels, released

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


def test_weights_are_the_originals(stock):
    name, _, folder = stock
    model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.dtype == torch.float32
    assert (folder / "alignment.safetensors").exists() == KINDS[name].first
