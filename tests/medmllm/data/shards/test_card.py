"""The card of shards: `datasets` opens the folder, with every record and every image as it was."""

import io
import tarfile
from dataclasses import fields, replace

import numpy as np
import pytest
import yaml
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.records import Record
from medmllm.data.shards.webdataset import index_tars
from medmllm.data.shards.write import write_shards
from medmllm.data.sources import open_source


class Mixed:
    """The drawn data set with some pictures as JPEG and the first captions empty, from which no type can be guessed."""

    def __init__(self, source):
        self.source, self.window = source, source.window

    def __getattr__(self, name):
        return getattr(self.source, name)

    def records(self, split):
        found = self.source.records(split)
        return [replace(r, image=r.image if n % 3 else f"{r.image}.jpg", options=() if n < 9 else ("left", "right"))
                for n, r in enumerate(found)]  # fmt: skip

    def opens(self, record):
        return record.image

    def content(self, record):
        content = self.source.content(replace(record, image=record.image.removesuffix(".jpg")))
        if not record.image.endswith(".jpg"):
            return content
        place = io.BytesIO()
        Image.open(content).save(place, "JPEG")
        return place.getvalue()


@pytest.fixture
def mixed(drawn):
    return Mixed(open_source(DataConfig(source=str(drawn))))


def head(folder):
    return yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])


def test_the_card_names_the_samples_alone_and_every_field(mixed, tmp_path):
    write_shards(mixed, tmp_path / "tar", samples=20)
    card = head(tmp_path / "tar")
    assert [one["data_files"] for one in card["configs"]] == ["*.tar"]
    features = {one["name"]: one for one in card["dataset_info"]["features"]}
    assert [one["name"] for one in features["json"]["struct"]] == [field.name for field in fields(Record)]
    assert (features["png"]["dtype"], features["jpg"]["dtype"]) == ("image", "image")
    write_shards(mixed, tmp_path / "parquet", layout="parquet")
    assert [one["data_files"] for one in head(tmp_path / "parquet")["configs"]] == ["*.parquet"]


def test_tars_of_others_keep_their_card(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (("1.txt", b"A box."), ("1.png", b"x")):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    (tmp_path / "README.md").write_text("theirs")
    index_tars(tmp_path)
    assert (tmp_path / "README.md").read_text() == "theirs"
    (tmp_path / "README.md").unlink()
    (tmp_path / "index.json").unlink()
    index_tars(tmp_path)
    assert head(tmp_path) == {"configs": [{"config_name": "default", "data_files": "*.tar"}]}


@pytest.mark.filterwarnings("ignore")  # its own affair
@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_opens_the_folder(mixed, tmp_path, monkeypatch, streaming):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    datasets = pytest.importorskip("datasets")
    write_shards(mixed, tmp_path / "shards-tar", samples=20)
    read = datasets.load_dataset(str(tmp_path / "shards-tar"), cache_dir=str(tmp_path / "cache"), streaming=streaming)
    rows, expected = list(read["train"]), mixed.records("train")
    assert [row["json"]["id"] for row in rows] == [record.id for record in expected]
    assert [tuple(map(tuple, row["json"]["turns"])) for row in rows] == [record.turns for record in expected]
    assert [tuple(row["json"]["options"]) for row in rows] == [record.options for record in expected]
    for row, record in zip(rows, expected, strict=True):
        held, other = ("jpg", "png") if record.image.endswith(".jpg") else ("png", "jpg")
        assert row[other] is None
        content = mixed.content(record)
        wanted = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
        assert np.array_equal(np.asarray(row[held]), np.asarray(wanted))
