"""Rows with several images: read from every format, kept in shards, placed in the text."""

import csv
import io
import json
import random

import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.file_source import FileSource
from medmllm.data.formats import read_file
from medmllm.data.records import Record, each_image
from medmllm.data.shards.source import ShardSource
from medmllm.data.shards.webdataset import index_tars
from medmllm.data.shards.write import write_shards
from medmllm.data.sources import open_source

COLOURS = {"a.png": (255, 0, 0), "b.png": (0, 255, 0), "c.png": (0, 0, 255)}


def png(colour) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    for name, colour in COLOURS.items():
        (tmp_path / name).write_bytes(png(colour))
    return tmp_path


def read(path) -> list[Record]:
    reading = read_file(path)
    assert not reading.problems, [str(one) for one in reading.problems]
    return reading.records


def written(folder, rows, name="rows.json"):
    path = folder / name
    path.write_text(json.dumps(rows))
    return path


def test_a_list_of_images_and_marks_in_the_question(folder):
    (record,) = read(
        written(folder, [{"images": ["a.png", "b.png"], "question": "Is <image> worse than <image>?", "answer": "no"}])
    )
    assert record.images == ("a.png", "b.png")
    assert record.question == "Is  worse than ?"
    assert record.places == ((0, 3), (0, 15))


@pytest.mark.parametrize("name", ["image", "images", "image_path"])
def test_missing_marks_are_all_before_the_question(folder, name):
    (record,) = read(written(folder, [{name: ["a.png", "b.png", "c.png"], "question": "Which?", "answer": "1"}]))
    assert record.images == ("a.png", "b.png", "c.png")
    assert record.places == ((0, 0),) * 3


def test_later_turns_bring_images(folder):
    talk = [
        {"role": "user", "content": "<image>Is it normal?"},
        {"role": "assistant", "content": "Yes"},
        {"role": "user", "content": "And the prior, <image>?"},
        {"role": "assistant", "content": "No"},
    ]
    (record,) = read(written(folder, [{"messages": talk, "images": ["a.png", "b.png"]}]))
    assert record.places == ((0, 0), (1, 15))
    assert record.turns[1] == ("And the prior, ?", "No")
    assert record.first_turn().images == ("a.png",)


@pytest.mark.parametrize("names", [["image_1", "image_2", "image_3"], ["image", "image_prior", "img_lateral"]])
def test_several_columns_with_an_empty_cell(folder, names):
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", *names, "question", "answer"])
        rows.writerow(["1", "a.png", "b.png", "c.png", "Which?", "one"])
        rows.writerow(["2", "a.png", "", "c.png", "Which?", "two"])
    reading = read_file(path)
    assert [record.images for record in reading.records] == [("a.png", "b.png", "c.png"), ("a.png", "c.png")]
    told = " ".join(reading.warnings)
    assert f"{names[1]} is empty in 1 of 2 rows" in told
    assert "images in a row: 2 in 1 row, 3 in 1 row" in told


def test_columns_of_any_name_by_the_setting(folder):
    rows = [{"view_a": "a.png", "view_b": "b.png", "question": "Which?", "answer": "one"}] * 2
    path = written(folder, [{**row, "id": str(number)} for number, row in enumerate(rows)])
    config = DataConfig(source=str(path), validation=str(path), image_columns=("view_b", "view_a"))
    assert open_source(config).records("train")[0].images == ("b.png", "a.png")


def test_a_cell_of_a_table_may_hold_a_printed_list(folder):
    path = folder / "rows.csv"
    path.write_text('id,images,question,answer\n1,"[\'a.png\', \'b.png\']",Which?,one\n2,"[""c.png""]",Which?,two\n')
    assert [record.images for record in read(path)] == [("a.png", "b.png"), ("c.png",)]


