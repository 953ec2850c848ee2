import json
import zipfile

import numpy as np

from medmllm.data.prepare.pictures import Picture, Question
from medmllm.data.prepare.write import compare, make_records, write_all


def build(folder, shade: int = 0):
    rng = np.random.default_rng(shade)
    picture = Picture("p", rng.integers(0, 255, (112, 112), dtype=np.uint8), "a", "s", "train", (), (), ())
    chosen = [(picture, Question("plane", "axial"), f"Which plane {i}?") for i in range(3)]
    return write_all(folder, make_records(chosen), [picture])


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert build(tmp_path / "a") == build(tmp_path / "b")
    assert (tmp_path / "a/train.zip").read_bytes() == (tmp_path / "b/train.zip").read_bytes()


def test_another_picture_is_noticed(tmp_path):
    verdicts = compare(build(tmp_path / "a"), build(tmp_path / "b", shade=1))
    assert verdicts == {"train": "different", "validation": "same file", "test": "same file", "test_slab": "same file"}


def test_another_encoder_is_told_apart_from_other_content(tmp_path):
    manifest = build(tmp_path)
    other = json.loads(json.dumps(manifest))
    other["splits"]["train"]["sha256"] = "of another WebP version"
    assert compare(manifest, other)["train"] == "same records and pictures, encoded differently"


def test_an_image_is_stored_once_for_its_rows(tmp_path):
    manifest = build(tmp_path)
    with zipfile.ZipFile(tmp_path / "train.zip") as archive:
        assert archive.namelist() == ["images/p.webp", "records.jsonl"]
        rows = [json.loads(line) for line in archive.read("records.jsonl").splitlines()]
    assert [row["id"] for row in rows] == ["train-00000", "train-00001", "train-00002"]
    assert (manifest["splits"]["train"]["rows"], manifest["splits"]["train"]["images"]) == (3, 1)
