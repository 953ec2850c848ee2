"""Tars that others wrote are read where they lie, or refused with what is wrong."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.shards.index import open_index
from medmllm.data.shards.webdataset import index_tars
from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError
from medmllm.training.trainer import train

TALK = [{"from": "human", "value": "<image>\nWhere is the box?"}, {"from": "gpt", "value": "left"}]
LONG = [TALK[0], {"from": "gpt", "value": "The box lies at the left."}]


def picture(shade, kind="PNG"):
    place = io.BytesIO()
    Image.new("L", (28, 28), shade).save(place, kind)
    return place.getvalue()


def write(path, members, **options):
    with tarfile.open(path, "w", **options) as tar:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


def sample(key, row, shade, image="png"):
    return [(f"{key}.json", json.dumps(row).encode()), (f"{key}.{image}", picture(shade))]


@pytest.fixture
def tars(tmp_path):
    """Two tars: conversations, a question in flat fields, captions in JSON and in a text, other members between."""
    folder = tmp_path / "tars"
    folder.mkdir()
    talk = {"id": "seven", "image": "scans/7.png", "conversations": TALK, "conversations_long": LONG}
    flat = {"question": "Is it dark?", "answer": "no", "caption": "It is bright.", "subject": "p3"}
    write(
        folder / "a-000.tar",
        [*sample("7", talk, 70), ("8.cls", b"3"), *reversed(sample("8", flat, 80)), ("._8.png", b"x")],
    )
    captions = sample("d/1", {"key": "1", "caption": "A box.", "url": "x"}, 10)
    text = [("d/2.jpg", picture(20, "JPEG")), ("d/2.txt", b"A brighter box.\n"), ("d/2.json", b'{"caption": null}')]
    long = [("e/" + 120 * "n" + ".PNG", picture(30)), ("e/" + 120 * "n" + ".txt", "Größer.".encode())]
    write(folder / "b-000.tar", [*captions, *text, *long], format=tarfile.PAX_FORMAT)
    return folder


def test_samples_are_read_in_every_form(tars, drawn):
    index, left_out = index_tars(tars)
    assert (len(index), left_out) == (5, 0)
    source = open_source(DataConfig(source=str(tars), validation=str(drawn)))
    records = source.records("train")
    assert [record.turns for record in records] == [
        (("Where is the box?", "left"),),
        (("Is it dark?", "no"),),
        (("Describe this image.", "A box."),),
        (("Describe this image.", "A brighter box."),),
        (("Describe this image.", "Größer."),),
    ]
    assert [r.caption for r in records] == [LONG[1]["value"], "It is bright.", "A box.", "A brighter box.", "Größer."]
    assert [r.id for r in records] == ["seven", "a-000-2", "b-000-1", "b-000-2", "b-000-3"]
    assert records[0].image == "scans/7.png"
    assert len({record.image for record in records}) == 5
    shades = [int(np.asarray(source.image(record).convert("L")).mean()) for record in records]
    assert shades == pytest.approx([70, 80, 10, 20, 30], abs=1)
    assert source.place(records[3]) == (str(tars / "b-000.tar"), 2)


def test_a_run_trains_on_them(tiny, tars, drawn, tmp_path):
    index_tars(tars)
    data = {"source": str(tars), "validation": str(drawn)}
    assert train(tiny(data=data, train={"steps": 2, "batch_size": 4}), tmp_path / "run")["status"] == "done"


def test_our_own_shards_can_be_indexed_anew(tars, drawn, tmp_path):
    from medmllm.data.shards.write import write_shards

    own = open_source(DataConfig(source=str(drawn)))
    write_shards(own, tmp_path / "own")
    (tmp_path / "own" / "index.json").unlink()
    index_tars(tmp_path / "own")
    source = open_source(DataConfig(source=str(tmp_path / "own"), validation=str(drawn)))
    assert [r.turns for r in source.records("train")] == [r.turns for r in own.records("train")]


def test_a_sample_without_image_or_text_stops_or_is_counted(tars):
    write(tars / "c.tar", [("1.png", picture(1)), *sample("2", {"caption": "x"}, 2), ("3.json", b"{}")])
    with pytest.raises(DataError, match="without an image or a text: 2; the first is 1") as caught:
        index_tars(tars)
    assert "skip" in caught.value.hint
    assert not (tars / "index.json").exists()
    index, left_out = index_tars(tars, incomplete="skip")
    assert (len(index), left_out) == (6, 2)
    with pytest.raises(ConfigError, match="an index already"):
        index_tars(tars)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"conversations": TALK[:1]}, "ends with a question"),
        ({"question": "Is it?"}, "answer"),
        ({}, "question"),
        ({"turns": "Is it?"}, "question"),
    ],
)
def test_a_row_that_says_too_little_is_named(tars, drawn, row, said):
    write(tars / "c.tar", [*sample("1", {"caption": "x"}, 1), *sample("2", row, 2)])
    index_tars(tars)
    records = open_source(DataConfig(source=str(tars), validation=str(drawn))).records("train")
    with pytest.raises(DataError, match=said) as caught:
        records[6]
    assert caught.value.where == f"{tars / 'c.tar'}: row 2"


def test_what_is_no_json_is_named(tars, drawn):
    write(tars / "c.tar", [("1.png", picture(1)), ("1.json", b"{")])
    index_tars(tars)
    with pytest.raises(DataError, match="JSON cannot be read"):
        open_source(DataConfig(source=str(tars), validation=str(drawn))).records("train")[5]


def test_compressed_and_broken_tars_are_named(tars):
    whole = (tars / "a-000.tar").read_bytes()
    for content in (gzip.compress(whole), whole[:700]):
        (tars / "c.tar").write_bytes(content)
        with pytest.raises(DataError, match="cannot be read") as caught:
            index_tars(tars)
        assert caught.value.where == str(tars / "c.tar")


def broken(content):
    """A header whose checksum is wrong."""
    place = content.index(b"2.json") + 148
    return content[:place] + b"?" * 8 + content[place + 8 :]


@pytest.mark.parametrize(
    "changed",
    [broken, lambda tar: tar[: tar.index(b"2.json") + 100], lambda tar: 2 * tar],
    ids=["a broken header", "cut within a header", "two tars in one"],
)
def test_what_follows_the_end_is_not_lost_without_a_word(tars, changed):
    write(tars / "c.tar", [*sample("1", {"caption": "x"}, 1), *sample("2", {"caption": "y"}, 2)])
    whole = (tars / "c.tar").read_bytes()
    (tars / "c.tar").write_bytes(changed(whole))
    with pytest.raises(DataError, match="does not hold a member") as caught:
        index_tars(tars, incomplete="skip")
    assert caught.value.where == str(tars / "c.tar")
    (tars / "c.tar").write_bytes(whole + bytes(10240))
    assert len(index_tars(tars)[0]) == 7


def test_two_samples_of_one_name_are_not_made_one(tars):
    write(tars / "c.tar", 2 * sample("1", {"caption": "x"}, 1))
    with pytest.raises(DataError, match="two neighbours are called 1"):
        index_tars(tars, incomplete="skip")


def test_sparse_members_are_refused(tars):
    with tarfile.open(tars / "c.tar", "w") as tar:
        header = tarfile.TarInfo("1.png")
        header.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "1024"}
        header.size = 1
        tar.addfile(header, io.BytesIO(b"x"))
    with pytest.raises(DataError, match="is sparse"):
        index_tars(tars)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        index_tars(tmp_path / "none")


def test_tars_without_an_index_name_the_command_that_makes_it(tars):
    for place in (tars, tars / "a-000.tar"):
        with pytest.raises(DataError) as caught:
            open_source(DataConfig(source=str(place)))
        assert f"exgra data index {tars}" in caught.value.hint
    with pytest.raises(DataError, match="no tar"):
        index_tars(tars.parent)
    index_tars(tars)
    assert len(open_index(tars)) == 5
