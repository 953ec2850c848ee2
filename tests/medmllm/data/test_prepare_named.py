"""Data sets by name: how to get them, what is checked, and that `data.source=NAME` finds them."""

import json

import pytest
from PIL import Image

from medmllm.data.cache import cache_folder, remembered
from medmllm.data.catalog import ENTRIES, INSIDE, NAMES
from medmllm.data.config import DataConfig
from medmllm.data.prepare_named import prepare_data_set, registry_folder
from medmllm.data.sources import open_source
from medmllm.errors import ConfigError, DataError, RunError


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EXGRA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def slake(folder, rows=3):
    folder.mkdir()
    for split in ("train", "validation", "test"):
        row = {"img_name": "xmlab1/source.jpg", "q_lang": "en", "question": "Q", "answer": "A", "img_id": 1}
        (folder / f"{split}.json").write_text(json.dumps([row | {"qid": n} for n in range(rows)]))
    (folder / "imgs/xmlab1").mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "imgs/xmlab1/source.jpg")
    return folder


def quietly(name, given=None, **options):
    return prepare_data_set(name, given, options.get("images"), None, lambda text: None)


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.name not in INSIDE], ids=lambda e: e.name)
def test_what_is_not_here_comes_with_its_download(entry):
    for attempt in (lambda: quietly(entry.name), lambda: open_source(DataConfig(source=entry.name))):
        with pytest.raises((ConfigError, DataError)) as error:
            attempt()
        assert all(line in error.value.hint for line in entry.download)
        assert f"exgra data prepare {entry.name} --from" in error.value.hint


def test_names_stay_names_and_others_become_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [DataConfig(source=name).source for name in NAMES] == list(NAMES)
    assert DataConfig(source="./slake").source == str(tmp_path / "slake")


def test_a_downloaded_set_is_checked_counted_and_found(tmp_path):
    found = quietly("slake", slake(tmp_path / "given"))
    assert found["rows"] == {"train": 3, "validation": 3, "test": 3}
    assert found["known"] is False
    source = open_source(DataConfig(source="slake"))
    assert source.image(source.records("test")[0]).size == (4, 4)


def test_a_published_edition_is_known_by_its_counts(tmp_path, monkeypatch):
    from medmllm.data import prepare_named
    from medmllm.data.catalog import Entry

    entry = Entry("slake", "", "", ("get it",), "", ({"train": 2, "validation": 2, "test": 2},))
    monkeypatch.setattr(prepare_named, "catalog_entry", lambda name: entry)
    assert quietly("slake", slake(tmp_path / "a", rows=2))["known"] is True
    assert quietly("slake", slake(tmp_path / "b", rows=3))["known"] is False


def test_images_that_were_not_unpacked_are_missed(tmp_path):
    folder = slake(tmp_path / "given")
    (folder / "imgs/xmlab1/source.jpg").unlink()
    with pytest.raises(DataError, match="does not exist") as error:
        quietly("slake", folder)
    assert "imgs/" in error.value.hint
    assert remembered() == {}
    with pytest.raises(DataError, match="the file or folder does not exist"):
        quietly("slake", tmp_path / "nowhere")


def test_some_images_may_be_missing(tmp_path):
    """Links of published sets die; the doctor tells which."""
    folder = slake(tmp_path / "given")
    rows = json.loads((folder / "train.json").read_text())
    rows[0]["img_name"], rows[0]["img_id"] = "xmlab2/source.jpg", 2
    (folder / "train.json").write_text(json.dumps(rows))
    assert quietly("slake", folder)["rows"]["train"] == 3


def test_images_may_lie_in_a_folder_of_their_own(tmp_path):
    talk = [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}]
    rows = [{"id": str(n), "image": "a.jpg", "conversatons": talk, "subject": f"p{n}"} for n in range(1)]
    (tmp_path / "json").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "json/alignment.json").write_text(json.dumps(rows))
    Image.new("L", (4, 4)).save(tmp_path / "images/a.jpg")
    found = quietly("llava-med", tmp_path / "json/alignment.json", images=tmp_path / "images")
    assert found["known"] is None
    other = [row | {"id": "x", "image": "a.jpg"} for row in rows]
    (tmp_path / "json/other.json").write_text(json.dumps(other))
    source = open_source(DataConfig(source="llava-med", validation=str(tmp_path / "json/other.json")))
    assert source.image(source.records("train")[0]).size == (4, 4)


def test_the_large_set_is_read_once_it_is_made(tmp_path):
    with pytest.raises(DataError, match="not made yet") as error:
        open_source(DataConfig(source="registry"))
    assert error.value.hint == "exgra data prepare registry"
    assert registry_folder() == cache_folder() / "registry"
    assert quietly("embedded")["rows"]["train"] == 6827


def test_unknown_names_and_damaged_lists(cache):
    with pytest.raises(ConfigError, match="no data set"):
        quietly("slakes")
    cache.mkdir()
    (cache / "datasets.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        remembered()


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.delenv("EXGRA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x/exgra"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/exgra"
