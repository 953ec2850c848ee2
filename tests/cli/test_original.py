"""Commands take a released checkpoint as it is: by folder, or by its name in the cache of the hub."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from tests.medmllm.interop.released import released

NAME, TOWER = "MERGE-Group/exgra-med-dci-vqa-rad", "openai/clip-vit-large-patch14"


@pytest.fixture
def hub(tmp_path):
    """A cache of the hub with a checkpoint and its tower under their released names."""
    place = released(tmp_path / "made", "exgra-med-dci", mm_vision_tower=TOWER)
    for name, folder in ((NAME, place), (TOWER, place.parent / "clip")):
        repository = tmp_path / "hf" / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(folder, repository / "snapshots" / "1234")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("1234")
    return tmp_path / "hf"


def test_eval_converts_on_the_way_and_batches_answer_as_questions_do(tmp_path, hub):
    rows = []
    for number, size in enumerate([(28, 28), (50, 30), (30, 50)]):
        Image.new("RGB", size, (40 * number, 90, 200)).save(tmp_path / f"{number}.png")
        talk = [{"from": "human", "value": f"<image>\nWhich{' organ' * number}?"}, {"from": "gpt", "value": "liver"}]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": talk})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    outside = {"HF_HOME": str(hub), "HF_HUB_OFFLINE": "1", "EXGRA_CACHE": str(tmp_path / "cache")}

    def answers(*words):
        command = [sys.executable, "-m", "exgra", *words, "--device", "cpu", "--max-new-tokens", "6"]
        done = subprocess.run(command, env=os.environ | outside, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr

    first = answers("eval", NAME, "--data", "rows.json", "--out", "one", "--batch-size", "1")
    assert "converting MERGE-Group/exgra-med-dci-vqa-rad" in first
    again = answers("eval", NAME, "--data", "rows.json", "--out", "three", "--batch-size", "3")
    assert "converting" not in again
    one, three = ((tmp_path / out / "eval" / "data_rows.samples.jsonl").read_text() for out in ("one", "three"))
    assert one == three
    assert {len(json.loads(line)["prediction"]) > 0 for line in one.splitlines()} == {True}
    answers("predict", NAME, "rows.json", "--out", "said.jsonl")
    said = [json.loads(line)["text"] for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert said == [json.loads(line)["prediction"] for line in one.splitlines()]
