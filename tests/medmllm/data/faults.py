"""A data set with one of every fault planted in it, and the rows where they must be found."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 48


def drawing(number: int) -> Image.Image:
    """A picture that is like no other: large random blocks of grey, with some noise."""
    draw = np.random.default_rng(number)
    blocks = np.kron(draw.integers(0, 256, (6, 6)), np.ones((SIDE // 6, SIDE // 6)))
    return Image.fromarray(np.clip(blocks + draw.normal(0, 4, blocks.shape), 0, 255).astype(np.uint8))


def row(identity: str, image: str, subject: str, question: str = "<image>\nIs it bright?", answer: str = "yes") -> dict:
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": identity, "image": image, "subject": subject, "conversations": talk}


def clean(folder: Path, rows: int = 40) -> dict[str, list[dict]]:
    """Rows of a training and a validation file, two rows an image, with the images beside them."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict]] = {"train": [], "validation": []}
    for number in range(rows):
        split, image = ("train" if number < 0.75 * rows else "validation"), f"images/{number // 2}.png"
        drawing(number // 2).save(folder / image)
        found[split].append(row(f"r{number}", image, f"p{number // 2}"))
    return found


def save(folder: Path, rows: dict[str, list[dict]]) -> None:
    for split, content in rows.items():
        (folder / f"{split}.json").write_text(json.dumps(content))


def plant(folder: Path) -> dict[str, set[tuple[str, int]]]:
    """A folder with every fault; returns where each check must find something, and nothing else anywhere."""
    rows = clean(folder)
    train, held = rows["train"], rows["validation"]
    images = folder / "images"
    train[0]["image"] = "images/nowhere.png"  # its image is still named by row 2
    whole = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(whole[: len(whole) // 2])
    deep = np.asarray(drawing(2)).astype(np.uint16) * 16
    Image.fromarray(deep).save(images / "2.png")
    (images / "copy.png").write_bytes((images / "3.png").read_bytes())
    train[7] = row("r7", "images/copy.png", "p3")
    drawing(4).resize((60, 60)).save(images / "alike.jpg", quality=60)
    train[9] = row("r9", "images/alike.jpg", "p-other")
    train[10]["conversations"][0]["value"] = "Is it bright?"
    train[12]["conversations"][0]["value"] = "<image>\n<image>\nIs it bright?"
    train[14]["conversations"][1]["value"] = "  "
    train[16]["conversations"] = []
    train[18]["conversations"][1]["value"] = "bright and dark " * 400
    train[20]["id"] = "r21"
    train[22]["image"] = "../elsewhere.png"
    del train[24]["image"]
    held[0]["id"] = "r26"
    held[1]["id"] = "r27-apart"
    held[2]["subject"] = held[3]["subject"] = "p14"
    (images / "17.png").write_bytes((images / "10.png").read_bytes())
    drawing(11).save(images / "18.png", compress_level=1)
    Image.open(images / "18.png").convert("RGB").save(images / "18.png")
    save(folder, rows)
    (folder / "test.json").write_text('[{"question": "Is it?", "answer": "yes"}]')  # no column of images
    return {
        "missing-image": {("train", 1)},
        "bad-image": {("train", 3)},
        "deep-image": {("train", 5)},
        "duplicate": {("train", 8)},
        "near-duplicate": {("train", 10)},
        "image-token": {("train", 11), ("train", 13)},
        "no-target": {("train", 15), ("train", 17)},
        "too-long": {("train", 19)},
        "file": {("test", None)},
        "row": {("train", 22), ("train", 23), ("train", 25)},
        "leak-id": {("validation", 1)},
        "leak-subject": {("validation", 3)},
        "leak-file": {("validation", 5)},
        "leak-image": {("validation", 7)},
    }
