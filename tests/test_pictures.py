"""The drawings of the site: each is there for light and for dark pages, and is shown where it is committed."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
DRAWN = sorted({path.stem.rpartition("-")[0] for path in (DOCS / "images").glob("*-light.svg")})


@pytest.fixture(scope="module")
def program():
    pytest.importorskip("matplotlib")
    names = ("make_pictures", "style", "method", "tutorials")
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location(names[0], DOCS / "make_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before
    for name in names[1:]:
        sys.modules.pop(name, None)


def test_every_picture_can_be_drawn_again(program):
    assert sorted(program.PICTURES) == DRAWN


@pytest.mark.parametrize("name", DRAWN)
def test_every_picture_is_shown_on_light_and_on_dark_pages(name):
    shown = {scheme: f"images/{name}-{scheme}.svg#only-{scheme}" for scheme in ("light", "dark")}
    pages = [page.read_text("utf-8") for page in DOCS.rglob("*.md")]
    assert any(all(link in page for link in shown.values()) for page in pages)


@pytest.mark.parametrize("name", ["method", "jump", "first-matching"])
def test_a_drawing_loads_nothing_and_is_the_committed_one(program, name, tmp_path, monkeypatch):
    monkeypatch.setattr(program.style, "IMAGES", tmp_path)
    program.style.draw(name, *program.PICTURES[name])
    for scheme in ("light", "dark"):
        drawn = (tmp_path / f"{name}-{scheme}.svg").read_text("utf-8")
        committed = (DOCS / "images" / f"{name}-{scheme}.svg").read_text("utf-8")
        assert len(re.findall("<path", drawn)) == len(re.findall("<path", committed))
        assert set(re.findall(r'https?://[^"]+', drawn)) <= NAMESPACES
        assert "<script" not in drawn
        assert "<text" not in drawn  # words are outlines: no font is requested


NAMESPACES = {
    "http://www.w3.org/2000/svg",
    "http://www.w3.org/1999/xlink",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd",
    "http://creativecommons.org/ns#",
    "http://purl.org/dc/elements/1.1/",
    "http://purl.org/dc/dcmitype/StillImage",
}
