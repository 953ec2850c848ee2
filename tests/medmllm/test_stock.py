"""The saved model belongs to everybody: stock transformers opens it where this project cannot be imported."""

import json
import subprocess
import sys

import pytest

from medmllm.data.sources import open_source
from medmllm.evaluate.evaluate import evaluate_model
from medmllm.evaluate.exam import Asked
from medmllm.evaluate.loading import load_model
from medmllm.training.trainer import train

STOCK = """
import json, sys
sys.modules["medmllm"] = sys.modules["graphalign"] = sys.modules["exgra"] = None
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

torch.set_num_threads(1)
folder, questions = sys.argv[1], json.loads(sys.argv[2])
processor = AutoProcessor.from_pretrained(folder)
model, info = LlavaForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"], info
answers = []
for question, image in questions:
    talk = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    text = processor.apply_chat_template(talk)
    inputs = processor(images=Image.open(image), text=text, return_tensors="pt", add_special_tokens=False)
    out = model.generate(**inputs, max_new_tokens=4)
    answers.append(processor.decode(out[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True).strip())
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny):
    run = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(train={"steps": 4}), run)
    return run


def test_stock_transformers_gives_the_same_answers(finished, drawn):
    samples = [json.loads(line) for line in (finished / "eval" / "test.samples.jsonl").read_text().splitlines()][:4]
    asked = [[s["question"], str(drawn.parent / s["image"])] for s in samples]
    done = subprocess.run(
        [sys.executable, "-c", STOCK, str(finished / "model"), json.dumps(asked)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=finished,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [s["prediction"] for s in samples]


def test_names_of_the_tower_suit_older_readers(finished):
    from safetensors.torch import load_file

    tower = [name for name in load_file(finished / "model" / "model.safetensors") if "vision_tower" in name]
    assert tower
    assert all(".vision_model." in name for name in tower)
    config = json.loads((finished / "model" / "config.json").read_text())
    assert (config["model_type"], config["architectures"]) == ("llava", ["LlavaForConditionalGeneration"])


def test_evaluating_again_gives_the_same_scores(finished):
    before = json.loads((finished / "eval" / "test.json").read_text())
    assert evaluate_model(finished, Asked(split="test")) == {**before, "data": "the run's own data"}


def test_batched_answers_equal_single_ones(finished, tiny):
    config = tiny()
    source = open_source(config.data)
    llava, reader = load_model(finished / "model", source)
    from medmllm.evaluate.generate import answers

    records = source.records("train")[:6]
    together = list(answers(llava, reader, records, batch_size=6, max_new_tokens=4))
    alone = list(answers(llava, reader, records, batch_size=1, max_new_tokens=4))
    assert together == alone


def test_another_file_is_asked_whole_and_saved_under_its_own_name(finished, drawn):
    before = (finished / "eval" / "test.json").read_bytes()
    scores = evaluate_model(finished, Asked(source=str(drawn)))
    assert scores["n"] == 48
    assert json.loads((finished / "eval" / "data_data.json").read_text()) == scores
    assert (finished / "eval" / "test.json").read_bytes() == before
