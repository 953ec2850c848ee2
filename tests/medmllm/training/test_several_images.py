"""Rows with 0, 1, 2 and 5 images: one process, several passes and two processes give the same gradients."""

import json
import random
from pathlib import Path

import processes
import pytest
import torch
from PIL import Image

from medmllm.settings.load import dump

HERE = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config_file(tiny, tmp_path_factory):
    """`align.images=mean`: with `each` the texts of a sample are there several times, and rounding breaks ties."""
    folder, pick = tmp_path_factory.mktemp("mixed"), random.Random(0)
    rows = []
    for number in range(48):
        names = [f"{number}-{place}.png" for place in range(pick.choice((0, 1, 2, 5)))]
        for name in names:
            Image.new("L", (28, 28), pick.randrange(256)).save(folder / name)
        question = f"What is in picture {number}?" + " Say more." * pick.randrange(9)
        row = {"id": str(number), "images": names, "question": question, "answer": f"Grey number {number}."}
        rows.append(row | {"patient": f"p{number}", "caption": f"A long text about the pictures of {number}."})
    (folder / "rows.json").write_text(json.dumps(rows))
    stages = [{"name": "all", "share": 1, "trains": ["vision", "projector", "language"]}]
    config = tiny(
        data={"source": str(folder / "rows.json")},
        train={"stages": stages, "caption_weight": 0.5, "batch_size": 12},
        align={"weight": 2.0},
    )
    path = folder / "config.yaml"
    path.write_text(dump(config))
    return path


def run(count, config_file, names):
    out = config_file.with_name(f"{count}.pt")
    codes, _, errors = processes.finish(processes.start(count, HERE / "gradients.py", config_file, out, names))
    assert codes == [0] * count, errors
    return torch.load(out, weights_only=True)


def test_passes_and_processes_give_the_gradient_of_the_whole(config_file):
    alone, two = run(1, config_file, "plain,samples"), run(2, config_file, "plain")
    assert float(alone["plain"]["align"]) > 0
    for found in (alone["samples"], two["plain"]):
        for name, value in alone["plain"].items():
            if name != "passes":
                torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
