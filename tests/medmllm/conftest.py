"""A data set of drawn images that a tiny model learns in seconds, in LLaVA's format."""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

SIDES = {"left": (2, 10, 12, 18), "right": (16, 10, 26, 18), "top": (9, 2, 19, 12), "bottom": (9, 16, 19, 26)}


def draw(folder: Path, count: int) -> list[dict]:
    """Images of a bright box at a side, some with another grey; the question asks for the side."""
    rows = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for number in range(count):
        side = list(SIDES)[number % 4]
        image = Image.new("L", (28, 28), 10 + number)
        ImageDraw.Draw(image).rectangle(SIDES[side], fill=160 + number)
        image.save(folder / "images" / f"{number}.png")
        rows.append(row(number, side))
    return rows


def row(number: int, side: str) -> dict:
    long = f"The picture number {number} shows one bright box, and the box lies at the {side} of the picture."
    return {
        "id": f"r{number}",
        "image": f"images/{number}.png",
        "conversations": turns("Where is the box?", side),
        "conversations_long": turns("Where is the box?", long),
    }


def turns(question: str, answer: str) -> list[dict]:
    return [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": answer}]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory) -> Path:
    """A JSON file with 48 rows and their images."""
    folder = tmp_path_factory.mktemp("drawn")
    path = folder / "data.json"
    path.write_text(json.dumps(draw(folder, 48)))
    return path


TINY = {
    "model": {
        "vision": {"image_size": 28, "patch_size": 14, "hidden_size": 16, "layers": 1, "heads": 2},
        "language": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "layers": 1,
            "heads": 2,
            "vocab_size": 300,
            "max_length": 256,
        },
    },
    "train": {"steps": 6, "batch_size": 8, "save_every": 2, "eval_every": 3},
    "eval": {"max_new_tokens": 4, "validation_limit": 8},
    "device": "cpu",
}


@pytest.fixture(scope="session")
def tiny(drawn):
    """Makes configurations of a run of seconds: `tiny(align={"solver": "sinkhorn"})`."""
    from medmllm.settings.schema import Config

    def make(**sections) -> Config:
        tree = {"data": {"source": str(drawn)}, **TINY}
        for name, value in sections.items():
            tree[name] = {**tree.get(name, {}), **value} if isinstance(value, dict) else value
        return Config.model_validate(tree)

    return make
