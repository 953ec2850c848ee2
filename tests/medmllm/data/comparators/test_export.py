"""Files for RadFM and BiomedGPT, read as their loaders read them, and their answers paired again."""

import base64
import csv
import io
import json
import pickle
import random

import numpy as np
import pytest
from PIL import Image

from medmllm.data.comparators.export import export_data
from medmllm.data.comparators.questions import by_volume
from medmllm.data.comparators.radfm import volume_array
from medmllm.data.file_source import FileSource
from medmllm.data.slicing import Slices
from medmllm.errors import ConfigError, DataError
from medmllm.evaluate.systems import score_files

ASKED = [
    ("a.png", "Is it normal?", "yes", "p1"),
    ("b.png", "Is it normal?", "yes", "p2"),
    ("b.png", "Which\torgan, \"left\" or right?", "left, upper", "p2"),
    ("a.png", "Describe the imag", "None", "p1"),
]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    """A folder with rows to train, to validate and to test on."""
    for number, name in enumerate(("a.png", "b.png")):
        picture = Image.new("RGB", (20, 10), (number, 5, 9))
        picture.putpixel((3, 4), (200, 100, number))
        picture.save(tmp_path / name)
    for split in ("train", "val", "test"):
        rows = [
            {"id": f"{split}-{n}", "image": image, "question": question, "answer": answer, "patient": who, "kind": "k"}
            for n, (image, question, answer, who) in enumerate(ASKED)
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def biomedgpt_lines(path):
    """Cells of each line, as BiomedGPT's loader takes them apart."""
    return [line.split("\t") for line in path.read_text("utf-8").removesuffix("\n").split("\n")]


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text("utf-8"))))


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_biomedgpt_reads_back_every_question_answer_and_pixel(data, tmp_path):
    found = export_data(FileSource(data), tmp_path / "out", "biomedgpt")
    assert found["rows"] == {"train": 4, "validation": 4, "test": 4}
    assert {"train.tsv", "val.tsv", "test.tsv", "trainval_ans2label.pkl"} <= set(found["files"])
    assert found["warnings"] == ["tabs and line ends in 3 texts are spaces now"]
    lines = biomedgpt_lines(tmp_path / "out/test.tsv")
    assert [len(cells) for cells in lines] == [6] * 4
    for cells, (image, question, answer, _) in zip(lines, ASKED, strict=True):
        number, name, asked, scored, objects, content = cells
        assert int(number) > 0
        assert asked == " ".join(question.split())
        confidence, said = scored.split("|!+")
        assert (float(confidence), said, objects) == (1.0, answer, "")
        assert np.array_equal(pixels(io.BytesIO(base64.urlsafe_b64decode(content))), pixels(data / image))
        assert (tmp_path / f"out/questions/images/{name}.png").is_file()
    labels = pickle.loads((tmp_path / "out/trainval_ans2label.pkl").read_bytes())
    assert labels == {"yes": 0, "left, upper": 1, "None": 2}


def test_biomedgpt_s_table_is_a_data_set_of_ours_again(data, tmp_path):
    export_data(FileSource(data), tmp_path / "out", "biomedgpt")
    again = FileSource(tmp_path / "out/test.tsv", trained=False).records("test")
    assert [(record.question, record.answer) for record in again] == [(" ".join(q.split()), a) for _, q, a, _ in ASKED]


def test_biomedgpt_s_answers_are_scored_whatever_the_ids_were(data, tmp_path):
    export_data(FileSource(data), tmp_path / "out", "biomedgpt", split="test")
    lines = biomedgpt_lines(tmp_path / "out/test.tsv")
    answers = [{"question_id": int(cells[0]), "answer": cells[3].partition("|!+")[2]} for cells in reversed(lines)]
    answers[-1]["answer"] = "no"
    (tmp_path / "test_predict.json").write_text(json.dumps(answers))
    found = score_files(tmp_path / "out/questions/test.jsonl", tmp_path / "test_predict.json")
    assert found["strict"]["closed_accuracy"] == 50
    assert found["strict"]["exact_match"] == 100
    assert json.loads((tmp_path / "out/questions/test.ids.json").read_text())["2"] == "test-1"