def test_a_row_without_an_image_says_so(folder):
    rows = [
        {"id": "1", "question": "2 + 2?", "answer": "4"},
        {"id": "2", "image": "a.png", "question": "?", "answer": "x"},
    ]
    path = written(folder, rows)
    assert [problem.message for problem in read_file(path).problems] == ["is missing"]
    assert FileSource(path, validation=path, text_only=True).records("train")[0].images == ()
    written(folder, [{**rows[0], "images": []}, rows[1]])
    assert [record.images for record in read(path)] == [(), ("a.png",)]


def test_marks_that_do_not_match_the_images_are_a_fault(folder):
    rows = [{"images": ["a.png", "b.png", "c.png"], "question": "<image><image>Which?", "answer": "1"}]
    (problem,) = read_file(written(folder, rows)).problems
    assert problem.check == "image-token"
    assert "2 times, and the row names 3 images" in problem.message


def test_parquet_holds_lists_and_columns_of_images(folder):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    cells = [
        [{"bytes": png(COLOURS[name]), "path": name} for name in names] for names in (["a.png", "b.png"], ["c.png"])
    ]
    table = {"images": cells, "question": ["Which?", "What?"], "answer": ["1", "2"]}
    parquet.write_table(pa.table(table), folder / "rows.parquet")
    columns = {
        "image_1": [c[0] for c in cells],
        "image_2": [cells[0][1], None],
        **{k: table[k] for k in ("question", "answer")},
    }
    parquet.write_table(pa.table(columns), folder / "columns.parquet")
    for name in ("rows.parquet", "columns.parquet"):
        source = FileSource(folder / name, validation=folder / name)
        shown = [
            [source.image(one).getpixel((0, 0)) for one in each_image([record])] for record in source.records("train")
        ]
        assert shown == [[COLOURS["a.png"], COLOURS["b.png"]], [COLOURS["c.png"]]]


@pytest.mark.parametrize("layout", ["tar", "parquet"])
def test_shards_keep_all_images(folder, tmp_path, layout):
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    pick = random.Random(0)
    rows = [
        {"id": str(n), "images": pick.choices(list(COLOURS), k=n % 4), "question": "Which?", "answer": str(n)}
        for n in range(8)
    ]
    path = written(folder, rows)
    source = FileSource(path, validation=path)
    write_shards(source, tmp_path / "shards", layout=layout, samples=5)
    shards = ShardSource(tmp_path / "shards", None)
    for old, new in zip(source.records("train"), shards.records("train"), strict=True):
        assert old.images == new.images
        assert old.places == new.places
        for one, other in zip(each_image([old]), each_image([new]), strict=True):
            assert source.image(one).getpixel((0, 0)) == shards.image(other).getpixel((0, 0))


def test_tars_of_others_number_their_images(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, content in {
            "7.0.png": png(COLOURS["a.png"]),
            "7.1.png": png(COLOURS["b.png"]),
            "7.json": json.dumps({"question": "<image> and <image>?", "answer": "yes"}).encode(),
            "8.png": png(COLOURS["c.png"]),
            "8.txt": b"A blue square.",
        }.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    index_tars(tmp_path)
    source = ShardSource(tmp_path, None)
    shown = [[source.image(one).getpixel((0, 0)) for one in each_image([r])] for r in source.records("train")]
    assert shown == [[COLOURS["a.png"], COLOURS["b.png"]], [COLOURS["c.png"]]]
    assert source.records("train")[0].places == ((0, 0), (0, 4))


def test_rows_that_name_nobody_and_share_an_image_stay_on_one_side(folder):
    rows = [
        {"id": "1", "images": ["a.png", "b.png"], "question": "Which?", "answer": "1"},
        {"id": "2", "images": ["b.png", "c.png"], "question": "Which?", "answer": "2"},
        {"id": "3", "images": ["c.png"], "question": "Which?", "answer": "3"},
    ]
    path = written(folder, rows)
    assert len({record.person for record in FileSource(path, validation=path).records("train")}) == 1
