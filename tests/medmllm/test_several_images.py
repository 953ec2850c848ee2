"""Several images in a question, from the data file to stock transformers."""

import csv
import json
import random

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

import medmllm
from medmllm.data.config import DataConfig
from medmllm.data.records import each_image
from medmllm.data.sources import open_source
from medmllm.evaluate.conversation import Conversation
from medmllm.evaluate.exam import Asked
from medmllm.evaluate.generate import answers
from medmllm.evaluate.loading import load_model
from medmllm.evaluate.predict import predict_file
from medmllm.evaluate.probe import probe
from medmllm.settings.schema import Config

MODEL = {
    "vision": {"image_size": 28, "patch_size": 14, "hidden_size": 16, "layers": 1, "heads": 2},
    "language": {
        "hidden_size": 16, "intermediate_size": 32, "layers": 1, "heads": 2, "vocab_size": 300, "max_length": 256,
    },
}  # fmt: skip


def settings(source, **data) -> Config:
    tree = {
        "data": {"source": str(source), **data},
        "model": MODEL,
        "train": {"steps": 4, "batch_size": 8, "save_every": 4, "eval_every": 4},
        "eval": {"max_new_tokens": 4, "validation_limit": 8},
        "device": "cpu",
    }
    return Config.model_validate(tree)


