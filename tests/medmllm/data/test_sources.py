"""Sources: shares, splits, archives, files, and images that cannot be read."""

import io
import json
import multiprocessing
import os
import pickle
import zipfile
from dataclasses import asdict

import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.people import NOBODY
from medmllm.data.prepare_named import prepare_data_set
from medmllm.data.records import Record
from medmllm.data.sources import EmbeddedSource, FileSource, check_source, open_source, usable
from medmllm.data.stats import stats
from medmllm.data.subset import share
from medmllm.data.validate import validate_data
from medmllm.errors import ConfigError, DataError


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (8, 6), shade).save(stream, "PNG")
    return stream.getvalue()


def record(number: int, split: str = "train") -> Record:
    return Record(
        f"{split}-{number}",
        f"images/{number}.png",
        (("Which plane?", "axial"),),
        "It is axial.",
        "A long text.",
        split=split,
    )


@pytest.fixture
def archives(tmp_path):
    for split, count in {"train": 20, "test": 3}.items():
        records = [record(number, split) for number in range(count)]
        with zipfile.ZipFile(tmp_path / f"{split}.zip", "w") as archive:
            archive.writestr("records.jsonl", "".join(json.dumps(asdict(r)) + "\n" for r in records))
            for r in records:
                archive.writestr(r.image, png(10 * int(r.id.split("-")[1])))
    return tmp_path


def llava(folder, name="train.json", rows=20, images=10, start=0):
    (folder / "scans").mkdir(exist_ok=True)
    content = []
    for number in range(start, start + rows):
        image = f"scans/{number % images + start}.png"
        (folder / image).write_bytes(png(number))
        talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"Answer {number}"}]
        content.append({"id": number, "image": image, "conversations": talk})
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_share_is_nested_independent_of_order_and_never_empty():
    items = [str(number) for number in range(200)]
    shares = [set(share(items, f, salt="s", key=str)) for f in (0.001, 0.1, 0.4, 1.0)]
    assert [len(s) for s in shares] == [1, 20, 80, 200]
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert set(share(items[::-1], 0.1, salt="s", key=str)) == shares[1]
    assert set(share(items, 0.1, salt="t", key=str)) != shares[1]
    assert list(share(items, 0.4, salt="s", key=str)) == sorted(shares[2], key=int)


def test_embedded_archives_hold_records_and_images(archives):
    source = EmbeddedSource(archives)
    assert source.splits == ("train", "test")
    assert source.records("train") == tuple(record(n) for n in range(20))
    image = source.image(source.records("test")[2])
    assert image.mode == "RGB"
    assert image.size == (8, 6)
    assert image.getpixel((0, 0)) == (20, 20, 20)


def test_embedded_fraction_concerns_training_only(archives):
    source = EmbeddedSource(archives, fraction=0.1)
    assert len(source.records("train")) == 2
    assert len(source.records("test")) == 3
    last = source.records("train")[-1]
    assert source.place(last)[1] == 1 + int(last.id.split("-")[1])


def test_embedded_files_have_hash_size_and_rows(archives):
    first = EmbeddedSource(archives).files()[0]
    assert first["path"].endswith("/train.zip")
    assert first["rows"] == {"train": 20}
    assert first["bytes"] == (archives / "train.zip").stat().st_size
    assert len(first["sha256"]) == 64


def _shade(source: EmbeddedSource, number: int) -> int:
    return source.image(record(number)).getpixel((0, 0))[0]


def test_embedded_archives_are_read_by_forked_processes_at_once(archives):
    source = EmbeddedSource(archives)
    assert _shade(source, 1) == 10  # opened before the fork
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.starmap(_shade, [(source, n) for n in range(20)]) == [10 * n for n in range(20)]
    assert _shade(pickle.loads(pickle.dumps(source)), 3) == 30


def test_a_damaged_archive_is_named(archives):
    data = (archives / "train.zip").read_bytes()
    (archives / "train.zip").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="archive") as error:
        EmbeddedSource(archives).records("train")
    assert "train.zip" in error.value.where
    assert "install" in error.value.hint


def test_an_unknown_split_is_a_usage_error_with_a_suggestion(archives):
    with pytest.raises(ConfigError) as error:
        EmbeddedSource(archives).records("tset")
    assert "test" in error.value.hint


def test_json_holds_out_whole_images(tmp_path):
    source = FileSource(llava(tmp_path, rows=200, images=50))
    train, held = source.records("train"), source.records("validation")
    assert len({r.image for r in held}) == 5
    assert len(train) + len(held) == 200
    assert not {r.image for r in train} & {r.image for r in held}
    assert [r.id for r in source.records("test")] == [r.id for r in held]
    assert {r.split for r in source.records("test")} == {"test"}


def test_json_with_a_validation_file_keeps_all_training_rows(tmp_path):
    config = DataConfig(source=str(llava(tmp_path)), validation=str(llava(tmp_path, "val.json", rows=4, start=50)))
    source = open_source(config)
    assert [len(source.records(s)) for s in source.splits] == [20, 4, 4]
    assert [f["rows"] for f in source.files()] == [{"train": 20}, {"validation": 4, "test": 4}]
    assert source.warnings == (NOBODY,)


