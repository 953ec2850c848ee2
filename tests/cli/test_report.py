"""The report of a validation on a screen: grouped, within 80 columns, and names relative to the data."""

import json

import pytest
from PIL import Image

from exgra.problems import problem_lines
from medmllm.data.formats import DataProblem


@pytest.fixture
def lacking(tmp_path):
    """Sixty rows in a folder of a long name, of which forty have no image."""
    folder = tmp_path / "a-folder-of-a-long-name" / "with-another-one-inside"
    (folder / "images").mkdir(parents=True)
    rows = []
    for n in range(60):
        rows.append({"id": n, "image": f"images/{n}.png", "question": f"Which, {n}?", "answer": f"a {n}"})
        if n >= 40:
            Image.effect_noise((16, 16), 50 + n).save(folder / f"images/{n}.png")
    (folder / "train.json").write_text(json.dumps(rows))
    return folder


def test_forty_missing_images_fit_a_screen(exgra, lacking):
    result = exgra("data", "validate", lacking / "train.json")
    assert result.code == 3
    lines = (result.out + result.err).splitlines()
    assert len(lines) <= 25
    shown = [line for line in lines if "--csv" not in line]  # a command to paste has the whole path
    assert max(map(len, shown)) <= 80
    assert "missing-image (40): an image" in result.out
    assert "train.json: row 1" in result.out
    assert not any(str(lacking) in line for line in shown)
    assert len(exgra("data", "validate", lacking, "--json").json["problems"]) == 40


def test_kinds_are_counted_apart_and_lengths_do_not_part_them():
    rows = [DataProblem("/x/a.json", n, "conversations", f"has {n} tokens", f"max={n}", "too-long") for n in (9, 10)]
    rows.append(DataProblem("/x/a.json", 3, "image", "is missing", "name one image file", "row"))
    lines = list(
        problem_lines(
            rows,
            {"too-long": "a long row", "row": "an unreadable row"},
            "/x/",
            command="exgra data validate x --csv p.csv",
        )
    )
    assert lines[0] == "too-long (2): a long row"
    assert lines[1] == "  a.json: row 9: conversations: has 9 tokens"
    assert lines[3] == "row (1): an unreadable row"
    assert lines[-1].endswith("--csv p.csv")