def grey(path, level):
    Image.new("L", (28, 28), level).save(path)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Rows with 0, 1, 2 and 5 images; some have marks, some a later turn that brings an image."""
    folder, pick = tmp_path_factory.mktemp("mixed"), random.Random(0)
    rows = []
    for number in range(64):
        names = [f"{number}-{place}.png" for place in range((0, 1, 2, 5)[number % 4])]
        levels = [pick.choice((20, 230)) for _ in names]
        for name, level in zip(names, levels, strict=True):
            grey(folder / name, level)
        bright = "yes" if levels and levels[0] > 100 else "no"
        first = len(names) - (len(names) == 5)
        talk = [
            {"role": "user", "content": "<image>" * first + "Is the first one bright?"},
            {"role": "assistant", "content": bright},
        ]
        if len(names) == 5:
            talk += [{"role": "user", "content": "And <image>?"}, {"role": "assistant", "content": "no"}]
        split = ("train", "train", "validation", "test")[number // 4 % 4]
        row = {"id": str(number), "messages": talk, "images": names, "patient": f"p{number}", "split": split}
        rows.append(row)
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder / "rows.json"


@pytest.fixture(scope="module")
def run(mixed, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mixed"
    medmllm.train(settings(mixed), out)
    return out


def test_a_batch_of_answers_is_that_of_one_by_one(run, mixed):
    source = open_source(DataConfig(source=str(mixed)))
    records = source.records("test")
    assert {len(record.first_turn().images) for record in records} == {0, 1, 2, 4}
    llava, asker = load_model(run / "model", source)
    together = list(answers(llava, asker, records, batch_size=16, max_new_tokens=6))
    alone = list(answers(llava, asker, records, batch_size=1, max_new_tokens=6))
    assert together == alone


@torch.no_grad()
def test_the_saved_model_answers_the_same_in_stock_transformers(run, mixed):
    source = open_source(DataConfig(source=str(mixed)))
    llava, asker = load_model(run / "model", source)
    stock = LlavaForConditionalGeneration.from_pretrained(run / "model").eval()
    processor = AutoProcessor.from_pretrained(run / "model")
    for record in source.records("test"):
        ours = next(answers(llava, asker, [record], batch_size=1, max_new_tokens=6))
        asked = record.first_turn()
        content = [{"type": "image"} for _ in asked.images] + [{"type": "text", "text": asked.question}]
        talk = [{"role": "user", "content": content}]
        text = processor.apply_chat_template(talk, add_generation_prompt=True)
        shown = [source.image(one) for one in each_image([asked])]
        inputs = processor(text=text, images=shown or None, return_tensors="pt", add_special_tokens=False)
        made = stock.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert processor.tokenizer.decode(made, skip_special_tokens=True).strip() == ours


def test_several_images_are_asked_about_by_name(run, mixed, tmp_path):
    names = [str(mixed.parent / "3-0.png"), str(mixed.parent / "3-1.png")]
    done = predict_file(run, names, tmp_path / "a.jsonl", question="Is <image> brighter than <image>?")
    assert done.answers == 1
    with pytest.raises(medmllm.UserError, match="holds <image> 1 time, and there are 2 images"):
        predict_file(run, names, tmp_path / "b.jsonl", question="Is <image> bright?")


def test_an_image_joins_a_talk(run, mixed):
    talk = Conversation.open(run, device="cpu")
    talk.show(mixed.parent / "1-0.png")
    talk.ask("Is it bright?")
    talk.add(mixed.parent / "2-0.png")
    talk.ask("And this one?")
    assert [turn for turn, _ in talk.images] == [0, 1]
    asked = talk.asker.follow_up(talk.images, talk.turns[:1], "And this one?")
    text = talk.asker.tokenizer.decode(asked["input_ids"][0])
    assert text.count("<image>") == 2 * 4
    assert text.index("And this one?") > text.rindex("<image>") > text.index("Is it bright?")
    talk.start_over()
    assert len(talk.images) == 1


def test_reliance_blanks_one_image_at_a_time(run):
    told = probe(run, Asked(split="test"))
    assert [one["number"] for one in told["each_image"]] == [1, 2, 3, 4]
    assert [one["n"] for one in told["each_image"]] == [12, 8, 4, 4]
    assert {"unchanged", "comparison", "real"} <= told["each_image"][0].keys()


def test_three_views_with_one_missing_at_random(tmp_path):
    pick, names = random.Random(1), ("image_frontal", "image_lateral", "image_prior")
    with (tmp_path / "views.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "patient_id", *names, "question", "answer", "split"])
        for number in range(48):
            missing = pick.randrange(3) if number % 2 else None
            cells = ["" if place == missing else f"{number}-{place}.png" for place in range(3)]
            for cell in filter(None, cells):
                grey(tmp_path / cell, pick.choice((20, 230)))
            split = ("train", "train", "validation", "test")[number % 4]
            rows.writerow([number, f"p{number}", *cells, "Is it normal?", pick.choice(("yes", "no")), split])
    out = tmp_path / "run"
    summary = medmllm.train(settings(tmp_path / "views.csv"), out)
    assert summary["test"]["n"] == 12
    told = " ".join(open_source(settings(tmp_path / "views.csv").data).warnings)
    assert sum(int(told.partition(f"{name} is empty in ")[2].split()[0]) for name in names) == 24
    assert "images in a row: 2 in 24 rows, 3 in 24 rows" in told


def test_a_volume_is_rows_or_one_sample(tmp_path):
    pages = [Image.new("L", (28, 28), 20 * level) for level in range(10)]
    pages[0].save(tmp_path / "v.tif", save_all=True, append_images=pages[1:])
    row = {"id": "1", "image": "v.tif", "question": "Which is brightest?", "answer": "the last"}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    both = {"source": str(tmp_path / "rows.json"), "validation": str(tmp_path / "rows.json")}
    apart = open_source(DataConfig(**both, slices=5)).records("train")
    together = open_source(DataConfig(**both, slices=5, volume="sample"))
    (one,) = together.records("train")
    assert tuple(record.image for record in apart) == one.images
    assert one.id == "1"
    levels = [together.image(shown).getpixel((0, 0))[0] for shown in each_image([one])]
    assert levels == sorted(levels)
    (placed,) = open_source(DataConfig(**both, slices=(0, 9), volume="sample", positions=True)).records("train")
    assert placed.question == "Slice 1 of 2: \nSlice 2 of 2: \nWhich is brightest?"
    assert [placed.question[letter - 2 : letter] for _, letter in placed.places] == [": ", ": "]
    with pytest.raises(medmllm.UserError, match=r"has 10 slices, from 0 to 9, and data\.slices names 12"):
        open_source(DataConfig(**both, slices=(3, 12)))
