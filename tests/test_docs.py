"""The documentation builds strictly and needs nothing from outside."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_loads_anything_from_outside(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 3
    outside = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^\s>]*")
    found = {page.name: outside.findall(page.read_text("utf-8")) for page in pages}
    canonical = {name: [link for link in links if "canonical" not in link] for name, links in found.items()}
    assert not any(canonical.values()), canonical


def test_formulas_are_drawn_by_files_of_our_own(site):
    page = (site / "index.html").read_text("utf-8")
    for name in ("vendor/katex/katex.min.js", "vendor/katex/katex.min.css", "vendor/katex/contrib/auto-render.min.js"):
        assert name in page
        assert (site / name).is_file()
    assert (site / "vendor/katex/LICENSE").is_file()