@pytest.mark.parametrize("mark", ["&&", "|!+"])
def test_an_answer_that_biomedgpt_would_tear_is_refused(data, tmp_path, mark):
    (data / "test.jsonl").write_text(json.dumps({"image": "a.png", "question": "Q?", "answer": f"left {mark} right"}))
    with pytest.raises(DataError, match="splits answers"):
        export_data(FileSource(data), tmp_path / "out", "biomedgpt")
    assert not list(tmp_path.glob("*out*"))


def radfm_answers(rows, path, question="Question", answer="Answer"):
    """What RadFM's test script writes: shuffled, without ids, marks of the image inside the question, printed lists."""
    tokens = "<image>" + "".join(f"<image{number}>" for number in range(32)) + "</image>"
    drawn, said = random.Random(0), []
    for row in rows:
        place = drawn.choice((0, len(row[question]) - 1))
        asked = row[question][:place] + tokens + row[question][place:]
        true = row[answer] or "nan"
        said.append([[asked], [true.replace("•", "")], [row["id"]], ["vqa_dataset"]])
    drawn.shuffle(said)
    with path.open("w") as file:
        csv.writer(file).writerows([["Question", "Ground Truth", "Pred", "belong_to"], *said])


def test_radfm_s_table_has_the_columns_of_its_loader_and_paths_that_open(data, tmp_path):
    found = export_data(FileSource(data), tmp_path / "out", "radfm")
    assert {"test.csv", "test_keyed.csv", "train.csv", "questions/test.jsonl"} <= set(found["files"])
    rows = table(tmp_path / "out/test.csv")
    assert [(row["Question"], row["Answer"]) for row in rows] == [(q, a) for _, q, a, _ in ASKED]
    for row, (image, *_) in zip(rows, ASKED, strict=True):
        assert np.array_equal(pixels(f"{row['img_root_dir']}/{row['Figure_path']}"), pixels(data / image))


def test_radfm_s_answers_are_paired_row_by_row_by_the_keyed_table(data, tmp_path):
    export_data(FileSource(data), tmp_path / "out", "radfm", split="test")
    rows = table(tmp_path / "out/test_keyed.csv")
    radfm_answers(rows, tmp_path / "said.csv")
    references = [json.loads(line) for line in (tmp_path / "out/questions/test.jsonl").read_text().splitlines()]
    for reference in references:
        reference["answer"] = reference["id"]
    true = tmp_path / "true.jsonl"
    true.write_text("".join(json.dumps(row) + "\n" for row in references))
    assert score_files(true, tmp_path / "said.csv")["strict"]["exact_match_all"] == 100


def test_without_keys_radfm_s_answers_are_paired_by_question_and_answer_and_the_doubt_is_said(data, tmp_path):
    export_data(FileSource(data), tmp_path / "out", "radfm", split="test")
    rows = table(tmp_path / "out/test.csv")
    for row in rows:
        row["Answer"] = "" if row["Answer"] == "None" else row["Answer"]  # as pandas reads it
    radfm_answers(rows, tmp_path / "said.csv")
    heard: list[str] = []
    score_files(tmp_path / "out/questions/test.jsonl", tmp_path / "said.csv", on_warning=heard.append)
    assert any("2 answers have no id" in line for line in heard)


def test_a_volume_is_images_by_channels_by_rows_by_columns_by_slices():
    slices = [Image.new("L", (30, 40), level) for level in (0, 100, 255)]
    one = volume_array([slices])
    assert (one.shape, one.dtype) == ((1, 3, 512, 512, 3), np.uint8)
    assert [int(one[0, :, :, :, depth].mean()) for depth in range(3)] == [0, 100, 255]
    wide = Image.new("L", (30, 40), 0)
    wide.paste(255, (0, 0, 30, 20))  # the upper half
    both = volume_array([[wide], slices])
    assert both.shape == (2, 3, 512, 512, 3)
    assert both[0, 0, :200, :, 1].min() == 255
    assert both[0, 0, 300:, :, 1].max() == 0
    deep = volume_array([[Image.new("L", (4, 4), level) for level in range(200)]])
    assert deep.shape[-1] == 64
    assert np.all(np.diff(deep[0, 0, 0, 0].astype(int)) >= 3)
    with pytest.raises(ValueError, match="noise"):
        volume_array([[Image.new("L", (4, 4), 7)] * 2])