def test_images_that_stand_in_both_files_are_warned_of(tmp_path):
    source = FileSource(llava(tmp_path), validation=llava(tmp_path, "val.json", rows=2))
    assert any("2 images" in line for line in source.warnings)


def test_one_subject_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="all rows show the same image, so none can be held out") as error:
        open_source(DataConfig(source=str(llava(tmp_path, images=1))))
    assert "data.validation" in error.value.hint


def test_bad_images_are_told_with_file_row_and_reason(tmp_path):
    source = FileSource(llava(tmp_path, rows=20, images=20))
    missing, cut, *_ = records = source.records("train")
    (tmp_path / missing.image).unlink()
    (tmp_path / cut.image).write_bytes((tmp_path / cut.image).read_bytes()[:45])
    with pytest.raises(DataError, match="does not exist") as error:
        source.image(missing)
    assert error.value.where == f"{tmp_path / 'train.json'}: row {source.place(missing)[1]}, image {missing.image}"
    kept, skipped = usable(source, records)
    assert kept == records[2:]
    assert [identity for identity, _ in skipped] == [missing.id, cut.id]
    assert "truncated" in skipped[1][1]


def test_a_symbolic_link_that_leaves_the_folder_is_refused(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    path = llava(folder)
    source = FileSource(path)
    first = source.records("train")[0]
    (tmp_path / "secret.png").write_bytes(png(1))
    (folder / first.image).unlink()
    (folder / first.image).symlink_to(tmp_path / "secret.png")
    with pytest.raises(DataError, match="leaves"):
        source.image(first)
    with pytest.raises(DataError, match="leaves"):
        open_source(DataConfig(source=str(path)))
    assert FileSource(path, allow_outside=True).image(first).size == (8, 6)


NAMES = [
    ("embeded", "embedded"),
    ("trian.json", "train.json"),
    ("nothing", "embedded"),
    ("rota.json", "give `embedded`"),
]


@pytest.mark.parametrize(("name", "hint"), NAMES)
def test_a_missing_data_file_comes_with_a_suggestion(tmp_path, monkeypatch, name, hint):
    llava(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="does not exist") as error:
        open_source(DataConfig(source=name))
    assert hint in error.value.hint
    assert error.value.exit_code == 3


def test_an_archive_is_no_bomb(archives, monkeypatch):
    """A member that says it is larger than any of ours is not unpacked."""
    monkeypatch.setattr("medmllm.data.embedded_source._LARGEST", 100)
    with pytest.raises(DataError, match="would unpack"):
        EmbeddedSource(archives).records("train")


def test_pipes_and_loops_are_no_data_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")  # opening it would wait for ever
    (tmp_path / "loop.json").symlink_to("loop.json")
    for name in ("pipe.json", "loop.json", "/dev/zero"):
        with pytest.raises(DataError, match="neither a file nor a folder"):
            open_source(DataConfig(source=str(tmp_path / name)))


def test_one_training_row_and_a_test_row_are_read_without_inventing_a_split(tmp_path):
    (tmp_path / "rows.csv").write_text(
        "id,image,question,answer,split\ndoc-1,a.png,Is it?,yes,train\ndoc-2,b.png,Is it?,no,test\n"
    )
    for name in ("a.png", "b.png"):
        Image.new("L", (40, 40), 90 if name == "a.png" else 200).save(tmp_path / name)
    config = DataConfig(source=str(tmp_path / "rows.csv"))
    source = open_source(config)
    assert (source.made, source.own) == ((), ("train", "test"))
    assert [record.id for record in source.records("validation")] == ["doc-2"]
    assert any("test rows are used for validation too" in line for line in source.warnings)
    assert list(stats(source)) == ["train", "test"]
    assert validate_data(config).rows == 2


def test_a_name_that_is_nearly_a_data_set_is_suggested():
    with pytest.raises(DataError) as error:
        check_source("pathvqa")
    assert error.value.hint == "did you mean path-vqa?"
    with pytest.raises(ConfigError) as wrong:
        prepare_data_set("vqarad", None, None, None, print)
    assert wrong.value.hint == "did you mean vqa-rad?"
    check_source("embedded")


def test_a_missing_file_names_the_near_one_with_its_folder(tmp_path):
    (tmp_path / "my_train.json").write_text("[]")
    with pytest.raises(DataError) as error:
        check_source(str(tmp_path / "mytrain.json"))
    assert error.value.hint == f"did you mean {tmp_path / 'my_train.json'}?"
    with pytest.raises(DataError, match="nor its folder"):
        check_source(str(tmp_path / "nowhere" / "train.json"))


def test_types_of_a_question_have_one_order(tmp_path):
    lines = ['1,a.png,Is it?,yes,"ATTRIB, PRES"', '2,b.png,Is it so?,no,"PRES, ATTRIB"', "3,c.png,Where?,left,POS"]
    (tmp_path / "rows.csv").write_text("\n".join(["id,image,question,answer,question_type", *lines]))
    source = open_source(DataConfig(source=str(tmp_path / "rows.csv")), strict=False, trained=False)
    assert [record.topic for record in source.records("test")] == ["ATTRIB, PRES", "ATTRIB, PRES", "POS"]