def test_slices_of_one_volume_and_plane_are_one_image_of_radfm():
    names = ["ct.nii#axial=3", "x.png", "ct.nii#axial=9", "ct.nii#coronal=3", "x.png"]
    assert by_volume(names) == [["ct.nii#axial=3", "ct.nii#axial=9"], ["x.png"], ["ct.nii#coronal=3"], ["x.png"]]


def test_nothing_is_overwritten_and_a_wrong_layout_or_split_is_named(data, tmp_path):
    with pytest.raises(ConfigError, match="layout"):
        export_data(FileSource(data), tmp_path / "out", "radmf")
    with pytest.raises(ConfigError, match="no split 'tets'"):
        export_data(FileSource(data), tmp_path / "out", "radfm", split="tets")
    export_data(FileSource(data), tmp_path / "out", "radfm", split="test")
    with pytest.raises(ConfigError, match="exists already"):
        export_data(FileSource(data), tmp_path / "out", "radfm")


def test_rows_with_several_images_become_volumes_of_radfm_and_rows_of_ours(data, tmp_path):
    rows = [{"images": ["a.png", "b.png"], "question": q, "answer": "yes", "patient": "p"} for q in ("Same?", "Alike?")]
    (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = export_data(FileSource(data), tmp_path / "out", "radfm", split="test")
    assert {"test_volumes.csv", "test_volumes_keyed.csv"} <= set(found["files"])
    assert "test.csv" not in found["files"]
    told = table(tmp_path / "out/test_volumes.csv")
    assert [(row["question"], row["answer"]) for row in told] == [("Same?", "yes"), ("Alike?", "yes")]
    assert told[0]["image_path"] == told[1]["image_path"]  # one file for the same images
    array = np.load(told[0]["image_path"])
    assert (array.shape, array.dtype) == ((2, 3, 512, 512, 1), np.uint8)
    again = FileSource(tmp_path / "out/questions/test.jsonl", trained=False).records("test")
    assert [len(record.images) for record in again] == [2, 2]
    warned = export_data(FileSource(data), tmp_path / "other", "biomedgpt", split="test")["warnings"]
    assert warned == ["test: BiomedGPT reads one image; 2 rows with several show it the middle one"]
    cells = biomedgpt_lines(tmp_path / "other/test.tsv")[0]
    assert np.array_equal(pixels(io.BytesIO(base64.b64decode(cells[-1]))), pixels(data / "b.png"))


def test_a_volume_that_a_row_names_whole_becomes_slices_along_the_last_axis(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    voxels = np.zeros((12, 10, 8), np.int16)
    voxels[:] = 10 * np.arange(8)
    voxels[0, 0] = 100
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "ct.nii.gz")
    (tmp_path / "test.json").write_text(json.dumps([{"image": "ct.nii.gz", "question": "Which?", "answer": "liver"}]))
    source = FileSource(tmp_path / "test.json", trained=False, slices=Slices(4, "sample"), window="50/100")
    export_data(source, tmp_path / "out", "radfm")
    (row,) = table(tmp_path / "out/test_volumes.csv")
    array = np.load(row["image_path"])
    assert array.shape == (1, 3, 512, 512, 4)
    levels = [int(np.median(array[0, 0, :, :, number])) for number in range(4)]
    assert levels == sorted(levels)
    assert levels[0] < levels[3] - 60
    (again,) = FileSource(tmp_path / "out/questions/test.jsonl", trained=False).records("test")
    assert len(again.images) == 4
